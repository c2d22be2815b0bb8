//! What names resolve to: forbidden, changing, silent, too much.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::dns::{Dns, Say};
use super::tripwire::Tripwire;
use super::world;
use crate::harness::{Database, Process, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// One address of each forbidden kind.
const FORMS: &str = "
    0.0.0.0 127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 169.254.1.1
    168.63.129.16 100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1
    198.51.100.1 203.0.113.1 240.0.0.1 255.255.255.255 93.184.216.34
    ::1 ::ffff:127.0.0.1 ::7f00:1 ::ffff:0:7f00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::808:808 2002:7f00:1:: 2001::1 2a00::5efe:7f00:1 100::1 2001:db8::1 3fff::1 fec0::1
    5f00::1 fe80::1 fc00::1 fd00:ec2::254 4000::1";
/// What mixed answers have besides. It leads to the tripwire, too.
const PUBLIC: [&str; 2] = ["44.0.0.9", "2606:4700::1"];

/// Closes the connection, so that the next request needs another and asks for the name again.
fn and_goodbye() -> Reply {
    Reply::raw("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

fn receiver() -> Receiver {
    let receiver = Receiver::start_on(SocketAddr::from(([44, 0, 0, 1], 8080)));
    receiver.otherwise(and_goodbye());
    receiver
}

/// `a12-forward.test` is the 12th form behind a public address.
fn form_of(name: &str) -> Say {
    let (number, order) = name.trim_end_matches(".test").split_once('-').expect("a form");
    let number: usize = number.trim_start_matches('a').parse().expect("a number");
    let form = FORMS.split_whitespace().nth(number).expect("a form");
    match order {
        "alone" => Say::these(&[form]),
        "first" => Say::these(&[form, PUBLIC[0], PUBLIC[1]]),
        _ => Say::these(&[PUBLIC[0], PUBLIC[1], form]),
    }
}

fn answer(name: &str, before: usize) -> Say {
    match name {
        "late.test" if before < 3 => Say::NoSuchName,
        "good.test" | "late.test" => Say::these(&["44.0.0.1"]),
        "broken.test" => Say::Failure,
        "many.test" => Say::Addresses((0..1000).map(dead).collect()),
        name if name.starts_with("silent") => Say::Nothing,
        name => form_of(name),
    }
}

fn dead(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(45, 0, high, low).into()
}

async fn insert(database: &Database, name: &str, host: &str, events: &str) {
    let sql = format!(
        "INSERT INTO outbox.endpoints (name, url, events) \
         VALUES ('{name}', 'http://{host}/', '{{{events}}}')"
    );
    database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_one_forbidden_address_is_refused_whole() {
    if !world::is_inside("ssrf::names::an_answer_with_one_forbidden_address_is_refused_whole") {
        return;
    }
    let _dns = Dns::start(answer);
    let tripwire = Tripwire::at(&["[::]:8443"]).await;
    let database = Database::new().await;
    let forms = FORMS.split_whitespace().count();
    for n in 0..forms {
        for order in ["alone", "first", "last"] {
            insert(&database, &format!("{order}{n}"), &format!("a{n}-{order}.test:8443"), "*")
                .await;
        }
    }
    let settings = [("delivery.allow", ""), ("delivery.retry", "none")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let others = "SELECT coalesce(string_agg(n.name || ' ' || a.outcome || ' ' || a.error, ', '), '') \
                  FROM outbox.attempts a JOIN outbox.endpoint_names n ON n.id = a.endpoint_id \
                  WHERE a.outcome <> 'blocked'";
    assert_eq!(database.text(others).await, "");
    let blocked = "SELECT count(*) FROM outbox.attempts";
    assert_eq!(database.text(blocked).await, (3 * forms).to_string());
    tripwire.assert_untouched().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_between_look_ups_leads_nowhere_forbidden() {
    if !world::is_inside(
        "ssrf::names::a_name_that_changes_between_look_ups_leads_nowhere_forbidden",
    ) {
        return;
    }
    let forbidden = ["127.0.0.1", "10.0.0.5", "::1", "169.254.169.254", "fd00::1"];
    let dns = Dns::start(move |_, before| match before % 2 {
        0 => Say::these(&["44.0.0.1"]),
        _ => Say::these(&[forbidden[before / 2 % forbidden.len()]]),
    });
    let tripwire = Tripwire::at(&[
        "127.0.0.1:8080",
        "10.0.0.5:8080",
        "[::1]:8080",
        "169.254.169.254:8080",
        "[fd00::1]:8080",
    ])
    .await;
    let (database, receiver) = (Database::new().await, receiver());
    database
        .execute(
            "INSERT INTO outbox.endpoints (name, url) SELECT 'e' || n, \
             'http://n' || n || '.flip.test:8080/' FROM generate_series(1, 100) n",
        )
        .await;
    let settings = [("delivery.allow", ""), ("delivery.retry", "none")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    for _ in 0..100 {
        database.insert_many("a", 1).await;
        database.wait_until_idle().await;
    }
    let count = async |outcome: &str| -> usize {
        let sql = format!("SELECT count(*) FROM outbox.attempts WHERE outcome LIKE '{outcome}'");
        database.text(&sql).await.parse().expect("a number")
    };
    let (blocked, lost) = (count("blocked").await, count("dns").await);
    assert_eq!(count("%").await, 10_000);
    assert_eq!(receiver.requests().len() + blocked + lost, 10_000);
    // A busy machine may lose a question, but not many.
    assert!(lost < 200, "{lost} look-ups got no answer");
    assert!(blocked > 2_500, "only {blocked} were refused: the name hardly changed");
    tripwire.assert_untouched().await;
    eprintln!("10000 deliveries, {} look-ups, {blocked} refused", dns.look_ups());
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_answer_is_a_failure_of_dns_that_is_retried() {
    if !world::is_inside(
        "ssrf::names::a_name_without_an_answer_is_a_failure_of_dns_that_is_retried",
    ) {
        return;
    }
    let _dns = Dns::start(answer);
    let (database, receiver) = (Database::new().await, receiver());
    insert(&database, "late", "late.test:8080", "*").await;
    insert(&database, "broken", "broken.test:8080", "*").await;
    insert(&database, "silent", "silent.test:8080", "*").await;
    let settings = [("delivery.allow", ""), ("delivery.retry", "20ms 20ms 20ms")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    database.wait_until_idle().await;
    let outcomes = |name: &str| {
        format!(
            "SELECT string_agg(outcome, ' ' ORDER BY attempt) FROM outbox.attempts a \
             JOIN outbox.endpoint_names n ON n.id = a.endpoint_id WHERE n.name = '{name}'"
        )
    };
    assert_eq!(database.text(&outcomes("late")).await, "dns dns dns success");
    assert_eq!(database.text(&outcomes("broken")).await, "dns dns dns dns");
    assert_eq!(database.text(&outcomes("silent")).await, "dns dns dns dns");
    let longest = "SELECT max(duration_ms) < 3250 FROM outbox.attempts";
    assert_eq!(database.text(longest).await, "true");
    daemon.stop().await.expect("an orderly end");
    // The thread of a look-up goes on for long; the end of the process does not wait for it.
    let process = Process::start(&database.url, &settings);
    database.execute("SELECT outbox.send_test('silent')").await;
    let under_way = "SELECT count(*) > 0 FROM outbox.work WHERE holder IS NOT NULL";
    database.wait_for(under_way, "true").await;
    let asked = Instant::now();
    assert_eq!(process.terminate().await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(6), "ended after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_silent_names_take_nothing_from_one_that_answers() {
    if !world::is_inside(
        "ssrf::names::five_hundred_silent_names_take_nothing_from_one_that_answers",
    ) {
        return;
    }
    let _dns = Dns::start(answer);
    let (database, receiver) = (Database::new().await, receiver());
    insert(&database, "good", "good.test:8080", "good").await;
    database
        .execute(
            "INSERT INTO outbox.endpoints (name, url, events) SELECT 'e' || n, \
             'http://silent' || n || '.test:8080/', '{silent}' FROM generate_series(1, 500) n",
        )
        .await;
    let settings = [("delivery.allow", ""), ("delivery.retry", "1s 1s")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("good", "{}").await;
    receiver.wait_for(1).await;
    database.emit("silent", "{}").await;
    let failed = "SELECT count(*) >= 500 FROM outbox.attempts WHERE outcome = 'dns'";
    let mut sent = 1;
    while database.text(failed).await != "true" || sent < 50 {
        database.emit("good", "{}").await;
        sent += 1;
        receiver.wait_for(sent).await;
    }
    let slow = "SELECT count(*) || ' ' || max(duration_ms) FROM outbox.attempts \
                WHERE outcome = 'success'";
    let slowest = "SELECT max(duration_ms) < 1500 FROM outbox.attempts WHERE outcome = 'success'";
    assert_eq!(database.text(slowest).await, "true", "{}", database.text(slow).await);
    eprintln!("successes and the slowest, in ms: {}", database.text(slow).await);
    daemon.stop().await.expect("an orderly end");
}

/// The addresses that somebody waits for an answer from.
fn dialled() -> HashSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections");
    let waiting = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The third field is the other side, the fourth the state: 02 is SYN_SENT.
    waiting
        .filter(|fields| fields.len() > 3 && fields[3] == "02" && fields[2].ends_with(":20FC"))
        .map(|fields| fields[2].to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_addresses_four_are_tried_within_one_budget() {
    if !world::is_inside("ssrf::names::of_a_thousand_addresses_four_are_tried_within_one_budget") {
        return;
    }
    let _dns = Dns::start(answer);
    // Who does not accept lets whoever comes after the first ones wait.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([0, 0, 0, 0], 8444))).expect("a free port");
    let full = socket.listen(1).expect("a listener");
    let mut waiting = Vec::new();
    let place = full.local_addr().expect("an address");
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(place)).await {
        waiting.push(stream);
    }
    let database = Database::new().await;
    insert(&database, "many", "many.test:8444", "*").await;
    let settings =
        [("delivery.allow", ""), ("delivery.retry", "none"), ("delivery.connect_timeout", "2s")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    let mut tried = HashSet::new();
    while database.text("SELECT count(*) FROM outbox.attempts").await == "0" {
        tried.extend(dialled());
    }
    let attempt = "SELECT outcome || ' ' || (duration_ms < 2500) FROM outbox.attempts";
    assert_eq!(database.text(attempt).await, "timeout_connect true");
    assert_eq!(tried.len(), 4, "{tried:?}");
    daemon.stop().await.expect("an orderly end");
}
