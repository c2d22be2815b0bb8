//! One connection of a receiver: HTTP/1.1 with keep-alive, as much of it as outboxd sends.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep};

use super::Shared;
use super::behaviour::Answer;
use crate::clock;
use crate::harness;
use crate::history::{self, Request};

/// More than any head.
const MOST_HEAD: usize = 64 * 1024;
/// What stands before the payload in the body of the profile `standard`.
const DATA: &[u8] = b"\"data\":";
/// Between two bytes of a head that never ends.
const DRIP: Duration = Duration::from_millis(500);

/// Serves a connection to its end; a failure only ends it.
pub(super) async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    while let Ok(Some(end)) = head(&mut stream, &mut buffer).await {
        let Some(head) = Head::parse(&buffer[..end]) else { return };
        let whole = end + head.length;
        while buffer.len() < whole {
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
        let (pause, answer) = note(&head, &buffer[end..whole], &shared);
        buffer.drain(..whole);
        if pause > Duration::ZERO {
            sleep(pause).await;
        }
        if give(&mut stream, answer).await.is_err() {
            return;
        }
    }
}

/// Reads until a head is complete and returns its length; `None` when the sender is done.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut looked = 0;
    loop {
        let from = usize::saturating_sub(looked, 3);
        if let Some(at) = find(&buffer[from..], b"\r\n\r\n") {
            return Ok(Some(from + at + 4));
        }
        looked = buffer.len();
        if looked > MOST_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// What counts of a head.
#[derive(Default)]
struct Head {
    endpoint: u16,
    length: usize,
    id: String,
    timestamp: String,
    signature: String,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split("\r\n");
        let path = lines.next()?.split(' ').nth(1)?;
        let mut head = Self { endpoint: path.strip_prefix('/')?.parse().ok()?, ..Self::default() };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok()?,
                "webhook-id" => value.clone_into(&mut head.id),
                "webhook-timestamp" => value.clone_into(&mut head.timestamp),
                "webhook-signature" => value.clone_into(&mut head.signature),
                _ => {}
            }
        }
        Some(head)
    }

    /// By the secret that all endpoints of a run share.
    fn verifies(&self, body: &[u8]) -> bool {
        let secret = harness::SECRET.trim_start_matches("whsec_");
        let key = STANDARD.decode(secret).expect("a secret in base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
        for part in [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.signature.split(' ').any(|one| one == expected)
    }
}

/// Puts the request into the history, and says what it gets.
fn note(head: &Head, body: &[u8], shared: &Shared) -> (Duration, Answer) {
    let at = clock::now();
    let behaviour = shared.behaviour(head.endpoint);
    let (pause, answer) = behaviour.answer(at, fastrand::u32(..1000));
    let mut request = Request {
        event: history::event_of(&head.id),
        endpoint: head.endpoint,
        payload: 0,
        body: 0,
        signed: true,
        accepted: matches!(answer, Answer::Status(200..=299) | Answer::Endless),
        at,
    };
    if shared.thorough.load(Ordering::Relaxed) {
        let start = find(body, DATA).map_or(0, |at| at + DATA.len());
        request.payload = history::digest(body.get(start..body.len() - 1).unwrap_or_default());
        request.body = history::digest(body);
        request.signed = head.verifies(body);
    }
    shared.record(request);
    (pause, answer)
}

/// An error ends the connection.
async fn give(stream: &mut TcpStream, answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Status(200) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
        }
        Answer::Status(status) => {
            let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Answer::Busy(wait) => {
            let wait = wait.map(|wait| format!("retry-after: {wait}\r\n")).unwrap_or_default();
            let head = format!("HTTP/1.1 429 Later\r\n{wait}content-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Answer::Hang => {
            // Until the sender gives up.
            while stream.read(&mut [0; 64]).await? > 0 {}
            Err(ErrorKind::ConnectionAborted.into())
        }
        Answer::Reset => {
            stream.set_zero_linger()?;
            Err(ErrorKind::ConnectionReset.into())
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"10\r\n................\r\n").await?;
            }
        }
        Answer::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            let mut tick = interval(DRIP);
            loop {
                tick.tick().await;
                stream.write_all(b"x").await?;
            }
        }
    }
}
