//! What a server has no room for, and whose clock decides.

use std::time::Duration;

use super::flows;
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_waited_for_and_named() {
    let cluster = harness::start_cluster(&[
        ("max_connections", "12"),
        ("superuser_reserved_connections", "3"),
    ]);
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    let (database, receiver) = (Database::at(url.clone()).await, Receiver::start());
    database.execute("CREATE ROLE worker LOGIN IN ROLE outbox_daemon").await;
    database.subscribe("one", &receiver.url("/")).await;
    let worker = url.replace("postgres@", "worker@");
    let mut hogs = Vec::new();
    while let Ok((client, connection)) =
        tokio_postgres::connect(&worker, tokio_postgres::NoTls).await
    {
        tokio::spawn(async move { drop(connection.await) });
        hogs.push(client);
    }
    let event = database.emit("a", "{}").await;
    let daemon = TestDaemon::start_with(&worker, &[]).await;
    let told = async {
        loop {
            let (status, body) = daemon.get("/readyz").await;
            if body.contains("53300") && body.contains("max_connections") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(tokio::time::timeout(harness::PATIENCE, told).await.expect("in time"), 503);
    hogs.clear();
    receiver.wait_for(1).await;
    assert_eq!(receiver.ids(), [event]);
    // And while it runs: its connections are cut, and somebody else has them.
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'worker'";
    database.text(cut).await;
    let mut refused = false;
    for _ in 0..30 {
        match tokio_postgres::connect(&worker, tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(async move { drop(connection.await) });
                hogs.push(client);
            }
            Err(_) => refused = true,
        }
    }
    assert!(refused, "there was room for all");
    hogs.clear();
    daemon.wait_until_ready().await;
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

/// Where the clock of this host is read: for the time in signatures and the times in metrics, for a
/// `Retry-After` that is a date, for the load test, and to compare it with the database's.
const CLOCKS: [&str; 6] = [
    "src/catalogue.rs",
    "src/deliver/attempt.rs",
    "src/send/bare.rs",
    "src/send/reply.rs",
    "src/store/fitness.rs",
    "src/store/sample.rs",
];

#[test]
fn the_clock_of_this_host_schedules_nothing() {
    let parts = ["store", "deliver", "send", "fan_out"].map(|folder| format!("src/{folder}"));
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = [
        "fan_out",
        "claim",
        "recorder",
        "decide",
        "retry",
        "presence",
        "upkeep",
        "sweep",
        "catalogue",
    ]
    .map(|name| format!("src/{name}.rs"))
    .to_vec();
    for part in &parts {
        for entry in std::fs::read_dir(root.join(part)).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            files.push(format!("{part}/{}", name.display()));
        }
    }
    let mut found: Vec<&String> = files
        .iter()
        .filter(|file| {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            text.contains("SystemTime::now")
        })
        .collect();
    found.sort();
    assert_eq!(found, CLOCKS);
}
