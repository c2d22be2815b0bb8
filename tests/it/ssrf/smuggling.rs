//! Headers and ports: what a request may carry, and to whom it may speak.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::tripwire::Tripwire;
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;

/// Headers that no endpoint may add, with what is said of them.
const HEADERS: &[(&str, &str, &str)] = &[
    ("Host", "x", "steers"),
    ("HOST", "x", "steers"),
    ("Content-Length", "0", "steers"),
    ("content_length", "0", "steers"),
    ("Transfer-Encoding", "chunked", "steers"),
    ("Connection", "upgrade", "steers"),
    ("Keep-Alive", "x", "steers"),
    ("Upgrade", "h2c", "steers"),
    ("TE", "trailers", "steers"),
    ("Trailer", "x", "steers"),
    ("Expect", "100-continue", "steers"),
    ("Proxy-Authorization", "Basic x", "steers"),
    ("Proxy-Connection", "x", "steers"),
    ("Webhook-Id", "x", "webhook-*"),
    ("webhook-signature", "v1,x", "webhook-*"),
    ("WEBHOOK_TIMESTAMP", "1", "webhook-*"),
    ("X-A", "b\r\nHost: evil", "printable"),
    ("X-A", "b\nHost: evil", "printable"),
    ("X-A", "b\rc", "printable"),
    ("X-A", "b\tc", "printable"),
    ("X-A", "caf\u{e9}", "printable"),
    ("X-A\r\nHost", "evil", "a header name"),
    ("X A", "b", "a header name"),
    ("X-\u{c4}", "b", "a header name"),
    ("", "b", "a header name"),
];

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_steer_are_refused_by_the_table_and_by_the_command_line() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let json = |name: &str, value: &str| serde_json::json!({ name: value }).to_string();
    for (n, (name, value, _)) in HEADERS.iter().enumerate() {
        let headers = json(name, value);
        let sql = format!("INSERT INTO outbox.endpoints (name, url, headers) VALUES ('h{n}', $1, ");
        let url = receiver.url("/");
        database.rows(&format!("{sql} ($2::text)::json)"), &[&url, &headers]).await;
    }
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    for (n, (name, value, reason)) in HEADERS.iter().enumerate() {
        let state = format!("SELECT state FROM outbox.endpoints WHERE name = 'h{n}'");
        database.wait_for(&state, "invalid").await;
        let told = format!("SELECT state_reason FROM outbox.endpoints WHERE name = 'h{n}'");
        let told = database.text(&told).await;
        assert!(told.contains(reason), "{name:?}: {told}");
        let header = format!("{name}: {value}");
        let mut command = harness::outboxd(&database.url, &[]);
        let arguments = ["endpoints", "add", "https://example.com/", "--header", &header];
        let said = command.args(arguments).output().expect("it runs");
        let error = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{header:?}: {error}");
        assert!(error.contains(reason), "{header:?}: {error}");
    }
    assert_eq!(receiver.connections(), 0);
    daemon.stop().await.expect("an orderly end");
}

/// Reads as Redis does: lines are commands, unless a line shows that HTTP is spoken. Sends what it
/// executes.
async fn redis() -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (executed, commands) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
                if ["post", "host:"].contains(&word.as_str()) {
                    break;
                }
                executed.send(line.clone()).ok();
                line.clear();
            }
            stream.write_all(b"-ERR unknown command\r\n").await.ok();
        }
    });
    (port, commands)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_reads_lines_is_told_no_command() {
    let database = Database::new().await;
    let (port, mut commands) = redis().await;
    let guarded = Tripwire::at(&["127.0.0.1:0"]).await;
    database.subscribe("redis", &format!("http://127.0.0.1:{port}/%0d%0aFLUSHALL%0d%0a")).await;
    // The customary port is refused even where the address is permitted.
    database.subscribe("customary", "http://127.0.0.1:6379/").await;
    let place = guarded.place();
    let allow = format!("127.0.0.0/8:{port}");
    database.subscribe("other", &format!("http://{place}/")).await;
    let settings = [("delivery.allow", allow.as_str()), ("delivery.retry", "none")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    let payload = "{\r\n\"FLUSHALL\"\r\n:\r\n\"SET\" \r\n}";
    database.rows("SELECT outbox.emit('a', $1::text::json)", &[&payload]).await;
    let done = "SELECT string_agg(outcome, ' ') FROM outbox.attempts";
    // Whether the refusal is read before the reset that its end causes is up to the network.
    let answered = "SELECT count(*) FROM outbox.attempts WHERE outcome IN ('protocol', 'tcp')";
    database.wait_for(answered, "1").await;
    assert!(["protocol", "tcp"].contains(&database.text(done).await.as_str()));
    let state = "SELECT count(*) FROM outbox.endpoints WHERE state = 'invalid'";
    database.wait_for(state, "2").await;
    assert!(commands.try_recv().is_err(), "a command was executed");
    guarded.assert_untouched().await;
    daemon.stop().await.expect("an orderly end");
}
