//! Many receivers in one lean server: a thread of its own, and a line of history per request.
//!
//! Every endpoint has an address of its own in 127.0.0.0/8, so that senders cannot share
//! connections between them, and the path `/N`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

pub use behaviour::Behaviour;
use connection::serve;

use crate::history::{Endpoint, Request};

mod behaviour;
mod connection;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Pause after a connection that could not be accepted.
const BREATH: Duration = Duration::from_millis(50);

/// The receivers of a run; they stop when dropped.
pub struct Receivers {
    port: u16,
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Bound, and not listened to: connections are refused.
    refusing: std::net::TcpListener,
}

/// What connections share with the run.
pub struct Shared {
    behaviours: RwLock<Vec<Behaviour>>,
    requests: Mutex<Vec<Request>>,
    seen: AtomicUsize,
    /// Whether bodies are digested and signatures verified.
    pub thorough: AtomicBool,
}

impl Receivers {
    /// One for each behaviour.
    pub fn start(behaviours: Vec<Behaviour>) -> Self {
        let shared = Arc::new(Shared {
            behaviours: RwLock::new(behaviours),
            requests: Mutex::default(),
            seen: AtomicUsize::new(0),
            thorough: AtomicBool::new(true),
        });
        let stop = CancellationToken::new();
        let (report, port) = std::sync::mpsc::channel();
        let (theirs, until) = (shared.clone(), stop.clone());
        thread::Builder::new()
            .name("receivers".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let listener = listen();
                    let port = listener.local_addr().expect("a bound address").port();
                    report.send(port).expect("somebody waits for it");
                    until.run_until_cancelled(accept(listener, theirs)).await;
                });
            })
            .expect("a thread");
        let port = port.recv().expect("a port");
        Self { port, shared, stop, refusing: closed_port() }
    }

    /// Where the endpoint is.
    pub fn url(&self, endpoint: Endpoint) -> String {
        let (high, low) = (endpoint / 250, endpoint % 250 + 1);
        let refuses = self.shared.behaviour(endpoint) == Behaviour::Refuse;
        let refusing = self.refusing.local_addr().expect("a bound address").port();
        let port = if refuses { refusing } else { self.port };
        format!("http://127.1.{high}.{low}:{port}/{endpoint}")
    }

    /// Changes what an endpoint does, from its next request on.
    pub fn set(&self, endpoint: Endpoint, behaviour: Behaviour) {
        let mut behaviours = self.shared.behaviours.write().expect("no holder panics");
        behaviours[usize::from(endpoint)] = behaviour;
    }

    /// How many requests were received so far.
    pub fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Only counts from now on; for loads whose bytes other scenarios check.
    pub fn be_quick(&self) {
        self.shared.thorough.store(false, Ordering::Relaxed);
    }

    /// Takes the requests received so far, in the order of their times.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().expect("no holder panics"))
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    fn behaviour(&self, endpoint: Endpoint) -> Behaviour {
        let behaviours = self.behaviours.read().expect("no holder panics");
        behaviours.get(usize::from(endpoint)).copied().unwrap_or(Behaviour::Status(404))
    }

    fn record(&self, request: Request) {
        self.requests.lock().expect("no holder panics").push(request);
        self.seen.fetch_add(1, Ordering::Relaxed);
    }
}

fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([0, 0, 0, 0], 0))).expect("a free port");
    socket.listen(BACKLOG).expect("a listening socket")
}

/// A port that nobody else gets, and that refuses: the backlog of a listener that is shut down
/// would accept, so another address of it is dialled than the one it listens on.
fn closed_port() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.255.255.254:0").expect("a free port")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of descriptors, or a connection that has gone again: the next one may do.
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, shared.clone()))),
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}
