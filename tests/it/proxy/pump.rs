//! One connection through the proxy.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::trap::{Cut, Seen, Sprung};
use super::{Flow, Shared, Way, Weather};

/// Bytes read at once.
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction.
const UNDER_WAY: usize = 256;
/// Bytes written at once where the speed is limited, so that the limit is smooth.
const SLICE: usize = 1024;

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides see a reset.
    Reset,
    /// Who connected sees a reset; the other side reads what it was sent, and then an end.
    ResetClient,
}

/// What is on its way.
enum Late {
    Bytes(Vec<u8>),
    End(End),
}

/// Forwards until both ways have ended, or the connection is cut.
pub async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let mut resets = shared.resets.subscribe();
    let end = tokio::select! {
        end = forward(&mut client, &shared) => end,
        _ = resets.changed() => Some(End::Reset),
    };
    if end.is_some() {
        client.set_zero_linger().ok();
    }
}

async fn forward(client: &mut TcpStream, shared: &Shared) -> Option<End> {
    let mut weather = shared.weather.subscribe();
    // A partition lets nobody connect.
    drop(weather.wait_for(|now| !now.up.held && !now.down.held).await);
    let Ok(mut server) = TcpStream::connect(shared.target).await else { return Some(End::Reset) };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let cut = watch::Sender::new(None);
    let mut resets = shared.resets.subscribe();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = Pump::new(Way::Up, shared, &cut).run(from_client, to_server);
        let down = Pump::new(Way::Down, shared, &cut).run(from_server, to_client);
        tokio::select! {
            ended = async { tokio::try_join!(up, down) } => ended.err(),
            _ = resets.changed() => Some(End::Reset),
        }
    };
    match end {
        None => {}
        Some(End::Reset) => drop(server.set_zero_linger()),
        Some(End::ResetClient) => {
            client.set_zero_linger().ok();
            drop(tokio::spawn(drain(server)));
        }
    }
    end
}

/// Closes in order: bytes left unread would make the end a reset.
async fn drain(mut stream: TcpStream) {
    stream.shutdown().await.ok();
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

/// One way through.
struct Pump<'a> {
    way: Way,
    shared: &'a Shared,
    weather: watch::Receiver<Weather>,
    /// Set when a trap has sprung on this connection: what becomes of the answer.
    cut: &'a watch::Sender<Option<Cut>>,
}

impl<'a> Pump<'a> {
    fn new(way: Way, shared: &'a Shared, cut: &'a watch::Sender<Option<Cut>>) -> Self {
        Self { way, shared, weather: shared.weather.subscribe(), cut }
    }

    fn flow(&self) -> Flow {
        self.weather.borrow().flow(self.way).clone()
    }

    async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), End> {
        let (late, arriving) = mpsc::channel(UNDER_WAY);
        tokio::try_join!(self.read(from, late), self.write(to, arriving)).map(drop)
    }

    /// Reads, and says when what was read is there. It never ends the connection itself: what came
    /// before the end goes first.
    async fn read(
        &self,
        mut from: ReadHalf<'_>,
        late: mpsc::Sender<(Instant, Late)>,
    ) -> Result<(), End> {
        let mut piece = vec![0; PIECE];
        let mut seen = Seen::default();
        let mut count: u64 = 0;
        let mut swallowed = false;
        loop {
            let read = from.read(&mut piece).await;
            let flow = self.flow();
            swallowed |= flow.swallowed || self.answer_is(Cut::Silence);
            if swallowed {
                match read {
                    Ok(1..) => continue,
                    // The end is not heard of either.
                    Ok(0) | Err(_) => std::future::pending().await,
                }
            }
            let due = Instant::now() + flow.delay + flow.jitter.mul_f64(fastrand::f64());
            let read = match read {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(_) => {
                    late.send((due, Late::End(End::Reset))).await.ok();
                    std::future::pending().await
                }
            };
            let (passing, end) = self.judge(&piece[..read], &flow, count, &mut seen);
            count += passing as u64;
            late.send((due, Late::Bytes(piece[..passing].to_vec()))).await.ok();
            if let Some(end) = end {
                late.send((due, Late::End(end))).await.ok();
                std::future::pending().await
            }
        }
    }

    /// How much of a piece goes on, and whether the connection ends then.
    fn judge(
        &self,
        piece: &[u8],
        flow: &Flow,
        before: u64,
        seen: &mut Seen,
    ) -> (usize, Option<End>) {
        if self.answer_is(Cut::Answer) {
            return (0, Some(End::ResetClient));
        }
        if let Some(Sprung { at, cut }) = self.spring(piece, seen) {
            let end = match cut {
                Cut::Before => Some(End::Reset),
                Cut::After => Some(End::ResetClient),
                Cut::Answer | Cut::Silence => None,
            };
            return (if end.is_some() { at } else { piece.len() }, end);
        }
        let left = flow.cut_after.map(|limit| limit.saturating_sub(before));
        match left.and_then(|left| usize::try_from(left).ok()) {
            Some(left) if left <= piece.len() => (left, Some(End::Reset)),
            _ => (piece.len(), None),
        }
    }

    /// Whether this is the way of an answer that somebody waits for since a trap has sprung.
    fn answer_is(&self, cut: Cut) -> bool {
        self.way == Way::Down && *self.cut.borrow() == Some(cut)
    }

    fn spring(&self, piece: &[u8], seen: &mut Seen) -> Option<Sprung> {
        if self.way == Way::Down {
            return None;
        }
        let mut trap = self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let sprung = seen.look(piece, trap.as_ref()?)?;
        *trap = None;
        drop(trap);
        // Before the bytes go on: their answer must find it.
        self.cut.send_replace(Some(sprung.cut));
        self.shared.sprung.send_modify(|count| *count += 1);
        Some(sprung)
    }

    async fn write(
        &self,
        mut to: WriteHalf<'_>,
        mut arriving: mpsc::Receiver<(Instant, Late)>,
    ) -> Result<(), End> {
        let mut weather = self.weather.clone();
        loop {
            let next = tokio::select! {
                next = arriving.recv() => next,
                _ = weather.wait_for(|now| now.flow(self.way).ended) => None,
            };
            if let Some((due, _)) = next {
                sleep_until(due).await;
            }
            drop(weather.wait_for(|now| !now.flow(self.way).held).await);
            match next {
                Some((_, Late::Bytes(bytes))) => self.write_all(&mut to, &bytes).await?,
                Some((_, Late::End(end))) => return Err(end),
                None => {
                    to.shutdown().await.map_err(|_| End::Reset)?;
                    // What still comes goes nowhere.
                    while arriving.recv().await.is_some() {}
                    return Ok(());
                }
            }
        }
    }

    async fn write_all(&self, to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), End> {
        for slice in bytes.chunks(SLICE) {
            let limit = self.flow().bytes_per_second;
            if let Some(limit) = limit {
                sleep(Duration::from_secs_f64(slice.len() as f64 / limit as f64)).await;
            }
            to.write_all(slice).await.map_err(|_| End::Reset)?;
            self.shared.passed[self.way as usize].fetch_add(slice.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A connection that counts as open until this is dropped.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.open.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|count| *count -= 1);
    }
}
