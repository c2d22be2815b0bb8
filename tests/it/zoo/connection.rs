//! Receivers that fail below HTTP, before they have said a word.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::den::{answers, answers_once, deed, request, stay};
use super::row::{Home, Row, row};

const UNKNOWN: &str = "may have been received";

/// A port that is taken, and listens to nobody.
fn closed() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    (socket.local_addr().expect("an address"), socket)
}

/// A listener that accepts nobody and whose queue is full: the kernel drops every further SYN, as a
/// firewall does.
async fn blackhole() -> (SocketAddr, Vec<TcpStream>, tokio::net::TcpListener) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let listener = socket.listen(0).expect("a listener");
    let addr = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    // What has no answer within this time has been dropped: the loopback needs microseconds.
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
        queued.push(stream.expect("a queued connection"));
    }
    (addr, queued, listener)
}

pub async fn rows() -> Vec<Row> {
    let (hole, queued, listener) = blackhole().await;
    let (nobody, taken) = closed();
    let refused = Row {
        home: Home::Address(nobody, Box::new(taken)),
        ..row(11, "closed-port", answers(""), "tcp -", "refused")
    };
    let dropped = Row {
        home: Home::Address(hole, Box::new((queued, listener))),
        ..row(12, "blackhole", answers(""), "timeout_connect -", "no connection within")
    };
    let silent = deed(|mut stream| async move { stay(&mut stream).await });
    let never_reads = deed(|mut stream| async move {
        // Longer than the client has time; the end of what it sent shows that it has left.
        sleep(super::SHORT * 2).await;
        stay(&mut stream).await
    });
    let resets_unread = deed(|stream| async move {
        stream.peek(&mut [0]).await?;
        stream.set_zero_linger()
    });
    let closes_at_once = deed(|mut stream| async move {
        stream.shutdown().await?;
        stay(&mut stream).await
    });
    let resets_after_the_request = deed(|mut stream| async move {
        request(&mut stream).await?;
        stream.set_zero_linger()
    });
    let resets_in_the_head = deed(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
        stream.set_zero_linger()
    });
    let resets_halfway = deed(|mut stream| async move {
        stream.read_exact(&mut [0; 1024]).await?;
        stream.set_zero_linger()
    });
    let stops_in_the_head = answers_once("HTTP/1.1 200 OK\r\ncontent-le");
    vec![
        refused,
        dropped,
        row(13, "silence", silent.clone(), "timeout_response -", "no complete reply"),
        row(13, "silence-to-a-large-body", silent, "timeout_response -", "no complete reply")
            .large(),
        row(13, "never-reads", never_reads, "timeout_response -", "no complete reply").large(),
        row(14, "reset-unread", resets_unread, "tcp -", "reset").with_a_free_repetition(),
        row(14, "closed-at-once", closes_at_once, "tcp -", "closed").with_a_free_repetition(),
        row(15, "reset-after-the-request", resets_after_the_request, "tcp -", UNKNOWN)
            .with_a_free_repetition(),
        row(15, "closed-after-the-request", answers_once(""), "tcp -", UNKNOWN)
            .with_a_free_repetition(),
        row(15, "reset-in-the-request", resets_halfway, "tcp -", UNKNOWN)
            .large()
            .with_a_free_repetition(),
        row(15, "reset-in-the-head", resets_in_the_head, "tcp -", UNKNOWN).with_a_free_repetition(),
        row(15, "closed-in-the-head", stops_in_the_head, "tcp -", UNKNOWN).with_a_free_repetition(),
    ]
}
