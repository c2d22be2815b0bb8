//! What others leave open: transactions that nobody ends, snapshots, replication slots.

use std::time::Instant;

use outboxd::throwaway::{Cluster, Options};

use super::{PROMPT, flows, state};
use crate::harness::{self, Database, TestDaemon, connect};
use crate::metrics::{scraped, value};
use crate::receiver::Receiver;

/// The gauge of the oldest that vacuum has to spare rows for.
fn series(holder: &str) -> String {
    format!("outboxd_oldest_xmin_age_seconds{{holder=\"{holder}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_invisible_shows_as_a_holder_and_is_delivered_once_committed() {
    let cluster = harness::start_cluster(&[("max_prepared_transactions", "4")]);
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    let (database, receiver) = (Database::at(url).await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    for name in ["kept", "dropped"] {
        let prepare = format!(
            "BEGIN; SELECT outbox.emit('a', '{{}}', id => '{name}'); PREPARE TRANSACTION '{name}'"
        );
        database.execute(&prepare).await;
    }
    // Events with higher numbers go past them.
    flows(&database, &receiver, &["/"]).await;
    // The second sample, 15 s later, knows for how long.
    let holder = series("prepared_transaction");
    scraped(&daemon, &holder, |text| value(text, &holder) > Some(10.0)).await;
    flows(&database, &receiver, &["/"]).await;
    assert_eq!(receiver.ids().len(), 2);
    assert_eq!(state(&database, "kept").await, "nothing");

    database.execute("ROLLBACK PREPARED 'dropped'").await;
    database.execute("COMMIT PREPARED 'kept'").await;
    let committed = Instant::now();
    receiver.wait_for(3).await;
    assert!(committed.elapsed() < PROMPT, "after {:?}", committed.elapsed());
    assert_eq!(receiver.ids()[2], "kept");
    scraped(&daemon, &holder, |text| value(text, &holder) == Some(0.0)).await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids().len(), 3, "what was rolled back never arrives");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_snapshot_and_a_stuck_slot_show_as_holders_and_deliveries_flow_on() {
    let cluster = harness::start_cluster(&[]);
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    let (database, receiver) = (Database::at(url.clone()).await, Receiver::start());
    database.execute("SELECT pg_create_physical_replication_slot('stuck', true)").await;
    // A standby that wants rows kept for its queries, and then is no more.
    let settings = [
        ("primary_slot_name", "stuck"),
        ("hot_standby_feedback", "on"),
        ("wal_receiver_status_interval", "1s"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = Options { standby_of: Some(url.clone()), settings, ..Options::default() };
    let standby = Cluster::start(options).expect("a standby");
    database.wait_for("SELECT xmin IS NOT NULL FROM pg_replication_slots", "true").await;
    drop(standby);
    let foreign = connect(&url).await;
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox.events";
    foreign.batch_execute(snapshot).await.expect("a snapshot");

    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    // What is deleted from now on stays in the tables as dead rows.
    for _ in 0..10 {
        database.insert_many("a", 500).await;
        database.wait_until_idle().await;
    }
    let holders = ["backend", "replication_slot"].map(series);
    for holder in &holders {
        scraped(&daemon, holder, |text| value(text, holder) > Some(10.0)).await;
    }
    flows(&database, &receiver, &["/"]).await;
    assert_eq!(receiver.ids().len(), 5001, "each arrived once");
    let text = daemon.get("/metrics").await.1;
    assert_eq!(value(&text, &series("prepared_transaction")), Some(0.0));
    drop(foreign);
    database.execute("SELECT pg_drop_replication_slot('stuck')").await;
    for holder in &holders {
        scraped(&daemon, holder, |text| value(text, holder) == Some(0.0)).await;
    }
    daemon.stop().await.expect("an orderly end");
}
