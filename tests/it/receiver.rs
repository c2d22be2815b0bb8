//! A scripted HTTP receiver on raw TCP, since the faults worth testing happen below HTTP.
//!
//! It speaks HTTP/1.1 with keep-alive and `content-length` bodies, which is all that outboxd
//! sends, records every complete request, and answers by script.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use reply::{Gate, Reply, Script};

mod connection;
mod reply;
mod tests;

/// How long a test waits for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted: as many as a burst opens.
const BACKLOG: u32 = 4096;
/// How many requests a failed wait lists, the latest ones.
const LISTED: usize = 50;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its last byte was read.
    pub at: Instant,
    /// The number of its connection, from 1 in the order of acceptance.
    pub connection: u64,
    /// As sent, in upper case.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The bytes that signatures cover.
    pub body: Bytes,
}

impl Request {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// An HTTP server that does as scripted; it stops when dropped.
pub struct Receiver {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the connections share with the test.
#[derive(Default)]
struct Shared {
    scripts: Mutex<Scripts>,
    /// A watch, so that tests await what they expect of it.
    log: watch::Sender<Log>,
}

#[derive(Default)]
struct Scripts {
    of_paths: HashMap<String, Script>,
    otherwise: Script,
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    connections: u64,
    in_flight: usize,
    peak_in_flight: usize,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1 and answers every request with a 200.
    pub fn start() -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Listens on this address, such as that of a receiver that was stopped.
    pub fn start_on(addr: SocketAddr) -> Self {
        let listener = listen(addr);
        let addr = listener.local_addr().expect("a bound socket's address");
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self { addr, shared, tasks }
    }

    /// Closes the port and all connections; from now on connections are refused.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a path, given with its slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Sets the script of one path, given without a query.
    pub fn on(&self, path: &str, script: impl Into<Script>) {
        let mut scripts = self.shared.scripts();
        scripts.of_paths.insert(path.to_owned(), script.into());
    }

    /// Sets the script that all paths without one of their own share.
    pub fn otherwise(&self, script: impl Into<Script>) {
        self.shared.scripts().otherwise = script.into();
    }

    /// A closed gate, for [`Reply::hold`].
    pub fn gate(&self) -> Gate {
        Gate::closed()
    }

    /// What was received so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.borrow().requests.clone()
    }

    /// The `webhook-id` of every request so far that has one.
    pub fn ids(&self) -> Vec<String> {
        let log = self.shared.log.borrow();
        let ids = log.requests.iter().filter_map(|it| it.header("webhook-id"));
        ids.map(str::to_owned).collect()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.log.borrow().connections
    }

    /// How many requests were received and have not been answered in full. One whose client
    /// gave up counts until the receiver has noticed.
    pub fn in_flight(&self) -> usize {
        self.shared.log.borrow().in_flight
    }

    /// The most that were in flight at once.
    pub fn peak_in_flight(&self) -> usize {
        self.shared.log.borrow().peak_in_flight
    }

    /// Waits until `n` requests have been received in all, and returns what was.
    pub async fn wait_for(&self, n: usize) -> Vec<Request> {
        let what = format!("{n} requests");
        self.wait(&what, |log| log.requests.len() >= n).await;
        self.requests()
    }

    /// Waits until the requests received satisfy the condition, and returns them.
    pub async fn wait_until(&self, condition: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let what = "requests as awaited";
        self.wait(what, |log| condition(&log.requests)).await;
        self.requests()
    }

    /// Waits until exactly `n` requests are in flight.
    pub async fn wait_in_flight(&self, n: usize) {
        let what = format!("{n} in flight");
        self.wait(&what, |log| log.in_flight == n).await;
    }

    /// Waits until `n` connections have been accepted in all.
    pub async fn wait_connections(&self, n: u64) {
        let what = format!("{n} connections");
        self.wait(&what, |log| log.connections >= n).await;
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Log) -> bool) {
        let mut log = self.shared.log.subscribe();
        let waited = timeout(PATIENCE, log.wait_for(|log| condition(log))).await;
        let in_time = waited.is_ok();
        // The outcome borrows the log, which the summary reads.
        drop(waited);
        assert!(in_time, "no {what} in {PATIENCE:?}, but {}", self.summary());
    }

    fn summary(&self) -> String {
        let log = self.shared.log.borrow();
        let total = log.requests.len();
        let mut text = format!(
            "{total} requests, {} connections, {} in flight; the latest requests:",
            log.connections, log.in_flight
        );
        for request in &log.requests[total.saturating_sub(LISTED)..] {
            let Request { method, path, .. } = request;
            let id = request.header("webhook-id").unwrap_or("none");
            let connection = request.connection;
            text += &format!("\n  {method} {path}, webhook-id {id}, connection {connection}");
        }
        text
    }
}

impl Shared {
    fn scripts(&self) -> std::sync::MutexGuard<'_, Scripts> {
        self.scripts.lock().expect("no holder of the scripts panics")
    }

    /// Takes the next reply for this path and query.
    fn next_reply(&self, path: &str) -> Reply {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let Scripts { of_paths, otherwise } = &mut *self.scripts();
        of_paths.get_mut(path).unwrap_or(otherwise).next()
    }

    /// Records a request, which is in flight until what this returns is dropped.
    fn record(self: &Arc<Self>, request: Request) -> InFlight {
        self.log.send_modify(|log| {
            log.requests.push(request);
            log.in_flight += 1;
            log.peak_in_flight = log.peak_in_flight.max(log.in_flight);
        });
        InFlight(self.clone())
    }
}

/// A request that is not answered yet.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.log.send_modify(|log| log.in_flight -= 1);
    }
}

fn listen(addr: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    // The connections of a receiver that was stopped linger on its port.
    socket.set_reuseaddr(true).expect("a reusable address");
    socket.bind(addr).expect("a free address");
    socket.listen(BACKLOG).expect("a listening socket")
}

/// Accepts until aborted, which aborts the connections too.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                shared.log.send_modify(|log| log.connections += 1);
                let number = shared.log.borrow().connections;
                connections.spawn(connection::serve(stream, number, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
