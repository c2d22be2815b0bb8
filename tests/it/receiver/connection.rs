//! One connection: reads requests and does as the script says, until either side ends it.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::reply::{Action, Answer, Body, Drip, Pace, Reply};
use super::{InFlight, Request, Shared};

/// How much is read at once, and so the size that is more than any head.
const READ: usize = 64 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// A piece of a body without an end, in the chunked encoding.
const ENDLESS_CHUNK: &[u8] = b"10\r\n................\r\n";

struct Connection {
    stream: TcpStream,
    number: u64,
    shared: Arc<Shared>,
    /// What was read and belongs to no request yet.
    buffer: BytesMut,
}

/// A request whose body is still to come.
struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body_len: usize,
}

/// Serves a connection to its end. A failure only ends it: the client sees and reports it.
pub(super) async fn serve(stream: TcpStream, number: u64, shared: Arc<Shared>) {
    let mut connection = Connection { stream, number, shared, buffer: BytesMut::new() };
    if let Err(error) = connection.serve().await
        && error.kind() == ErrorKind::InvalidData
    {
        // Whoever sent it keeps the answer, so the test finds there what was wrong.
        let answer = format!("HTTP/1.1 400 \r\nconnection: close\r\n\r\n{error}");
        let _ = connection.stream.write_all(answer.as_bytes()).await;
    }
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some(head) = self.read_head().await? {
            let reply = self.shared.next_reply(&head.path);
            if matches!(reply.action, Action::ResetBeforeReading) {
                return self.stream.set_zero_linger();
            }
            let request = self.read_body(head).await?;
            let client_ends = request.header("connection") == Some("close");
            let ends = reply.ends || client_ends;
            let in_flight = self.shared.record(request);
            self.perform(reply, in_flight).await?;
            if ends {
                break;
            }
        }
        Ok(())
    }

    async fn perform(&mut self, reply: Reply, in_flight: InFlight) -> io::Result<()> {
        if let Some(delay) = reply.delay {
            self.while_connected(sleep(delay)).await?;
        }
        if let Some(gate) = reply.gate {
            self.while_connected(gate.pass()).await?;
        }
        match reply.action {
            Action::Answer(answer) => self.answer(answer, in_flight).await,
            Action::Raw(bytes) => self.finish(&bytes, in_flight).await,
            Action::Hang => self.while_connected(std::future::pending()).await,
            Action::Reset | Action::ResetBeforeReading => {
                self.stream.set_zero_linger()?;
                // The reset is sent when the socket is dropped.
                Err(ErrorKind::ConnectionReset.into())
            }
        }
    }

    async fn answer(&mut self, answer: Answer, in_flight: InFlight) -> io::Result<()> {
        let head = answer.head();
        let Body::Sized(body) = answer.body else {
            self.stream.write_all(head.as_bytes()).await?;
            loop {
                self.stream.write_all(ENDLESS_CHUNK).await?;
            }
        };
        let whole = [head.as_bytes(), &body].concat();
        match answer.pace {
            Pace::AtOnce => self.finish(&whole, in_flight).await,
            Pace::Drip(drip) => self.drip(&whole, drip, in_flight).await,
            Pace::DripBody(drip) => {
                self.stream.write_all(head.as_bytes()).await?;
                self.drip(&body, drip, in_flight).await
            }
        }
    }

    async fn drip(&mut self, bytes: &[u8], drip: Drip, in_flight: InFlight) -> io::Result<()> {
        let last = bytes.len().saturating_sub(drip.bytes);
        for drop in bytes[..last].chunks(drip.bytes) {
            self.stream.write_all(drop).await?;
            self.while_connected(sleep(drip.interval)).await?;
        }
        self.finish(&bytes[last..], in_flight).await
    }

    /// Writes the end of an answer. The request stops counting first: the client may send the
    /// next one before we run again.
    async fn finish(&mut self, bytes: &[u8], in_flight: InFlight) -> io::Result<()> {
        drop(in_flight);
        self.stream.write_all(bytes).await
    }

    /// Waits, but not for a client that has left.
    async fn while_connected(&self, wait: impl Future<Output = ()>) -> io::Result<()> {
        tokio::select! {
            biased;
            () = wait => Ok(()),
            error = self.departure() => Err(error),
        }
    }

    /// Ends when the client has closed or reset the connection.
    async fn departure(&self) -> io::Error {
        match self.stream.peek(&mut [0]).await {
            Ok(0) => ErrorKind::ConnectionAborted.into(),
            // A next request is already there. What follows it cannot be seen from here.
            Ok(_) => std::future::pending().await,
            Err(error) => error,
        }
    }

    /// The next head, unless the client is done.
    async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let mut windows = self.buffer.windows(HEAD_END.len());
            if let Some(end) = windows.position(|bytes| bytes == HEAD_END) {
                let head = self.buffer.split_to(end + HEAD_END.len());
                return parse_head(&head[..end]).map(Some);
            }
            if self.buffer.len() > READ {
                return Err(invalid("the head is too long"));
            }
            if self.read_more().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn read_body(&mut self, head: Head) -> io::Result<Request> {
        while self.buffer.len() < head.body_len {
            if self.read_more().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        // A copy of the right size, so that the buffer is used again.
        let body = Bytes::copy_from_slice(&self.buffer.split_to(head.body_len));
        Ok(Request {
            at: Instant::now(),
            connection: self.number,
            method: head.method,
            path: head.path,
            headers: head.headers,
            body,
        })
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn parse_head(head: &[u8]) -> io::Result<Head> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let request_line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, "HTTP/1.1"] = request_line[..] else {
        return Err(invalid("the request line is not one of HTTP/1.1"));
    };
    let mut headers = Vec::new();
    let mut body_len = 0;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header has no colon"))?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "content-length" => {
                body_len = value.parse().map_err(|_| invalid("the length is no number"))?;
            }
            "transfer-encoding" => return Err(invalid("the body has no stated length")),
            _ => {}
        }
        headers.push((name, value));
    }
    Ok(Head { method: method.to_owned(), path: path.to_owned(), headers, body_len })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("receiver: {what}"))
}
