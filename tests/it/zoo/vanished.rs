//! A receiver whose machine is gone in the middle of a request: nothing says so, not even its kernel.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::{GRACE, SHORT};
use crate::harness::{Database, TestDaemon};
use crate::receiver::Receiver;
use crate::ssrf::world;

const MACHINE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// The kernel tries for 30 s, at growing intervals; without that limit of ours, for longer than this.
const FORGOTTEN: Duration = Duration::from_secs(90);

/// How many sockets there are that lead to the machine.
fn sockets() -> usize {
    let [a, b, c, d] = MACHINE.octets();
    let machine = format!("{d:02X}{c:02X}{b:02X}{a:02X}:");
    let table = fs::read_to_string("/proc/self/net/tcp").expect("the table of sockets");
    // The third column is the other side's address.
    let leads_there = |line: &&str| {
        line.split_whitespace().nth(2).is_some_and(|remote| remote.starts_with(&machine))
    };
    table.lines().filter(leads_there).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_vanishes_costs_its_deadline_and_its_socket_is_forgotten() {
    if !world::is_inside(
        "zoo::vanished::a_machine_that_vanishes_costs_its_deadline_and_its_socket_is_forgotten",
    ) {
        return;
    }
    let (database, healthy) = (Database::new().await, Receiver::start());
    let socket = TcpSocket::new_v4().expect("a socket");
    // So that most of the request is still on its way.
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.bind(SocketAddr::from((MACHINE, 8080))).expect("an address");
    let machine = socket.listen(8).expect("a listener");
    database.subscribe_to("machine", &format!("http://{MACHINE}:8080/"), "{large}").await;
    database.subscribe_to("healthy", &healthy.url("/"), "{small}").await;
    let timeout = format!("{}ms", SHORT.as_millis());
    let settings = [
        ("delivery.allow", "127.0.0.0/8 203.0.113.0/24"),
        ("delivery.timeout", timeout.as_str()),
        ("delivery.connect_timeout", "1s"),
        ("delivery.retry", "none"),
    ];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    let large = "SELECT outbox.emit('large', json_build_object('x', repeat('x', 1048000)))";
    database.execute(large).await;
    let (mut stream, _) = machine.accept().await.expect("a connection");
    stream.read_exact(&mut [0; 1024]).await.expect("the beginning of a request");
    assert_eq!(sockets(), 1);
    let gone = ["route", "add", "blackhole", "203.0.113.7/32", "table", "local"];
    assert!(Command::new("ip").args(gone).status().expect("ip runs").success());

    let attempt = "SELECT string_agg(outcome || ' ' || error, ' ') FROM outbox.attempts a \
                   JOIN outbox.events e ON e.id = a.event_id WHERE e.type = 'large'";
    database.wait_for(&format!("SELECT ({attempt}) IS NOT NULL"), "true").await;
    let given_up = Instant::now();
    let said = database.text(attempt).await;
    assert!(said.starts_with("timeout_response no complete reply within"), "{said}");
    let took = "SELECT max(duration_ms) FROM outbox.attempts";
    let took: u128 = database.text(took).await.parse().expect("a number");
    assert!(took < (SHORT + GRACE).as_millis(), "{took} ms");
    while sockets() > 0 {
        database.emit("small", "{}").await;
        assert!(given_up.elapsed() < FORGOTTEN, "the socket is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    database.wait_until_idle().await;
    let failed = "SELECT count(*) FROM outbox.attempts WHERE outcome <> 'success'";
    assert_eq!(database.text(failed).await, "1");
    drop(stream);
    daemon.stop().await.expect("an orderly end");
}
