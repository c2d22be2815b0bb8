//! The database crashes, has no free connection, or no room on its disk.

use std::time::Duration;

use outboxd::throwaway::Shutdown;
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use crate::harness;
use crate::ordeal::{Cost, Ordeal, address, cluster};
use crate::proxy::Proxy;
use crate::report::{Report, Run};
use crate::volume::Volume;

/// Load between two faults, in milliseconds.
const BETWEEN: std::ops::Range<u64> = 300..2000;

/// Immediate stops and restarts under load.
pub async fn crashes(run: Run) -> Report {
    let wanted = run.size(50, 4);
    let mut random = fastrand::Rng::with_seed(run.seed);
    let cluster = cluster(harness::free_port(), &[("max_wal_size", "4GB")], None);
    let (url, way) =
        (cluster.url("postgres"), format!("postgresql://postgres@{}/postgres", address(&cluster)));
    let mut ordeal = Ordeal::start(cluster, url, &way, run).await;
    for _ in 0..wanted {
        sleep(Duration::from_millis(random.u64(BETWEEN))).await;
        ordeal.cluster().restart(Shutdown::Immediate).expect("the server comes back");
        ordeal.recovers("crash").await;
    }
    let done = format!("{wanted} immediate stops and restarts of the database under load");
    ordeal.end(done, Cost::LastWrites).await
}

/// Every connection that the server has is taken by somebody else.
pub async fn connections(run: Run) -> Report {
    let wanted = run.size(5, 1);
    let settings = [("max_connections", "24"), ("superuser_reserved_connections", "8")];
    let cluster = cluster(harness::free_port(), &settings, None);
    let proxy = Proxy::start(address(&cluster));
    let url = cluster.url("postgres");
    let role = "CREATE ROLE d LOGIN";
    harness::connect(&url).await.batch_execute(role).await.expect("a role");
    harness::migrate(&url).await;
    let grant = "GRANT outbox_daemon TO d";
    harness::connect(&url).await.batch_execute(grant).await.expect("a grant");
    let way = format!("postgresql://d@{}/postgres", proxy.addr());
    let hog = format!("postgresql://d@{}/postgres", address(&cluster));
    let mut ordeal = Ordeal::start(cluster, url, &way, run).await;
    let mut refused = 0;
    for _ in 0..wanted {
        let (started, mut taken) = (Instant::now(), Vec::new());
        proxy.reset();
        while started.elapsed() < Duration::from_secs(5) {
            match tokio_postgres::connect(&hog, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    taken.push(client);
                }
                Err(_) => {
                    refused += 1;
                    // What the daemon got is taken from it.
                    proxy.reset();
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(taken);
        ordeal.recovers("connection exhaustion").await;
    }
    let done = format!("{wanted} times no connection free for 5 s under load");
    let mut report = ordeal.end(done, Cost::Nothing).await;
    report.expect(refused > 0, "the server always had a connection left");
    report
}

/// The volume of the database has no room.
pub async fn disk(run: Run) -> Report {
    let wanted = run.size(5, 1);
    let cluster = cluster(harness::free_port(), &[], None);
    let Some(volume) = Volume::mount(&cluster, "160m") else {
        return Report::new("skipped: only root can mount a small volume");
    };
    volume.hold_database(&cluster).await;
    let url = cluster.url("small");
    let way = format!("postgresql://postgres@{}/small", address(&cluster));
    let mut ordeal = Ordeal::start(cluster, url, &way, run).await;
    for _ in 0..wanted {
        sleep(Duration::from_secs(2)).await;
        volume.fill();
        sleep(Duration::from_secs(6)).await;
        volume.free();
        ordeal.recovers("a full disk").await;
    }
    let done = format!("{wanted} times no room on the volume of the database for 6 s under load");
    let report = ordeal.end(done, Cost::Nothing).await;
    drop(volume);
    report
}
