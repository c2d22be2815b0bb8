//! Where a hostile receiver lives: a port, what it does with every connection, and who is inside.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::PATIENCE;

/// What is done with a connection. A failure only ends it.
pub type Deed = Arc<dyn Fn(TcpStream) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// A deed from an async function.
pub fn deed<F>(act: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Deed
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    Arc::new(move |stream| act(stream).boxed())
}

/// A port with a deed; it closes when dropped.
pub struct Den {
    pub addr: SocketAddr,
    /// Connections that are open.
    visits: watch::Receiver<usize>,
    total: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Den {
    pub async fn open(deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (counter, visits) = watch::channel(0);
        let total: Arc<AtomicUsize> = Arc::default();
        let accepted = total.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                accepted.fetch_add(1, Ordering::Relaxed);
                counter.send_modify(|open| *open += 1);
                let (act, counter) = (deed(stream), counter.clone());
                connections.spawn(async move {
                    act.await.ok();
                    counter.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { addr, visits, total, _tasks: tasks }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Waits until nobody is inside: the client has let go of every socket.
    pub async fn wait_until_empty(&self, name: &str) {
        let mut visits = self.visits.clone();
        let left = timeout(PATIENCE, visits.wait_for(|open| *open == 0)).await;
        assert!(left.is_ok(), "{name}: the client holds on to its connection");
    }
}

/// Reads one request, head and body, and returns its bytes.
pub async fn request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut seen = Vec::new();
    let head = loop {
        if let Some(at) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
    while seen.len() < head + length {
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(seen)
}

/// Stays until the client leaves, and reads what it still sends.
pub async fn stay(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Writes some bytes an interval until they are over or the client has left.
pub async fn drip(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &[u8],
    interval: Duration,
) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        sleep(interval).await;
    }
    Ok(())
}

/// Writes a piece again and again, some ten megabytes a second, until the client has left.
pub async fn flood(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    let block = piece.repeat((16 * 1024_usize).div_ceil(piece.len()));
    loop {
        stream.write_all(&block).await?;
        // All of the zoo shares the processors with its clients.
        sleep(Duration::from_millis(1)).await;
    }
}

/// Reads each request and answers it with these bytes, on one connection for as long as it lasts.
pub fn answers(bytes: impl Into<Vec<u8>>) -> Deed {
    let bytes: Arc<[u8]> = bytes.into().into();
    deed(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            loop {
                request(&mut stream).await?;
                stream.write_all(&bytes).await?;
            }
        }
    })
}

/// Reads a request, answers with these bytes and ends the connection.
pub fn answers_once(bytes: impl Into<Vec<u8>>) -> Deed {
    let bytes: Arc<[u8]> = bytes.into().into();
    deed(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            request(&mut stream).await?;
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            stay(&mut stream).await
        }
    })
}

/// Reads a request, writes this first, and then this piece without an end.
pub fn floods(first: &'static [u8], piece: impl Into<Vec<u8>>) -> Deed {
    let piece: Arc<[u8]> = piece.into().into();
    deed(move |mut stream| {
        let piece = piece.clone();
        async move {
            request(&mut stream).await?;
            stream.write_all(first).await?;
            flood(&mut stream, &piece).await
        }
    })
}

/// Reads a request, writes this first, and then these bytes one an interval.
pub fn drips(first: &'static [u8], bytes: &'static [u8], interval: Duration) -> Deed {
    deed(move |mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(first).await?;
        drip(&mut stream, bytes, interval).await
    })
}
