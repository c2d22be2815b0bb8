//! What the daemon does where a pooler in transaction mode is between: Debian's PgBouncer.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use outboxd::throwaway::Cluster;

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// The shortest lease that a time limit of a second allows.
const BRIEF: [(&str, &str); 3] =
    [("delivery.timeout", "1s"), ("delivery.connect_timeout", "1s"), ("delivery.lease", "17s")];

/// A pooler before a cluster.
struct Pooler {
    program: PathBuf,
    file: PathBuf,
    owner: (u32, u32),
    address: SocketAddr,
    child: Child,
}

impl Pooler {
    /// None without the program, which is said.
    fn start(cluster: &Cluster) -> Option<Self> {
        let program = program()?;
        let home = cluster.socket_dir();
        let owner = fs::metadata(home).expect("the cluster's directory");
        let port = harness::free_port();
        let file = home.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
            home.display(),
            cluster.port()
        );
        fs::write(&file, text).expect("a file");
        let owner = (owner.uid(), owner.gid());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = run(&program, &file, owner, address);
        Some(Self { program, file, owner, address, child })
    }

    fn url(&self) -> String {
        format!("postgresql://postgres@{}/postgres", self.address)
    }

    fn stop(&mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("its end");
    }

    fn start_again(&mut self) {
        self.child = run(&self.program, &self.file, self.owner, self.address);
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What scripts/install-test-deps unpacked, else the system's own.
fn program() -> Option<PathBuf> {
    let unpacked =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/verifiers/pgbouncer/usr/sbin");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(unpacked).chain(env::split_paths(&path));
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("NOT CHECKED: there is no pgbouncer; scripts/install-test-deps");
    }
    found
}

/// Runs it as the owner of the cluster, for it refuses to be root, and waits until it listens.
fn run(program: &Path, file: &Path, (uid, gid): (u32, u32), address: SocketAddr) -> Child {
    let libraries = program.parent().and_then(Path::parent).expect("below usr").join("lib");
    let machine = format!("{}-linux-gnu", env::consts::ARCH);
    let mut command = Command::new(program);
    command.arg("-q").arg(file).env("LD_LIBRARY_PATH", libraries.join(machine));
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        command.uid(uid).gid(gid);
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pgbouncer");
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < harness::PATIENCE, "pgbouncer does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    child
}

/// A database, one endpoint that gets all of it, and a pooler.
async fn place() -> Option<(Cluster, Database, Receiver, Pooler)> {
    let cluster = harness::start_cluster(&[]);
    let pooler = Pooler::start(&cluster)?;
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    let (database, receiver) = (Database::at(url).await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    Some((cluster, database, receiver, pooler))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_and_a_pooler_that_restarts_is_waited_for() {
    let Some((_cluster, database, receiver, mut pooler)) = place().await else { return };
    // Failed at first, so that claims take part.
    receiver.otherwise([Reply::status(503), Reply::status(200)]);
    let daemon =
        TestDaemon::start_with(&pooler.url(), &[("delivery.retry", "100ms 100ms 100ms")]).await;
    daemon.wait_until_ready().await;
    let locked = "SELECT bool_or(locked) FROM outbox.instances";
    assert_eq!(database.text(locked).await, "false", "nobody can hold a lock here");
    database.insert_many("a", 1000).await;
    database.wait_until_idle().await;
    pooler.stop();
    database.insert_many("b", 1000).await;
    while daemon.get("/readyz").await.0 == 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pooler.start_again();
    database.wait_until_idle().await;
    daemon.wait_until_ready().await;
    let arrived = arrivals(&receiver);
    assert_eq!(arrived.len(), 2000, "every event arrived");
    assert_eq!(receiver.requests().len(), 2001, "and none twice but the one that failed");
    assert_eq!(unrecorded(&database, &arrived).await, 0);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_daemon_had_is_sent_when_its_lease_ends_and_not_before() {
    let Some((_cluster, database, receiver, pooler)) = place().await else { return };
    receiver.otherwise([Reply::hang(), Reply::status(200)]);
    let first = Process::start(&pooler.url(), &BRIEF);
    first.wait_until_ready().await;
    database.emit("a", "{}").await;
    receiver.wait_in_flight(1).await;
    first.kill();
    let killed = Instant::now();
    let second = TestDaemon::start_with(&pooler.url(), &BRIEF).await;
    database.wait_until_idle().await;
    let took = killed.elapsed();
    let lease = Duration::from_secs(17);
    assert!(
        took > lease - Duration::from_secs(2) && took < lease + Duration::from_secs(10),
        "{took:?}"
    );
    let attempts =
        "SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY attempt) FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "1 interrupted, 2 success");
    second.stop().await.expect("an orderly end");
}
