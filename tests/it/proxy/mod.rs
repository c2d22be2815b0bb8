//! A TCP proxy that does to connections what networks do, switchable while they are open.
//!
//! It stands between a daemon and its database, or a daemon and a receiver. Delays are seen by the
//! receiving side only: bytes that were sent stay in order, and are late.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use trap::{Cut, Trap};

mod pump;
mod tests;
mod trap;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long a test waits for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connected to where the proxy connects.
    Up,
    /// Back.
    Down,
}

/// What happens to the bytes that go one way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// How late they arrive.
    pub delay: Duration,
    /// How much later at most, by chance.
    pub jitter: Duration,
    /// How fast they arrive at most.
    pub bytes_per_second: Option<u64>,
    /// They wait, as in a partition that heals: then they arrive.
    pub held: bool,
    /// They vanish, and the connection never comes back: as if the peer's machine had gone.
    pub swallowed: bool,
    /// Every connection is cut by a reset when so many have gone this way.
    pub cut_after: Option<u64>,
    /// The end of the stream is told, though the other way goes on.
    pub ended: bool,
}

/// What happens to connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather {
    /// From who connects.
    pub up: Flow,
    /// Back to there.
    pub down: Flow,
    /// Nobody listens: new connections are refused.
    pub refusing: bool,
}

impl Weather {
    /// The flow of one way.
    pub fn flow(&self, way: Way) -> &Flow {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

/// What the connections share with the test.
struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Counted up to reset all that is open.
    resets: watch::Sender<u64>,
    /// The next connection that meets the condition is cut.
    trap: Mutex<Option<Trap>>,
    /// How many traps have sprung.
    sprung: watch::Sender<u64>,
    accepted: AtomicU64,
    /// How many are open.
    open: watch::Sender<usize>,
    /// Bytes forwarded each way.
    passed: [AtomicU64; 2],
}

/// The proxy; all its connections end when it is dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Keeps the port while nobody listens there.
    _port: TcpSocket,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, and connects to the target for each connection.
    pub fn start(target: SocketAddr) -> Self {
        let port = socket();
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let addr = port.local_addr().expect("a bound socket's address");
        let shared = Arc::new(Shared {
            target,
            weather: watch::Sender::default(),
            resets: watch::Sender::default(),
            trap: Mutex::default(),
            sprung: watch::Sender::default(),
            accepted: AtomicU64::new(0),
            open: watch::Sender::default(),
            passed: Default::default(),
        });
        let mut tasks = JoinSet::new();
        // Before the task runs, somebody may connect.
        let listener = listen(addr);
        tasks.spawn(accept(addr, listener, shared.clone()));
        Self { addr, shared, _port: port, _tasks: tasks }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what happens to connections, those that are open too.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.shared.weather.send_modify(change);
    }

    /// As if nothing were between; what was swallowed or cut stays so.
    pub fn heal(&self) {
        self.change(|weather| *weather = Weather::default());
    }

    /// Resets every open connection, on both sides.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// Arms a trap for the first connection that meets its condition.
    pub fn set_trap(&self, trap: Trap) {
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    /// Waits until so many traps have sprung in all.
    pub async fn wait_sprung(&self, count: u64) {
        let mut sprung = self.shared.sprung.subscribe();
        let waited = tokio::time::timeout(PATIENCE, sprung.wait_for(|now| *now >= count)).await;
        assert!(waited.is_ok(), "the trap never sprang");
    }

    /// Waits until so many connections are open.
    pub async fn wait_open(&self, count: usize) {
        let mut open = self.shared.open.subscribe();
        let waited = tokio::time::timeout(PATIENCE, open.wait_for(|now| *now == count)).await;
        let now = *self.shared.open.borrow();
        assert!(waited.is_ok(), "{now} connections are open, never {count}");
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were forwarded one way so far.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.passed[way as usize].load(Ordering::Relaxed)
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // The port is bound twice, and by connections that linger.
    socket.set_reuseaddr(true).expect("a reusable address");
    socket
}

fn listen(addr: SocketAddr) -> TcpListener {
    let socket = socket();
    socket.bind(addr).expect("our own port");
    socket.listen(BACKLOG).expect("a listening socket")
}

/// Accepts until aborted, which aborts the connections too.
async fn accept(addr: SocketAddr, listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut weather = shared.weather.subscribe();
    let mut listener = Some(listener);
    loop {
        let refusing = weather.borrow_and_update().refusing;
        match (refusing, &listener) {
            (true, Some(_)) => listener = None,
            (false, None) => listener = Some(listen(addr)),
            _ => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                let (stream, _) = accepted.expect("a connection");
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(pump::serve(stream, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
            changed = weather.changed() => changed.expect("the sender is shared"),
        }
    }
}
