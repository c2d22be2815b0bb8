//! The receiver's side, in a process of its own on one thread: it answers 200 to everything, as
//! cheaply as can be, and remembers what arrived when.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

use super::request::{Head, head};
use super::{Arrival, Command, Done};
use crate::bench::tls;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Ports that are tried until one is free on every address.
const TRIES: usize = 20;

/// What arrived, in the order of arrival.
#[derive(Default)]
struct Log {
    arrivals: RefCell<Vec<Arrival>>,
    /// How many are waited for.
    wanted: RefCell<usize>,
    enough: Notify,
}

impl Log {
    fn note(&self, head: Head) {
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.push(Arrival { event: head.event, endpoint: head.endpoint, at: now() });
        if arrivals.len() == *self.wanted.borrow() {
            self.enough.notify_one();
        }
    }

    fn count(&self) -> usize {
        self.arrivals.borrow().len()
    }

    /// Until so many have arrived, or none has for a while.
    async fn wait(&self, wanted: usize, quiet: Duration) -> Done {
        *self.wanted.borrow_mut() = wanted;
        let mut looks = interval(quiet);
        looks.tick().await;
        let mut before = self.count();
        loop {
            if self.count() >= wanted {
                return Done::All;
            }
            tokio::select! {
                () = self.enough.notified() => {}
                _ = looks.tick() => {
                    let count = self.count();
                    if count == before {
                        return Done::Quiet;
                    }
                    before = count;
                }
            }
        }
    }
}

/// Runs the receiver until nobody is left to command it.
///
/// # Errors
/// Of the sockets, and of standard input and output.
pub fn main(hosts: u8, with_tls: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(hosts, with_tls))
}

async fn serve(hosts: u8, with_tls: bool) -> io::Result<()> {
    let log = Rc::new(Log::default());
    let listeners = listeners(hosts).await?;
    let port = listeners[0].local_addr()?.port();
    let acceptor = with_tls.then(tls::acceptor).transpose()?;
    for listener in listeners {
        let (log, acceptor) = (log.clone(), acceptor.clone());
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                spawn_local(connection(stream, acceptor.clone(), log.clone()));
            }
        });
    }
    answer(port.to_string().as_bytes())?;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        match serde_json::from_str(&line)? {
            Command::Wait { wanted, quiet_ms } => {
                let done = log.wait(wanted, Duration::from_millis(quiet_ms)).await;
                answer(serde_json::to_string(&done)?.as_bytes())?;
            }
            Command::Take => {
                let arrivals = std::mem::take(&mut *log.arrivals.borrow_mut());
                let bytes: Vec<u8> = arrivals.iter().flat_map(|one| one.to_bytes()).collect();
                answer(arrivals.len().to_string().as_bytes())?;
                io::stdout().write_all(&bytes)?;
                io::stdout().flush()?;
            }
        }
    }
    Ok(())
}

/// The lines of standard input, which only a thread of its own can wait for.
fn lines() -> mpsc::Receiver<String> {
    let (lines, received) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut read = io::stdin().lines().map_while(Result::ok);
        read.try_for_each(|line| lines.blocking_send(line))
    });
    received
}

fn answer(line: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// One listener on each address from 127.0.0.1 on, all at the same port.
async fn listeners(hosts: u8) -> io::Result<Vec<TcpListener>> {
    let mut failure = io::Error::other("no address to listen on");
    for _ in 0..TRIES {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = first.local_addr()?.port();
        let mut bound = vec![first];
        for host in 2..=hosts {
            match TcpListener::bind(SocketAddr::from(([127, 0, 0, host], port))).await {
                Ok(listener) => bound.push(listener),
                Err(error) => failure = error,
            }
        }
        if bound.len() == usize::from(hosts.max(1)) {
            return Ok(bound);
        }
    }
    Err(failure)
}

/// Whoever breaks the rules is cut off, and counted as lost.
async fn connection(stream: TcpStream, acceptor: Option<tls::Acceptor>, log: Rc<Log>) {
    let outcome = match acceptor {
        None => talk(stream, &log).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => talk(stream, &log).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = outcome
        && error.kind() == io::ErrorKind::InvalidData
    {
        eprintln!("outboxd bench, receiver: {error}");
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: &Log) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK);
    let (mut seen, mut skip) = (0, 0);
    let mut current: Option<Head> = None;
    let mut replies = Vec::new();
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        // Several requests may have come at once.
        let mut start = 0;
        loop {
            let rest = &buffer[start..];
            if let Some(request) = current {
                let part = skip.min(rest.len());
                (start, skip) = (start + part, skip - part);
                if skip > 0 {
                    break;
                }
                log.note(request);
                replies.extend_from_slice(REPLY);
                current = None;
            } else {
                let found = head(rest, seen);
                let found = found.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
                let Some(request) = found else {
                    seen = rest.len();
                    break;
                };
                (start, skip, seen) = (start + request.length, request.body, 0);
                current = Some(request);
            }
        }
        buffer.drain(..start);
        if !replies.is_empty() {
            stream.write_all(&replies).await?;
            stream.flush().await?;
            replies.clear();
        }
    }
}

/// Microseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
