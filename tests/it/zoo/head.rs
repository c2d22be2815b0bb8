//! Receivers whose reply has a head that is slow, endless or no HTTP.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::den::{Deed, answers, answers_once, deed, drips, floods, request, stay};
use super::row::{Row, row};

const TICK: Duration = Duration::from_millis(100);
const SLOW: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A 200 with so many header fields.
fn fields(count: usize) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_vec();
    for n in 1..count {
        head.extend_from_slice(format!("x-{n}: v\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Answers before the body has come, after the first kilobyte, and either stays or leaves.
fn early(answer: &'static str, leaves: bool) -> Deed {
    deed(move |mut stream| async move {
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut [0; 1024]).await?;
        stream.write_all(answer.as_bytes()).await?;
        if leaves {
            // With bytes unread, the kernel resets the connection.
            return Ok(());
        }
        stream.shutdown().await?;
        stay(&mut stream).await
    })
}

pub fn rows() -> Vec<Row> {
    let mut rows = slow_and_endless();
    rows.extend(interim());
    rows.extend(malformed());
    rows.extend(lengths());
    rows.extend(early_answers());
    rows
}

fn slow_and_endless() -> Vec<Row> {
    let crawl_inside = drips(b"HTTP/1.1 200 OK\r\nx-a: ", &[b'a'; 1000], TICK);
    vec![
        row(27, "slow-status", drips(b"", SLOW, TICK), "timeout_response -", "no complete reply"),
        row(27, "slow-header", crawl_inside, "timeout_response -", "no complete reply"),
        row(28, "endless-header", floods(b"HTTP/1.1 200 OK\r\nx-a: ", "a"), "protocol -", "large"),
        row(
            28,
            "endless-headers",
            floods(b"HTTP/1.1 200 OK\r\n", "x-a: b\r\n"),
            "protocol -",
            "large",
        ),
        row(28, "endless-reason", floods(b"HTTP/1.1 200 ", "a"), "protocol -", "large"),
        row(28, "endless-line-ends", floods(b"", "\r\n"), "protocol -", "large"),
        row(28, "10000-headers", answers(fields(10_000)), "protocol -", "large"),
        row(28, "65-headers", answers(fields(65)), "protocol -", "large"),
        row(28, "64-headers", answers(fields(64)), "success 200", ""),
    ]
}

fn interim() -> Vec<Row> {
    let some = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let slow = deed(|mut stream| async move {
        request(&mut stream).await?;
        loop {
            stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await?;
            tokio::time::sleep(TICK).await;
        }
    });
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                    connection: upgrade\r\n\r\n\x01\x02\x03";
    vec![
        row(
            29,
            "interim-flood",
            floods(b"", "HTTP/1.1 103 Early Hints\r\n\r\n"),
            "timeout_response -",
            "no complete reply",
        ),
        row(29, "interim-trickle", slow, "timeout_response -", "no complete reply"),
        row(29, "interim-then-final", answers(some), "success 200", ""),
        row(30, "switching-protocols", answers_once(switched), "protocol 101", "answered 101"),
    ]
}

fn malformed() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, answer) in [
        ("status-099", "HTTP/1.1 099 Odd\r\n\r\n"),
        ("status-000", "HTTP/1.1 000 Odd\r\n\r\n"),
        ("status-20", "HTTP/1.1 20 OK\r\n\r\n"),
        ("status-2000", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("status-negative", "HTTP/1.1 -200 OK\r\n\r\n"),
        ("http-0.9", "<html>fine</html>"),
        ("http-2.0", "HTTP/2.0 200 OK\r\n\r\n"),
        ("http-1.7", "HTTP/1.7 200 OK\r\n\r\n"),
        ("lower-case", "http/1.1 200 OK\r\n\r\n"),
        ("folded-header", "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 0\r\n\r\n"),
        ("header-without-colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        ("space-before-colon", "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n"),
        ("nul-in-name", "HTTP/1.1 200 OK\r\nx\0a: b\r\n\r\n"),
        ("nul-in-value", "HTTP/1.1 200 OK\r\nx-a: b\0c\r\n\r\n"),
        ("smtp", "220 mail.example ESMTP\r\n"),
        ("ssh", "SSH-2.0-OpenSSH_9.2\r\n"),
        ("redis", "-ERR unknown command 'POST'\r\n"),
        ("random", "\u{1f4a9}\u{0}\u{1}\u{2}"),
    ] {
        let number = if ["smtp", "ssh", "redis"].contains(&name) { 18 } else { 31 };
        rows.push(row(number, name, answers_once(answer), "protocol -", "invalid"));
    }
    let odd = "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n";
    rows.push(row(31, "status-999", answers(odd), "protocol 999", "answered 999"));
    // Allowed by RFC 9112, and harmless.
    let bare = "HTTP/1.1 200 OK\ncontent-length: 0\n\n";
    rows.push(row(31, "bare-line-feeds", answers(bare), "success 200", ""));
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, lines, expected, error) in [
        ("two-lengths", "content-length: 2\r\ncontent-length: 3", "protocol -", "content-length"),
        ("negative-length", "content-length: -1", "protocol -", "content-length"),
        ("signed-length", "content-length: +2", "protocol -", "content-length"),
        ("length-2-64", "content-length: 18446744073709551616", "protocol -", "content-length"),
        ("length-list", "content-length: 2, 3", "protocol -", "content-length"),
        ("length-2-63", "content-length: 9223372036854775808", "success 200", "cut short"),
        // Smuggling needs somebody in between; the status decides, the connection ends.
        (
            "length-and-chunked",
            "content-length: 2\r\ntransfer-encoding: chunked",
            "success 200",
            "cut short",
        ),
        ("chunked-not-last", "transfer-encoding: chunked, gzip", "success 200", ""),
        ("unknown-coding", "transfer-encoding: cow", "success 200", ""),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nok");
        rows.push(row(32, name, answers_once(answer), expected, error));
    }
    rows
}

fn early_answers() -> Vec<Row> {
    const NO: &str = "HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno";
    const LARGE: &str = "HTTP/1.1 413 Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
    vec![
        row(33, "early-401", early(NO, false), "http_4xx 401", "answered 401").large(),
        row(33, "early-413", early(LARGE, false), "http_4xx 413", "answered 413").large(),
        row(33, "early-413-and-gone", early(LARGE, true), "http_4xx 413", "answered 413").large(),
    ]
}
