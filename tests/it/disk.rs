//! What the daemon does when the disk of the database is full.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use outboxd::throwaway::Cluster;

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;

/// How much the volume holds: a database, and a little more.
const SIZE: &str = "40m";
/// How soon deliveries go on when there is room again.
const SOON: Duration = Duration::from_secs(10);

/// A small volume in a cluster's directory.
struct Volume(PathBuf);

impl Volume {
    /// `None` where this user may not mount.
    fn mount(cluster: &Cluster) -> Option<Self> {
        let path = cluster.socket_dir().join("small");
        let owner = fs::metadata(cluster.socket_dir()).expect("the cluster's directory");
        fs::create_dir(&path).expect("a mount point");
        let options = format!("size={SIZE},mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(path))
    }

    /// Writes until nothing goes in any more.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).expect("a file");
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("a file");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The server still has files open there.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// A database on a small volume.
async fn small_database(cluster: &Cluster, volume: &Volume) -> Database {
    let admin = harness::connect(&cluster.url("postgres")).await;
    let space = format!("CREATE TABLESPACE small LOCATION '{}'", volume.0.display());
    admin.batch_execute(&space).await.expect("a tablespace");
    admin.batch_execute("CREATE DATABASE small TABLESPACE small").await.expect("a database");
    let url = cluster.url("small");
    harness::migrate(&url).await;
    Database::at(url).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_requests_and_room_lets_them_go_on() {
    let cluster = harness::start_cluster(&[("autovacuum", "off")]);
    let Some(volume) = Volume::mount(&cluster) else {
        eprintln!("skipped: only root can mount a small volume");
        return;
    };
    let (database, receiver) = (small_database(&cluster, &volume).await, Receiver::start());
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
