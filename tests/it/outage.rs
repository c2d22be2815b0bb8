//! What the daemon does when its way to the database fails, or the database itself.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use outboxd::throwaway::Cluster;

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, TestDaemon};
use crate::proxy::{Cut, Proxy, Trap, Weather};
use crate::receiver::{Receiver, Reply};

/// How soon deliveries go on when a fault has ended.
const SOON: Duration = Duration::from_secs(10);
/// Ends a transaction; the daemon sends it with the statement.
const COMMIT: &str = "COMMIT\0";

/// A cluster that proxies can stand before; its server dies with the process.
static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| harness::start_cluster_on(harness::free_port()));

/// A database with a proxy on the daemon's way to it, and a receiver that gets all events.
struct Place {
    /// By the way that nothing disturbs.
    database: Database,
    name: String,
    proxy: Proxy,
    receiver: Receiver,
}

impl Place {
    async fn new() -> Self {
        let name = format!("outage_{:016x}", fastrand::u64(..));
        let admin = harness::connect(&CLUSTER.url("postgres")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let url = CLUSTER.url(&name);
        harness::migrate(&url).await;
        let database = Database::at(url).await;
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], CLUSTER.port())));
        let receiver = Receiver::start();
        database.subscribe("one", &receiver.url("/")).await;
        Self { database, name, proxy, receiver }
    }

    /// As this user, through the proxy.
    fn url_of(&self, user: &str) -> String {
        format!("postgresql://{user}@{}/{}", self.proxy.addr(), self.name)
    }

    async fn start(&self, settings: &[(&str, &str)]) -> TestDaemon {
        let daemon = TestDaemon::start_with(&self.url_of("postgres"), settings).await;
        daemon.wait_until_ready().await;
        daemon
    }

    /// Every event arrived as often as this, and no request is missing in the records.
    async fn expect_each(&self, events: usize, times: usize) {
        self.database.wait_until_idle().await;
        let arrived = arrivals(&self.receiver);
        assert_eq!(arrived.len(), events, "every event arrived");
        let others: Vec<_> = arrived.iter().filter(|(_, count)| **count != times).collect();
        assert!(others.is_empty(), "not {times} times: {others:?}");
        assert_eq!(unrecorded(&self.database, &arrived).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_neither_loses_nor_repeats() {
    let statements = [("-- fan_out_insert:", 1), ("-- claim:", 2), ("-- record:", 1)];
    for cut in [Cut::Before, Cut::After, Cut::Answer] {
        let lost = statements.map(|(statement, times)| lose_commit(statement, times, cut));
        futures_util::future::join_all(lost).await;
    }
}

/// Cuts the connection at the commit of a statement; each event arrives so many times, having failed
/// before.
async fn lose_commit(statement: &str, times: usize, cut: Cut) {
    let place = Place::new().await;
    let failing = std::iter::repeat_with(|| Reply::status(500)).take((times - 1) * 40);
    place.receiver.otherwise(failing.chain([Reply::status(200)]).collect::<Vec<_>>());
    let daemon = place.start(&[("delivery.retry", "100ms 100ms 100ms")]).await;
    place.proxy.set_trap(Trap::new(&[statement, COMMIT], cut));
    place.database.insert_many("a", 40).await;
    place.proxy.wait_sprung(1).await;
    place.expect_each(40, times).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_way_to_the_database_delivers_everything_and_piles_nothing_up() {
    let place = Place::new().await;
    place.proxy.change(|weather| {
        for flow in [&mut weather.up, &mut weather.down] {
            flow.delay = Duration::from_millis(100);
            flow.jitter = Duration::from_millis(150);
        }
    });
    let daemon = place.start(&[]).await;
    let (events, started) = (800, Instant::now());
    place.database.insert_many("a", events).await;
    place.expect_each(events, 1).await;
    assert!(started.elapsed() < Duration::from_secs(30), "took {:?}", started.elapsed());
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("outboxd_lost_leases_total 0"), "{metrics}");
    daemon.stop().await.expect("an orderly end");
}

/// Takes the database away for longer than the daemon waits for an answer, and gives it back.
async fn take_away(take: impl FnOnce(&mut Weather)) {
    let place = Place::new().await;
    let daemon = place.start(&[]).await;
    place.database.insert_many("a", 20).await;
    place.receiver.wait_for(20).await;
    place.proxy.change(take);
    // Nothing comes through any more; what is inserted now waits.
    while daemon.get("/readyz").await.0 == 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.database.insert_many("b", 20).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    place.proxy.heal();
    let healed = Instant::now();
    place.receiver.wait_for(40).await;
    let took = healed.elapsed();
    assert!(took < SOON, "claimed again after {took:?}");
    place.expect_each(40, 1).await;
    let instances = "SELECT count(*) || ' ' || max(id) FROM outbox.instances";
    assert_eq!(place.database.text(instances).await, "1 1", "it has its old place");
    daemon.wait_until_ready().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_heals_is_waited_out() {
    take_away(|weather| (weather.up.held, weather.down.held) = (true, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_given_up() {
    take_away(|weather| (weather.up.swallowed, weather.down.swallowed) = (true, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_never_arrive_are_given_up() {
    take_away(|weather| weather.up.swallowed = true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_never_arrive_are_given_up() {
    take_away(|weather| weather.down.swallowed = true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_in_the_middle_of_registering_is_waited_out() {
    let place = Place::new().await;
    // One of the two connections that look for a pooler, in its second round.
    let texts = ["SELECT pg_backend_pid()", COMMIT, "BEGIN"];
    place.proxy.set_trap(Trap::new(&texts, Cut::Silence));
    let url = place.url_of("postgres");
    let daemon = tokio::spawn(async move { TestDaemon::start_with(&url, &[]).await });
    place.proxy.wait_sprung(1).await;
    place.proxy.change(|weather| weather.up.swallowed = true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    place.proxy.heal();
    let daemon = daemon.await.expect("no panic");
    daemon.wait_until_ready().await;
    let locked = "SELECT bool_and(locked) FROM outbox.instances";
    assert_eq!(place.database.text(locked).await, "true", "this is no pooler");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_waited_for() {
    let place = Place::new().await;
    let user = format!("d_{:08x}", fastrand::u32(..));
    let create = format!("CREATE ROLE {user} LOGIN IN ROLE outbox_daemon");
    place.database.execute(&create).await;
    let daemon = TestDaemon::start_with(&place.url_of(&user), &[]).await;
    daemon.wait_until_ready().await;
    place.database.execute(&format!("ALTER ROLE {user} CONNECTION LIMIT 0")).await;
    place.proxy.reset();
    let told = async || {
        let (status, why) = daemon.get("/readyz").await;
        status == 503 && why.contains("53300") && why.contains("database.pool_size")
    };
    while !told().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    place.database.insert_many("a", 20).await;
    place.database.execute(&format!("ALTER ROLE {user} CONNECTION LIMIT -1")).await;
    let freed = Instant::now();
    place.expect_each(20, 1).await;
    assert!(freed.elapsed() < SOON, "took {:?}", freed.elapsed());
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_cancelled_are_made_again() {
    let place = Place::new().await;
    let daemon = place.start(&[]).await;
    let (rounds, each) = (40, 50);
    for _ in 0..rounds {
        place.database.insert_many("a", each).await;
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                      WHERE datname = current_database() AND application_name LIKE 'outboxd/%'";
        place.database.text(cancel).await;
    }
    place.expect_each(rounds * each, 1).await;
    daemon.stop().await.expect("an orderly end");
}
