//! What works behind a pooler in transaction mode, where no session lasts: all of it, but that the
//! death of a daemon shows only when its leases end.

use std::time::{Duration, Instant};

use outboxd::throwaway::Cluster;

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, Process, SECRET, TestDaemon};
use crate::receiver::{Receiver, Reply};
use crate::secrets::verifies;
use pgbouncer::PgBouncer;

mod pgbouncer;

/// As short a lease as may be.
const LEASE: Duration = Duration::from_secs(17);
const SETTINGS: [(&str, &str); 4] = [
    ("delivery.timeout", "1s"),
    ("delivery.connect_timeout", "1s"),
    ("delivery.lease", "17s"),
    ("delivery.retry", "100ms*"),
];

/// A server, a pooler before it, and a receiver that gets all events.
struct Place {
    pooler: PgBouncer,
    /// Past the pooler.
    database: Database,
    receiver: Receiver,
    _server: Cluster,
}

impl Place {
    /// The schema is made through the pooler.
    async fn new() -> Option<Self> {
        let server = harness::start_cluster_on(harness::free_port());
        let pooler = PgBouncer::start(server.port(), &["postgres", "worker"], 6)?;
        let database = Database::at(server.url("postgres")).await;
        let receiver = Receiver::start();
        let place = Self { pooler, database, receiver, _server: server };
        place.outboxd(&["migrate"]).await;
        place.database.execute("CREATE ROLE worker LOGIN IN ROLE outbox_daemon").await;
        place.database.subscribe("one", &place.receiver.url("/")).await;
        Some(place)
    }

    async fn daemon(&self) -> TestDaemon {
        let daemon = TestDaemon::start_with(&self.pooler.url("worker"), &SETTINGS).await;
        daemon.wait_until_ready().await;
        daemon
    }

    /// What a command says through the pooler, on stdout and stderr.
    async fn outboxd(&self, words: &[&str]) -> String {
        let mut command = harness::outboxd(&self.pooler.url("postgres"), &[]);
        command.args(words);
        let run = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
        let output = run.await.expect("no panic");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_from_the_command_line_to_verified_deliveries() {
    let Some(place) = Place::new().await else { return };
    let daemon = place.daemon().await;
    let locked = "SELECT bool_or(locked) FROM outbox.instances";
    assert_eq!(place.database.text(locked).await, "false", "the pooler was noticed");
    let id = place.outboxd(&["events", "emit", "order.created"]).await;
    place.receiver.wait_for(1).await;
    let request = &place.receiver.requests()[0];
    assert_eq!(request.header("webhook-id"), Some(id.trim()));
    assert!(request.body.ends_with(b"\"data\":{}}"), "{:?}", request.body);
    assert!(verifies(request, SECRET));
    place.database.wait_until_idle().await;
    for words in [
        &["doctor"][..],
        &["stats"],
        &["endpoints", "show", "one"],
        &["deliveries", "list"],
        &["events", "show", id.trim()],
        &["deliveries", "replay", id.trim(), "one"],
        &["endpoints", "test", "one"],
        &["hold", "show"],
        &["secrets", "list"],
    ] {
        place.outboxd(words).await;
    }
    place.receiver.wait_for(3).await;
    assert!(place.outboxd(&["doctor"]).await.contains("a pooler in transaction mode sits between"));
    daemon.stop().await.expect("an orderly end");
    assert_eq!(place.database.text("SELECT count(*) FROM outbox.instances").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_the_work_and_nothing_arrives_twice() {
    let Some(place) = Place::new().await else { return };
    let daemons = [place.daemon().await, place.daemon().await];
    // The first 100 are tried again, and an endpoint changes all the while.
    let failing = std::iter::repeat_with(|| Reply::status(500)).take(100);
    place.receiver.otherwise(failing.chain([Reply::status(200)]).collect::<Vec<_>>());
    for round in 0..10 {
        place.database.insert_many("a", 200).await;
        let change = format!("UPDATE outbox.endpoints SET description = 'round {round}'");
        place.database.execute(&change).await;
    }
    place.database.wait_until_idle().await;
    let seen = arrivals(&place.receiver);
    assert_eq!(seen.len(), 2000, "every event arrived");
    assert_eq!(seen.values().sum::<usize>(), 2100, "again only what had failed");
    assert_eq!(unrecorded(&place.database, &seen).await, 0);
    // Nothing tells a daemon behind a pooler of a new event, and none needs to.
    let id = place.database.emit("b", "{}").await;
    let emitted = Instant::now();
    place
        .receiver
        .wait_until(|seen| seen.iter().any(|one| one.header("webhook-id") == Some(&id)))
        .await;
    assert!(emitted.elapsed() < Duration::from_secs(1), "after {:?}", emitted.elapsed());
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_dies_and_comes_back_is_waited_for() {
    let Some(mut place) = Place::new().await else { return };
    let daemon = place.daemon().await;
    for round in 1..=3 {
        place.database.insert_many("a", 100).await;
        place.receiver.wait_for((round * 2 - 1) * 100 - 50).await;
        place.pooler.kill();
        place.database.insert_many("b", 100).await;
        while daemon.get("/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        place.pooler.restart();
        let back = Instant::now();
        let last = place.database.text("SELECT max(id) FROM outbox.events").await;
        place
            .receiver
            .wait_until(|seen| seen.iter().any(|one| one.header("webhook-id") == Some(&last)))
            .await;
        assert!(back.elapsed() < Duration::from_secs(10), "after {:?}", back.elapsed());
        daemon.wait_until_ready().await;
        // What the dead pooler took an answer from with it waits for the end of its lease.
        place.database.wait_until_idle().await;
    }
    let seen = arrivals(&place.receiver);
    assert_eq!(seen.len(), 600, "every event arrived");
    assert_eq!(unrecorded(&place.database, &seen).await, 0);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_daemon_had_is_sent_when_its_lease_ends_and_not_before() {
    let Some(place) = Place::new().await else { return };
    place.receiver.otherwise([Reply::hang(), Reply::status(200)]);
    let first = Process::start(&place.pooler.url("worker"), &SETTINGS);
    first.wait_until_ready().await;
    place.database.emit("a", "{}").await;
    place.receiver.wait_in_flight(1).await;
    first.kill();
    let killed = Instant::now();
    let second = place.daemon().await;
    place.database.wait_until_idle().await;
    let took = killed.elapsed();
    assert!(took > LEASE - Duration::from_secs(2), "{took:?}");
    assert!(took < LEASE + Duration::from_secs(10), "{took:?}");
    let attempts =
        "SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM outbox.attempts";
    assert_eq!(place.database.text(attempts).await, "1 interrupted, 2 success");
    second.stop().await.expect("an orderly end");
}
