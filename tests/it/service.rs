//! What the service manager is told: a socket in its place, and the daemon as a process.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::harness::{Database, PATIENCE, Process, free_port, get};

/// Where a service manager would listen.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("outboxd-notify-{:016x}", fastrand::u64(..)));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self { socket, path }
    }

    /// A daemon that talks to it, as a unit with WatchdogSec=300ms has it.
    fn start(&self, url: &str) -> Process {
        let socket = self.path.to_str().expect("UTF-8");
        Process::start_in(url, &[], &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "300000")])
    }

    /// What is told next, a message of several lines.
    fn next(&self) -> String {
        let mut message = [0; 4096];
        let read = self.socket.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..read]).into_owned()
    }

    /// The first message with this line, and all before it.
    fn until(&self, line: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let message = self.next();
            if message.lines().any(|found| found == line) {
                return (message, before);
            }
            before.push(message);
        }
    }

    /// Everything that has been told since, by a daemon that has ended.
    fn rest(&self) -> String {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut message = [0; 4096];
        let mut rest = String::new();
        while let Ok(read) = self.socket.recv(&mut message) {
            rest.push_str(&String::from_utf8_lossy(&message[..read]));
        }
        rest
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_on_a_fit_database_feeds_the_watchdog_reloads_and_stops() {
    let (database, manager) = (Database::new().await, Manager::new());
    let daemon = manager.start(&database.url);
    let (ready, _) = manager.until("READY=1");
    assert!(ready.contains("STATUS=delivering"), "{ready}");
    daemon.wait_until_ready().await;
    manager.until("WATCHDOG=1");
    daemon.signal("HUP");
    let (reloading, _) = manager.until("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.until("READY=1");
    assert_eq!(daemon.terminate().await, Some(0));
    let (stopping, _) = manager.until("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=60000000"), "{stopping}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_while_its_database_is_away_and_says_so() {
    let manager = Manager::new();
    let url = format!("postgres://nobody@127.0.0.1:{}/away", free_port());
    let daemon = manager.start(&url);
    let (ready, _) = manager.until("READY=1");
    assert!(ready.contains("STATUS=waiting for the database: "), "{ready}");
    let (status, said) = get(daemon.admin, "/readyz").await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("waiting for the database"), "{said}");
    assert_eq!(get(daemon.admin, "/livez").await.0, 200);
    manager.until("WATCHDOG=1");
    // A reload does not claim that deliveries are made.
    daemon.signal("HUP");
    manager.until("RELOADING=1");
    let (ready, _) = manager.until("READY=1");
    assert!(ready.contains("STATUS=waiting for the database: "), "{ready}");
    assert_eq!(daemon.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_database_is_not_fit_fails_its_start() {
    let (database, manager) = (Database::empty().await, Manager::new());
    let daemon = manager.start(&database.url);
    assert_eq!(daemon.ended().await, Some(69));
    let told = manager.rest();
    assert!(told.contains("WATCHDOG=1") && !told.contains("READY=1"), "{told}");
}
