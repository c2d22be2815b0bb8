//! Who gets an answer from the admin listener, and what slow and foreign clients come to.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outboxd::admin::{Admin, Bound};
use outboxd::config::Listen;
use outboxd::health::Health;
use outboxd::metrics::Metrics;
use outboxd::store::Store;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::harness::{self, Database, PATIENCE, Process, TestDaemon};

const OLD: &str = "old-admin-token-0123456789abcdef0123";
const NEW: &str = "new-admin-token-0123456789abcdef0123";
/// More connections than the listener keeps.
const CROWD: usize = 300;
/// A scrape that takes longer than this was held up: idle connections are closed after more.
const PROMPT: Duration = Duration::from_secs(5);

/// Everything that comes back for these bytes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    let talk = async {
        // Who is refused early may be gone before all of it is sent.
        stream.write_all(request.as_bytes()).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(PATIENCE, talk).await.expect("an end of the answer")
}

async fn raw(address: SocketAddr, request: &str) -> String {
    exchange(TcpStream::connect(address).await.expect("a connection"), request).await
}

fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The answer to a request with these further lines in its head.
async fn ask(address: SocketAddr, line: &str, head: &[&str]) -> String {
    let head: String = head.iter().map(|field| format!("{field}\r\n")).collect();
    raw(address, &format!("{line} HTTP/1.1\r\nConnection: close\r\n{head}\r\n")).await
}

async fn get_as(address: SocketAddr, path: &str, token: &str) -> u16 {
    let token = format!("Authorization: Bearer {token}");
    status(&ask(address, &format!("GET {path}"), &["Host: localhost", &token]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_metrics_and_health_answer() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    for (line, expected) in [
        ("GET /metrics", 200),
        ("HEAD /metrics", 200),
        ("GET /livez", 200),
        ("GET /readyz", 200),
        ("POST /metrics", 405),
        ("DELETE /readyz", 405),
        ("OPTIONS /livez", 405),
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("GET //metrics", 404),
        ("GET /metrics/../api/v1/endpoints", 404),
        ("GET /api/v1/endpoints", 404),
        ("POST /api/v1/endpoints", 404),
    ] {
        let token = format!("Authorization: Bearer {OLD}");
        for head in [&["Host: localhost"][..], &["Host: localhost", &token]] {
            let answer = ask(daemon.admin, line, head).await;
            assert_eq!(status(&answer), expected, "{line}: {answer}");
            for header in ["cache-control: no-store", "x-content-type-options: nosniff"] {
                assert!(answer.contains(header), "{line}: {answer}");
            }
        }
    }
    daemon.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_other_hosts_and_of_other_sites_are_refused() {
    let database = Database::new().await;
    let settings = [("admin.hosts", "Outboxd.example")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    let port = daemon.admin.port();
    let own = format!("Host: 127.0.0.1:{port}");
    let origin = format!("Origin: http://127.0.0.1:{port}");
    for (head, expected) in [
        (&[own.as_str()][..], 200),
        (&["Host: localhost:1"], 200),
        (&["Host: outboxd.EXAMPLE:80"], 200),
        (&["Host: evil.example"], 421),
        (&["Host: 127.0.0.1.evil.example"], 421),
        (&["Host: 127.0.0.2"], 421),
        (&["Host: localhost:1@evil.example"], 421),
        (&["Host: localhost evil.example"], 400),
        (&["Host:"], 400),
        (&[], 400),
        (&[&own, "Host: evil.example"], 400),
        (&[&own, &origin], 200),
        (&[&own, "Sec-Fetch-Site: same-origin"], 200),
        (&[&own, "Sec-Fetch-Site: none"], 200),
        (&[&own, "Sec-Fetch-Site: cross-site"], 403),
        (&[&own, "Sec-Fetch-Site: same-site"], 403),
        (&[&own, "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"], 403),
        (&[&own, "Origin: http://evil.example"], 403),
        (&[&own, "Origin: http://127.0.0.1:1"], 403),
        (&[&own, "Origin: null"], 403),
        (&[&own, &origin, "Origin: http://evil.example"], 403),
    ] {
        for path in ["/metrics", "/livez"] {
            let answer = ask(daemon.admin, &format!("GET {path}"), head).await;
            assert_eq!(status(&answer), expected, "{head:?}: {answer}");
        }
    }
    for (head, expected) in [("", 200), ("Host: localhost\r\n", 200), ("Host: evil\r\n", 421)] {
        let answer = raw(daemon.admin, &format!("GET /livez HTTP/1.0\r\n{head}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {expected}")), "{head}: {answer}");
    }
    // The form that proxies get names a host as well.
    let answer = ask(daemon.admin, "GET http://evil.example/metrics", &[&own]).await;
    assert_eq!(status(&answer), 421, "{answer}");
    daemon.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_need_one_of_the_tokens_which_a_reload_changes() {
    let database = Database::new().await;
    let both = format!("{OLD} {NEW}");
    let listen = ("admin.listen", "0.0.0.0:0");
    let daemon = TestDaemon::start_with(&database.url, &[listen, ("admin.token", &both)]).await;
    let admin = daemon.admin;
    let bearer = format!("Authorization: Bearer {OLD}");
    let query = format!("GET /metrics?token={OLD}&access_token={OLD}");
    for (line, further, expected) in [
        ("GET /livez", &[][..], 200),
        ("GET /metrics", &[], 401),
        ("GET /readyz", &[], 401),
        ("GET /nothing", &[], 401),
        (&query, &[], 401),
        ("GET /metrics", &[bearer.as_str()], 200),
        ("GET /nothing", &[&bearer], 404),
        ("GET /metrics", &[&bearer, &bearer], 401),
        ("GET /metrics", &["Authorization: Bearer"], 401),
        ("GET /metrics", &["Authorization: Bearer "], 401),
        ("GET /metrics", &[&bearer[..bearer.len() - 1]], 401),
        ("GET /metrics", &[&format!("{bearer}0")], 401),
        ("GET /metrics", &[&format!("Authorization: Basic {OLD}")], 401),
        ("GET /metrics", &[&format!("Authorization: bearer  {NEW}")], 200),
    ] {
        let head = [&["Host: localhost"], further].concat();
        let answer = ask(admin, line, &head).await;
        assert_eq!(status(&answer), expected, "{line} {further:?}: {answer}");
        let challenged = answer.contains("www-authenticate: Bearer");
        assert_eq!(challenged, expected == 401, "{line} {further:?}: {answer}");
        assert!(!answer.contains(OLD) && !answer.contains(NEW), "{answer}");
    }
    daemon.reconfigure(&database.url, &[listen, ("admin.token", NEW)]).await;
    let answers = [get_as(admin, "/metrics", OLD).await, get_as(admin, "/metrics", NEW).await];
    assert_eq!(answers, [401, 200]);
    daemon.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_tokens_are_cut_short_and_lock_nobody_out() {
    let database = Database::new().await;
    let daemon = TestDaemon::start_with(&database.url, &[("admin.token", OLD)]).await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(get_as(daemon.admin, "/api/v1/endpoints", NEW).await);
    }
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(get_as(daemon.admin, "/api/v1/endpoints", OLD).await, 404);
    daemon.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_is_read_again_on_sighup_and_told_to_nobody() {
    let database = Database::new().await;
    let place = Place::new();
    let file = place.0.join("tokens");
    std::fs::write(&file, OLD).expect("own directory");
    let shown = file.display().to_string();
    let settings = [("admin.token_file", shown.as_str())];
    let daemon = Process::start(&database.url, &settings);
    daemon.wait_until_ready().await;
    assert_eq!(get_as(daemon.admin, "/api/v1/endpoints", OLD).await, 404);
    std::fs::write(&file, format!("# next\n{NEW}\n")).expect("own directory");
    daemon.signal("HUP");
    let started = Instant::now();
    while get_as(daemon.admin, "/api/v1/endpoints", NEW).await != 404 {
        assert!(started.elapsed() < PATIENCE, "the new token is never accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let old = get_as(daemon.admin, "/api/v1/endpoints", OLD).await;
    assert!([401, 429].contains(&old), "{old}");
    let (_, metrics) = harness::get(daemon.admin, "/metrics").await;
    let mut show = harness::outboxd(&database.url, &settings);
    let show = show.args(["config", "show"]).output().expect("it runs");
    let said = [metrics.as_bytes(), &show.stdout, &show.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains(OLD) && !said.contains(NEW), "{said}");
    assert_eq!(daemon.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_slow_clients_keeps_no_scrape_out() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut stream = TcpStream::connect(daemon.admin).await.expect("a connection");
        // Some say nothing, some begin, some ask and do not listen.
        let begin: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            _ => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        stream.write_all(begin).await.ok();
        crowd.push(stream);
        if number % 50 == 49 {
            let asked = Instant::now();
            assert_eq!(daemon.get("/metrics").await.0, 200, "after {number}");
            assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        }
    }
    // The oldest had to give way at once, and the last ones go when their time is over.
    for stream in crowd {
        exchange(stream, "").await;
    }
    assert_eq!(daemon.get("/livez").await.0, 200);
    daemon.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded_in_head_and_body() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    let long = format!("X-Long: {}", "a".repeat(20_000));
    let many: Vec<String> = (0..100).map(|number| format!("X-{number}: a")).collect();
    let many: Vec<&str> =
        ["Host: localhost"].into_iter().chain(many.iter().map(|f| &**f)).collect();
    for (line, head, expected) in [
        ("GET /livez", &["Host: localhost", &long][..], 431),
        ("GET /livez", &many, 431),
        (&*format!("GET /livez?{}", "a".repeat(100_000)), &["Host: localhost"], 431),
        ("POST /livez", &["Host: localhost", "Content-Length: 1048577"], 413),
        ("POST /livez", &["Host: localhost", "Content-Length: 99999999999999999999"], 400),
        ("GET /livez", &["Host: localhost", "Content-Length: 5", "Content-Length: 6"], 400),
    ] {
        let answer = ask(daemon.admin, line, head).await;
        let shown = &line[..line.len().min(40)];
        assert_eq!(status(&answer), expected, "{shown}: {answer}");
    }
    assert_eq!(status(&raw(daemon.admin, "\0\x01\x02\r\n\r\n").await), 400);
    assert_eq!(daemon.get("/livez").await.0, 200);
    daemon.stop().await.expect("a clean end");
}

/// A directory of a test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("outboxd-admin-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn ask_socket(path: &Path, line: &str, host: &str) -> u16 {
    let stream = UnixStream::connect(path).await.expect("a connection");
    let request = format!("{line} HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n");
    status(&exchange(stream, &request).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_for_owner_and_group_and_asks_for_no_host() {
    let place = Place::new();
    let path = place.0.join("admin.sock");
    // What a killed daemon leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let bound = Bound::bind(&Listen::Unix(path.clone())).await.expect("a listener");
    let about = std::fs::symlink_metadata(&path).expect("a socket");
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o660);
    // There is no database at that address, and metrics need none.
    let config = Arc::new(harness::load("postgres://nobody@127.0.0.1:1/none", &[]));
    let (_changes, receiver) = watch::channel(config.clone());
    let admin = Admin {
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(Health::new()),
        store: Store::new(&config.database.url, 1).expect("a pool"),
        config: receiver,
    };
    let stop = CancellationToken::new();
    let served = tokio::spawn(bound.serve(admin, stop.clone()));
    for (line, host, expected) in [
        ("GET /metrics", "whatever.example", 200),
        ("GET /livez", "", 200),
        ("GET /readyz", "localhost", 503),
        ("GET /api/v1/endpoints", "localhost", 404),
    ] {
        assert_eq!(ask_socket(&path, line, host).await, expected, "{line}");
    }
    stop.cancel();
    served.await.expect("no panic");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_the_socket_is_not_removed() {
    let place = Place::new();
    let path = place.0.join("precious");
    std::fs::write(&path, "data").expect("own directory");
    let error = Bound::bind(&Listen::Unix(path.clone())).await.err().expect("a refusal");
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
}
