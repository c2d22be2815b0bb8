//! People with the owner's rights, and many at once, who change what the daemon works on.

use std::collections::HashSet;
use std::time::Duration;

use super::flows;
use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// What a vandal does, one at a time, in any order.
const VANDALISM: [&str; 14] = [
    "TRUNCATE outbox.work",
    "DELETE FROM outbox.work WHERE random() < 0.3",
    "UPDATE outbox.work SET holder = NULL, due_at = now() WHERE random() < 0.3",
    "UPDATE outbox.work SET attempt = attempt + 7 WHERE random() < 0.3",
    "UPDATE outbox.work SET holder = -1, due_at = now() - interval '1 hour' WHERE random() < 0.3",
    "UPDATE outbox.work SET due_at = now() - interval '100 years' WHERE random() < 0.1",
    "INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at) VALUES (-1, 1, now(), now()), \
     (1, 99999, now(), now()) ON CONFLICT DO NOTHING",
    "TRUNCATE outbox.queue",
    "DELETE FROM outbox.queue WHERE random() < 0.3",
    "INSERT INTO outbox.queue SELECT seq FROM outbox.events ORDER BY seq DESC LIMIT 3 ON CONFLICT DO NOTHING",
    "TRUNCATE outbox.events",
    "DELETE FROM outbox.events WHERE random() < 0.2",
    "UPDATE outbox.events SET payload = '\"changed\"', type = 'changed' WHERE random() < 0.1",
    "UPDATE outbox.endpoints SET state = CASE WHEN state = 'active' THEN 'paused' ELSE 'active' END",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_vandal_costs_what_is_destroyed_and_the_daemons_go_on() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(200).delay(Duration::from_millis(5)));
    for name in ["one", "two"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    let daemons = [TestDaemon::start(&database).await, TestDaemon::start(&database).await];
    let producer = Database::at(database.url.clone()).await;
    let produce = tokio::spawn(async move {
        for _ in 0..60 {
            // The vandal's locks may come between.
            producer.try_execute("INSERT INTO outbox.events (type, payload) SELECT 'a', '{}' FROM generate_series(1, 20)").await.ok();
        }
    });
    for _ in 0..120 {
        let sql = VANDALISM[fastrand::usize(..VANDALISM.len())];
        // A deadlock costs the vandal.
        database.try_execute(sql).await.ok();
    }
    // What is certain to be taken from under a request.
    database.execute("UPDATE outbox.endpoints SET state = 'active'").await;
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    produce.await.expect("no panic");
    database.insert_many("held", 4).await;
    database
        .wait_for(
            "SELECT count(*) > 0 FROM outbox.work WHERE holder IS NOT NULL AND due_at > now()",
            "true",
        )
        .await;
    receiver.wait_until(|_| receiver.in_flight() > 0).await;
    database.execute("TRUNCATE outbox.work").await;
    receiver.otherwise(Reply::status(200));
    gate.open();
    let lost = async {
        loop {
            let mut count = 0;
            for daemon in &daemons {
                let (_, metrics) = daemon.get("/metrics").await;
                let line = metrics
                    .lines()
                    .find_map(|line| line.strip_prefix("outboxd_lost_leases_total "));
                count += line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
            }
            if count > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(harness::PATIENCE, lost).await.expect("a lost lease that is counted");
    flows(&database, &receiver, &["/one", "/two"]).await;
    database.execute("DELETE FROM outbox.work WHERE endpoint = 99999").await;
    database.wait_until_idle().await;
    for daemon in daemons {
        assert_eq!(daemon.get("/readyz").await.0, 200);
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_writers_of_one_id_make_one_event() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    let writers = (0..20).map(|_| {
        let url = database.url.clone();
        tokio::spawn(async move {
            let writer = Database::at(url).await;
            for _ in 0..5 {
                assert_eq!(writer.text("outbox.emit('a', '{}', id => 'only')").await, "only");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    receiver.wait_for(1).await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["only"]);
    assert_eq!(database.text("SELECT count(*) FROM outbox.events").await, "1");
    let twice = database
        .try_execute("INSERT INTO outbox.events (id, type, payload) VALUES ('only', 'a', '{}')")
        .await;
    assert_eq!(twice.expect_err("refused").code().map(|code| code.code()), Some("23505"));
    daemon.stop().await.expect("an orderly end");
}

/// Endpoints that one event is owed to.
const MANY: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn one_event_for_ten_thousand_endpoints_is_complete_after_a_kill_in_the_middle() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let endpoints = format!(
        "INSERT INTO outbox.endpoints (name, url) SELECT 'e' || n, '{}' || n FROM generate_series(1, {MANY}) n; \
         INSERT INTO outbox.secrets (endpoint_id, secret) SELECT id, '{}' FROM outbox.endpoints",
        receiver.url("/"),
        harness::SECRET
    );
    database.execute(&endpoints).await;
    database.emit("a", "{}").await;
    let victim = Process::start(&database.url, &[]);
    receiver.wait_for(MANY / 5).await;
    victim.kill();
    let leased = "SELECT count(*) FROM outbox.work WHERE holder IS NOT NULL";
    let leased: usize = database.text(leased).await.parse().expect("a number");
    let daemon = Process::start(&database.url, &[]);
    database.wait_until_idle().await;
    let delivered = "SELECT count(*) || ' ' || count(DISTINCT endpoint_id) FROM outbox.deliveries WHERE status = 'delivered'";
    assert_eq!(database.text(delivered).await, format!("{MANY} {MANY}"));
    let requests = receiver.requests();
    let paths: HashSet<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths.len(), MANY);
    assert!(requests.len() - MANY <= leased, "{} requests, {leased} leased", requests.len());
    assert_eq!(daemon.terminate().await, Some(0));
}
