//! Receivers whose head is fine and whose body is not.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::den::{answers, answers_once, deed, drips, floods, request};
use super::row::{Row, row};

const TICK: Duration = Duration::from_millis(100);
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn chunked(rest: &str) -> Vec<u8> {
    [CHUNKED, rest.as_bytes()].concat()
}

pub fn rows() -> Vec<Row> {
    let mut rows = endless();
    rows.extend(chunks());
    rows.extend(ends());
    rows
}

fn endless() -> Vec<Row> {
    let slow = drips(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", &[b'.'; 1000], TICK);
    let failing = drips(b"HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\n", &[b'.'; 1000], TICK);
    let zeros = [b"1000\r\n".as_slice(), &[0; 0x1000], b"\r\n"].concat();
    // What zeros look like when they are deflated; nobody is to inflate them.
    let bomb =
        [&b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xec\xc1\x01\x0d\0\0\0\xc2\xa0"[..], &[0; 1024]].concat();
    let gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
    vec![
        row(35, "slow-body", slow, "success 200", "took too long"),
        row(35, "slow-body-of-a-failure", failing, "http_5xx 500", "took too long"),
        row(36, "endless-chunks", floods(CHUNKED, zeros), "success 200", ""),
        row(36, "endless-small-chunks", floods(CHUNKED, "8\r\n01234567\r\n"), "success 200", ""),
        row(36, "ten-gigabytes", floods(SIZED, "0123456789"), "success 200", ""),
        row(36, "without-an-end", floods(OPEN, "0123456789"), "success 200", ""),
        row(37, "gzip-bomb", floods(gzip, bomb), "success 200", ""),
    ]
}

fn chunks() -> Vec<Row> {
    let extension = format!("1;{}\r\na\r\n", "e".repeat(64));
    let endless_extension = deed(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(CHUNKED).await?;
        stream.write_all(b"1;").await?;
        super::den::flood(&mut stream, b"e").await
    });
    let trailers = deed(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(CHUNKED).await?;
        stream.write_all(b"2\r\nok\r\n0\r\n").await?;
        super::den::flood(&mut stream, b"x-a: b\r\n").await
    });
    let cut = "cut short";
    vec![
        row(38, "extension-flood", floods(CHUNKED, extension), "success 200", cut),
        row(38, "endless-extension", endless_extension, "success 200", cut),
        row(38, "trailer-flood", trailers, "success 200", cut),
        row(38, "trailers", answers(chunked("2\r\nok\r\n0\r\nx-a: b\r\n\r\n")), "success 200", ""),
        row(38, "bad-chunk-size", answers_once(chunked("nonsense\r\n")), "success 200", cut),
        row(
            38,
            "huge-chunk-size",
            answers_once(chunked("fffffffffffffffff\r\n")),
            "success 200",
            cut,
        ),
    ]
}

fn ends() -> Vec<Row> {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it";
    let failing = "HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\nhalf of it";
    let reset = deed(move |mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(half.as_bytes()).await?;
        stream.set_zero_linger()
    });
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n";
    let cut = "cut short";
    vec![
        row(39, "half-a-body", answers_once(half), "success 200", cut),
        row(39, "reset-in-the-body", reset, "success 200", cut),
        row(39, "half-a-body-of-a-failure", answers_once(failing), "http_5xx 503", cut),
        row(39, "chunks-without-end", answers_once(chunked("2\r\nok\r\n")), "success 200", cut),
        row(43, "two-replies", answers(twice), "success 200", ""),
        row(
            45,
            "204-with-a-body",
            answers("HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\nok"),
            "success 204",
            "",
        ),
        row(
            45,
            "304-with-a-body",
            answers("HTTP/1.1 304 No\r\ncontent-length: 2\r\n\r\nok"),
            "http_3xx 304",
            "304",
        ),
        row(45, "no-length", answers_once("HTTP/1.1 200 OK\r\n\r\nok"), "success 200", ""),
        row(45, "http-1.0", answers_once("HTTP/1.0 200 OK\r\n\r\nok"), "success 200", ""),
    ]
}
