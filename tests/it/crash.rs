//! What stays true when processes and databases die.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use outboxd::throwaway::{Cluster, Shutdown};

use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// Events of the tests under load; the variable is for longer runs by hand.
fn events() -> usize {
    std::env::var("OUTBOXD_TEST_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000)
}

/// How often each event arrived.
pub fn arrivals(receiver: &Receiver) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for id in receiver.ids() {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}

/// Requests that a receiver saw and nobody recorded: per event, more arrivals than attempts.
pub async fn unrecorded(database: &Database, arrivals: &HashMap<String, usize>) -> usize {
    let sql = "SELECT event_id, count(*) FROM outbox.attempts GROUP BY event_id";
    let recorded: HashMap<String, i64> =
        database.rows(sql, &[]).await.iter().map(|row| (row.get(0), row.get(1))).collect();
    let missing =
        |(id, seen): &(&String, &usize)| recorded.get(*id).copied().unwrap_or(0) < **seen as i64;
    arrivals.iter().filter(missing).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_another_daemon_takes_over_within_seconds() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise([Reply::hold(&gate), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    let first = Process::start(&database.url, &[]);
    first.wait_until_ready().await;
    database.emit("a", "{}").await;
    receiver.wait_in_flight(1).await;
    let second = TestDaemon::start(&database).await;
    second.wait_until_ready().await;
    first.kill();
    let killed = Instant::now();
    database.wait_until_idle().await;
    assert!(killed.elapsed() < Duration::from_secs(10), "took {:?}", killed.elapsed());
    let attempts =
        "SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "1 interrupted, 2 success");
    second.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_nothing_and_repeat_only_what_was_leased() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let total = events();
    let mut daemons = vec![Process::start(&database.url, &[]), Process::start(&database.url, &[])];
    let mut leased_at_kills = 0;
    let (batches, every) = (40, total / 40);
    for batch in 0..batches {
        database.insert_many("a", every).await;
        receiver.wait_until(|seen| seen.len() >= batch * every / 2).await;
        if batch % 5 == 4 {
            let victim = daemons.remove(0);
            // What is leased when the signal lands cannot be known, only that before and after.
            let leased = "SELECT count(*) FROM outbox.work WHERE holder IS NOT NULL";
            let before: usize = database.text(leased).await.parse().expect("a number");
            victim.kill();
            let after: usize = database.text(leased).await.parse().expect("a number");
            leased_at_kills += before.max(after) + LEASED_MEANWHILE;
            daemons.push(Process::start(&database.url, &[]));
        }
    }
    let sent = every * batches;
    database.wait_until_idle().await;
    let arrived = arrivals(&receiver);
    assert_eq!(arrived.len(), sent, "every event arrived");
    let delivered = "SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'";
    assert_eq!(database.text(delivered).await, sent.to_string());
    let duplicates: usize = arrived.values().map(|count| count - 1).sum();
    assert!(duplicates <= leased_at_kills, "{duplicates} of at most {leased_at_kills}");
    assert_eq!(unrecorded(&database, &arrived).await, 0);
}

/// A batch that may be leased between the look and the kill.
const LEASED_MEANWHILE: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_repeats_nothing() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(200).delay(Duration::from_millis(5)));
    database.subscribe("one", &receiver.url("/")).await;
    let total = events() / 2;
    for round in 0..4 {
        database.insert_many("a", total / 4).await;
        let process = Process::start(&database.url, &[]);
        receiver.wait_until(|seen| seen.len() >= round * total / 4 + total / 20).await;
        assert_eq!(process.terminate().await, Some(0));
        let leased = "SELECT count(*) FROM outbox.work WHERE holder IS NOT NULL";
        assert_eq!(database.text(leased).await, "0", "leases are given back");
        assert_eq!(database.text("SELECT count(*) FROM outbox.instances").await, "0");
    }
    let daemon = TestDaemon::start(&database).await;
    database.wait_until_idle().await;
    let arrived = arrivals(&receiver);
    assert_eq!(arrived.len(), total / 4 * 4);
    assert!(arrived.values().all(|count| *count == 1), "no event arrived twice");
    let spent = "SELECT max(attempt) FROM outbox.attempts";
    assert_eq!(database.text(spent).await, "1");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_ends_and_the_request_is_made_again_later() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::hang(), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    let hasty = TestDaemon::start_with(&database.url, &[("shutdown.grace", "100ms")]).await;
    database.emit("a", "{}").await;
    receiver.wait_in_flight(1).await;
    hasty.stop().await.expect("an orderly end");
    let attempts = "SELECT string_agg(outcome, ' ' ORDER BY attempt) FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "interrupted");
    let daemon = TestDaemon::start(&database).await;
    database.wait_until_idle().await;
    assert_eq!(database.text(attempts).await, "interrupted success");
    daemon.stop().await.expect("an orderly end");
}

async fn own_database(cluster: &Cluster) -> Database {
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    Database::at(url).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_is_waited_out() {
    let mut cluster = harness::start_cluster(&[("fsync", "on")]);
    let url = cluster.url("postgres");
    let receiver = Receiver::start();
    let database = own_database(&cluster).await;
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&url, &[]).await;
    let (rounds, each) = (3, 300);
    for round in 0..rounds {
        let database = Database::at(url.clone()).await;
        database.insert_many("a", each).await;
        receiver.wait_until(|seen| seen.len() > round * each).await;
        let mode = if round % 2 == 0 { Shutdown::Fast } else { Shutdown::Immediate };
        cluster.restart(mode).expect("the server comes back");
    }
    let database = Database::at(url).await;
    database.wait_until_idle().await;
    daemon.wait_until_ready().await;
    let arrived = arrivals(&receiver);
    assert_eq!(arrived.len(), rounds * each);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_makes_no_daemon_bury_another() {
    let mut cluster = harness::start_cluster(&[]);
    let url = cluster.url("postgres");
    let receiver = Receiver::start();
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    let database = own_database(&cluster).await;
    database.subscribe("one", &receiver.url("/")).await;
    let daemons =
        [TestDaemon::start_with(&url, &[]).await, TestDaemon::start_with(&url, &[]).await];
    for daemon in &daemons {
        daemon.wait_until_ready().await;
    }
    database.insert_many("a", 20).await;
    receiver.wait_in_flight(20).await;
    cluster.stop();
    // Longer than a daemon may be silent before its lock is tried.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.restart(Shutdown::Fast).expect("the server comes back");
    for daemon in &daemons {
        daemon.wait_until_ready().await;
    }
    gate.open();
    Database::at(url).await.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 20, "each once: nobody died");
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_at_the_start_is_waited_for() {
    let mut cluster = harness::start_cluster(&[]);
    let url = cluster.url("postgres");
    own_database(&cluster).await;
    cluster.stop();
    let daemon = TestDaemon::start_with(&url, &[]).await;
    let (status, why) = daemon.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("not ready"), "{why}");
    assert_eq!(daemon.get("/livez").await.0, 200);
    cluster.restart(Shutdown::Fast).expect("the server comes back");
    daemon.wait_until_ready().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_daemon_that_lost_its_leases_changes_nothing() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise([Reply::hold(&gate), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    let settings = [("delivery.timeout", "2s"), ("delivery.lease", "18s")];
    let frozen = Process::start(&database.url, &settings);
    frozen.wait_until_ready().await;
    database.emit("a", "{}").await;
    receiver.wait_in_flight(1).await;
    frozen.signal("STOP");
    // The lock is still held, so the lease has to end; as if 18 s had passed.
    database.execute("UPDATE outbox.work SET due_at = now()").await;
    let daemon = TestDaemon::start(&database).await;
    database.wait_until_idle().await;
    let attempts =
        "SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "1 interrupted, 2 success");
    gate.open();
    frozen.signal("CONT");
    let lost = async || {
        harness::get(frozen.admin, "/metrics").await.1.contains("outboxd_lost_leases_total 1")
    };
    while !lost().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(database.text(attempts).await, "1 interrupted, 2 success");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_received_is_the_set_committed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemons = [TestDaemon::start(&database).await, TestDaemon::start(&database).await];
    let writers: Vec<_> =
        (0..12).map(|writer| tokio::spawn(write_at_random(database.url.clone(), writer))).collect();
    let mut committed = HashSet::new();
    for writer in writers {
        committed.extend(writer.await.expect("no panic"));
    }
    database.wait_until_idle().await;
    let received: HashSet<String> = receiver.ids().into_iter().collect();
    assert_eq!(received, committed);
    assert_eq!(receiver.requests().len(), committed.len(), "each once");
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

/// Transactions with savepoints, rollbacks and slow commits; returns what was committed.
async fn write_at_random(url: String, writer: u64) -> Vec<String> {
    let client = harness::connect(&url).await;
    let mut random = fastrand::Rng::with_seed(writer);
    let mut committed = Vec::new();
    for transaction in 0..25 {
        let mut open = Vec::new();
        client.batch_execute("BEGIN").await.expect("a transaction");
        for n in 0..random.u32(1..6) {
            let id = format!("w{writer}-t{transaction}-{n}");
            let insert = format!(
                "INSERT INTO outbox.events (id, type, payload) VALUES ('{id}', 'a', '{{}}')"
            );
            let undone = random.u8(..) < 80;
            let sql = if undone {
                format!("SAVEPOINT s; {insert}; ROLLBACK TO SAVEPOINT s")
            } else {
                open.push(id);
                insert
            };
            client.batch_execute(&sql).await.expect("an insert");
        }
        if random.u8(..) < 40 {
            tokio::time::sleep(Duration::from_millis(random.u64(1..80))).await;
        }
        if random.u8(..) < 80 {
            client.batch_execute("ROLLBACK").await.expect("undone");
        } else {
            client.batch_execute("COMMIT").await.expect("done");
            committed.extend(open);
        }
    }
    committed
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_descriptor_left_deliveries_wait_and_no_receiver_is_blamed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = Process::start(&database.url, &[("delivery.max_in_flight_per_endpoint", "300")]);
    daemon.wait_until_ready().await;
    let open = || std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("files").count();
    let limit = open() + 40;
    daemon.limit_files(limit);
    database.insert_many("a", 200).await;
    let all_used = async {
        while open() < limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(harness::PATIENCE, all_used).await.expect("as many files as may be");
    // None of these finds one.
    database.insert_many("b", 20).await;
    database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    gate.open();
    database.wait_until_idle().await;
    let arrived = arrivals(&receiver);
    assert!(arrived.len() == 220 && arrived.values().all(|count| *count == 1), "{arrived:?}");
    let blamed = "SELECT count(*) FROM outbox.attempts WHERE outcome <> 'success' OR attempt > 1";
    assert_eq!(database.text(blamed).await, "0");
    assert_eq!(daemon.terminate().await, Some(0));
}
