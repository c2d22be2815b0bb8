//! Receivers that send without an end: what they cost a daemon in memory and in sockets.

use std::fs;
use std::time::Duration;

use super::den::{Deed, Den, floods};
use crate::harness::{Database, Process};

/// Requests at once to each of them.
const AT_ONCE: usize = 4;
/// How much memory they may take for each request, on average: a head has up to 408 KiB, a body 16.
const PER_REQUEST: u64 = 512 * 1024;

/// A number of kilobytes of `/proc/PID/status`, in bytes.
fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of its");
    let kilobytes = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().expect("a number") * 1024
}

fn sockets(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process");
    let is_socket = |file: &fs::DirEntry| {
        fs::read_link(file.path()).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    files.flatten().filter(is_socket).count()
}

fn endless() -> Vec<(&'static str, Deed)> {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let large_hints = format!("HTTP/1.1 103 Early\r\nx-a: {}\r\n\r\n", "a".repeat(300 * 1024));
    vec![
        ("header", floods(b"HTTP/1.1 200 OK\r\nx-a: ", "a")),
        ("headers", floods(b"HTTP/1.1 200 OK\r\n", "x-a: b\r\n")),
        ("interim", floods(b"", hints)),
        ("large-interim", floods(b"", large_hints)),
        ("chunks", floods(CHUNKED, "400\r\n".to_owned() + &"z".repeat(0x400) + "\r\n")),
        ("extension", floods(CHUNKED, "1;e")),
        ("ten-gigabytes", floods(SIZED, "0123456789")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_without_an_end_cost_bounded_memory_and_no_socket() {
    let database = Database::new().await;
    let mut dens = Vec::new();
    for (name, deed) in endless() {
        let den = Den::open(deed).await;
        database.subscribe_to(name, &format!("http://{}/", den.addr), "{flood}").await;
        dens.push((name, den));
    }
    // The others end by their limits, however busy the machine is.
    let deadline = "UPDATE outbox.endpoints SET timeout = '3 s' WHERE name LIKE '%interim'";
    database.execute(deadline).await;
    let warm = Den::open(super::den::answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    database.subscribe_to("warm", &format!("http://{}/", warm.addr), "{warm}").await;
    let settings = [("delivery.retry", "none"), ("delivery.timeout", "30s")];
    let daemon = Process::start(&database.url, &settings);
    daemon.wait_until_ready().await;
    // What any work costs is not theirs.
    database.insert_many("warm", 500).await;
    database.wait_until_idle().await;
    warm.wait_until_empty("warm").await;
    let (before, open) = (status(daemon.id(), "VmRSS"), sockets(daemon.id()));

    database.insert_many("flood", AT_ONCE).await;
    database.wait_until_idle().await;
    for (name, den) in &dens {
        den.wait_until_empty(name).await;
        assert!(den.connections() >= AT_ONCE, "{name}: {}", den.connections());
    }
    let peak = status(daemon.id(), "VmHWM").saturating_sub(before);
    let requests = u64::try_from(dens.len() * AT_ONCE).expect("a small number");
    eprintln!("{requests} endless replies at once took {} KiB at most", peak / 1024);
    assert!(peak < requests * PER_REQUEST, "{} KiB for {requests} requests", peak / 1024);
    let outcomes = "SELECT string_agg(DISTINCT d.endpoint_name || ' ' || a.outcome, ', ') \
                    FROM outbox.attempts a JOIN outbox.deliveries d USING (event_id, endpoint_id) \
                    WHERE d.event_type = 'flood'";
    let expected = "chunks success, extension success, header protocol, headers protocol, interim \
                    timeout_response, large-interim timeout_response, ten-gigabytes success";
    assert_eq!(database.text(outcomes).await, expected);
    // The connections to the database and to those who ask for metrics come and go by a few.
    let left = tokio::time::timeout(Duration::from_secs(30), async {
        while sockets(daemon.id()) > open + 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(left.await.is_ok(), "{} sockets, {open} before", sockets(daemon.id()));
    daemon.terminate().await;
}
