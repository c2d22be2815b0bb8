//! What the daemon does when the disk of the database is full.

use std::time::{Duration, Instant};

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;
use crate::volume::Volume;

/// How much the volume holds: a database, and a little more.
const SIZE: &str = "40m";
/// How soon deliveries go on when there is room again.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_requests_and_room_lets_them_go_on() {
    let cluster = harness::start_cluster(&[("autovacuum", "off")]);
    let Some(volume) = Volume::mount(&cluster, SIZE) else {
        eprintln!("skipped: only root can mount a small volume");
        return;
    };
    volume.hold_database(&cluster).await;
    let (database, receiver) = (Database::at(cluster.url("small")).await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let events = 6000;
    database.insert_many("a", events).await;
    volume.fill();
    let daemon = TestDaemon::start_with(&database.url, &[]).await;
    let told = async || {
        let (status, why) = daemon.get("/readyz").await;
        status == 503 && why.contains("No space left on device")
    };
    let started = Instant::now();
    while !told().await {
        assert!(started.elapsed() < harness::PATIENCE, "{:?}", daemon.get("/readyz").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was sent has its attempt in the database, though its outcome may not be there yet.
    let before = receiver.requests().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = receiver.requests().len();
    let attempts = "SELECT (SELECT count(*) FROM outbox.attempts) \
                         + (SELECT count(*) FROM outbox.work WHERE holder IS NOT NULL)";
    let attempts: usize = database.text(attempts).await.parse().expect("a number");
    assert!(sent <= attempts && sent < events, "{sent} sent, {attempts} recorded");
    assert_eq!(sent, before, "what cannot be recorded is not sent");
    volume.free();
    let freed = Instant::now();
    receiver.wait_for(sent + 1).await;
    assert!(freed.elapsed() < SOON, "took {:?}", freed.elapsed());
    database.wait_until_idle().await;
    daemon.wait_until_ready().await;
    let arrived = arrivals(&receiver);
    assert_eq!(arrived.len(), events);
    assert_eq!(receiver.requests().len(), events, "each once");
    assert_eq!(unrecorded(&database, &arrived).await, 0);
    daemon.stop().await.expect("an orderly end");
}
