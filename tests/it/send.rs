//! What a receiver sees, and what its answers come to.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use outboxd::sign::{Secret, verify_standard};

use crate::harness::{Database, SECRET, TestDaemon};
use crate::receiver::{Receiver, Reply, Request};

/// Outcome, status and error of the first attempt for the endpoint.
async fn first_attempt(database: &Database) -> String {
    database.wait_for("SELECT count(*) > 0 FROM outbox.attempts", "true").await;
    let sql = "SELECT outcome || ' ' || coalesce(http_status::text, '-') FROM outbox.attempts \
               ORDER BY attempt LIMIT 1";
    database.text(sql).await
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.header(name).unwrap_or_else(|| panic!("no {name} in {request:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_travels_byte_for_byte_and_is_signed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/hook?x=1")).await;
    let payload =
        r#"{"commission_id": 123,  "amount": 85.50, "who":"caf\u00e9 ☕", "n":1e131071, "n":2}"#;
    database
        .execute(&format!(
            "INSERT INTO outbox.events (id, type, payload, created_at) VALUES \
             ('evt_0190c0de7a11b0bca7', 'commission.approved', '{payload}', '2024-01-20T14:30:00.123Z')"
        ))
        .await;
    let daemon = TestDaemon::start(&database).await;
    let requests = receiver.wait_for(1).await;
    let request = &requests[0];
    let expected = format!(
        r#"{{"type":"commission.approved","timestamp":"2024-01-20T14:30:00.123Z","data":{payload}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&request.body), expected);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?x=1"));
    assert_eq!(header(request, "content-type"), "application/json");
    assert_eq!(header(request, "webhook-id"), "evt_0190c0de7a11b0bca7");
    assert_eq!(header(request, "user-agent"), concat!("outboxd/", env!("CARGO_PKG_VERSION")));
    let secrets = [Secret::parse(SECRET).expect("the secret of the tests")];
    let timestamp = header(request, "webhook-timestamp");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    let verified = verify_standard(
        &secrets,
        header(request, "webhook-id"),
        timestamp,
        header(request, "webhook-signature"),
        &request.body,
        now.cast_signed(),
        5,
    );
    assert_eq!(verified, Ok(()));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_signs_with_both_secrets_newest_first() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let fresh = database.text("outbox.rotate_secret('one')").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    let first = receiver.wait_for(1).await[0].clone();
    assert_eq!(header(&first, "webhook-signature").split(' ').count(), 2);
    database.execute("SELECT outbox.rotate_secret('one', overlap => '0 s')").await;
    database.emit("a", "{}").await;
    let second = receiver.wait_for(2).await[1].clone();
    assert_eq!(header(&second, "webhook-signature").split(' ').count(), 1);
    let newest = header(&first, "webhook-signature").split(' ').next().expect("a signature");
    let secret = [Secret::parse(&fresh).expect("a generated secret is a secret")];
    let timestamp: i64 = header(&first, "webhook-timestamp").parse().expect("a number");
    let id = header(&first, "webhook-id");
    let ours = outboxd::sign::standard_signature(&secret, id, timestamp, &first.body);
    assert_eq!(newest, ours);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_arrive_whole() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    for size in [16_000, 17_000, 1_048_000] {
        let sql = "INSERT INTO outbox.events (type, payload) \
                   SELECT 'big', ('\"' || repeat('x', $1) || '\"')::json";
        database.rows(sql, &[&size]).await;
    }
    let requests = receiver.wait_for(3).await;
    let mut sizes: Vec<usize> = requests.iter().map(|request| request.body.len()).collect();
    sizes.sort_unstable();
    let frame = r#"{"type":"big","timestamp":"2024-01-20T14:30:00.123Z","data":""}"#.len();
    assert_eq!(sizes, [16_000 + frame, 17_000 + frame, 1_048_000 + frame]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_alive() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    for n in 1..=20 {
        database.emit("a", "{}").await;
        receiver.wait_for(n).await;
        database.wait_until_idle().await;
    }
    assert_eq!(receiver.connections(), 1);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_retired_under_our_hands_costs_no_failure() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    receiver.otherwise([Reply::status(200), Reply::reset(), Reply::status(200)]);
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    database.wait_until_idle().await;
    database.emit("a", "{}").await;
    receiver.wait_for(3).await;
    database.wait_until_idle().await;
    let attempts = "SELECT string_agg(outcome, ' ' ORDER BY started_at) FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "success tcp success");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_outcome() {
    let location = Reply::status(302).header("location", "http://169.254.169.254/latest");
    let cases: Vec<(Reply, &str)> = vec![
        (Reply::status(204), "success 204"),
        (Reply::status(299), "success 299"),
        (location, "http_3xx 302"),
        (Reply::status(404), "http_4xx 404"),
        (Reply::status(429), "http_429 429"),
        (Reply::status(500), "http_5xx 500"),
        (Reply::raw("SSH-2.0-OpenSSH_9.2\r\n"), "protocol -"),
        (Reply::raw("HTTP/1.1 099 Odd\r\n\r\n"), "protocol -"),
        (Reply::hang(), "timeout_response -"),
        (Reply::drip(Duration::from_millis(100), 1), "timeout_response -"),
        (Reply::slow_body(Duration::from_millis(200), 1), "success 200"),
        (Reply::endless_body(), "success 200"),
        (Reply::reset_before_reading(), "tcp -"),
    ];
    for (reply, expected) in cases {
        let shown = format!("{reply:?}");
        let (database, receiver) = (Database::new().await, Receiver::start());
        receiver.otherwise(reply);
        database.subscribe("one", &receiver.url("/")).await;
        let settings = [("delivery.timeout", "800ms"), ("delivery.retry", "1h")];
        let daemon = TestDaemon::start_with(&database.url, &settings).await;
        database.emit("a", "{}").await;
        assert_eq!(first_attempt(&database).await, expected, "{shown}");
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_says_why() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    // Speaks at once, and no TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain_port = plain.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            stream.write_all(b"220 smtp.example ESMTP\r\n").await.ok();
        }
    });
    let cases = [
        (format!("http://127.0.0.1:{port}/"), "tcp -"),
        ("http://no-such-host.invalid/".to_owned(), "dns -"),
        (format!("https://127.0.0.1:{plain_port}/"), "tls -"),
    ];
    for (url, expected) in cases {
        let database = Database::new().await;
        database.subscribe("one", &url).await;
        let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "1h")]).await;
        database.emit("a", "{}").await;
        assert_eq!(first_attempt(&database).await, expected, "{url}");
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_addresses_are_never_dialled() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let port = receiver.addr().port();
    let literal = format!("http://127.0.0.1:{port}/");
    database.subscribe("literal", &literal).await;
    database.subscribe("name", &format!("http://localhost:{port}/")).await;
    let settings = [("delivery.allow", ""), ("delivery.retry", "1h")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    let state = "SELECT state || ' ' || (state_reason LIKE '%delivery.allow%') \
                 FROM outbox.endpoints WHERE name = 'literal'";
    database.wait_for(state, "invalid true").await;
    assert_eq!(first_attempt(&database).await, "blocked -");
    assert_eq!(receiver.connections(), 0);
    // Its delivery waits, and goes out once the configuration permits it.
    daemon.reconfigure(&database.url, &[("delivery.retry", "1h")]).await;
    receiver.wait_for(1).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_reply_can_be_recorded() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let replies: Vec<Reply> =
        (0..=255_u8).map(|byte| Reply::status(200).body(vec![byte])).collect();
    receiver.otherwise(replies);
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 256).await;
    database.wait_until_idle().await;
    let bytes =
        "SELECT count(DISTINCT response_body) FROM outbox.attempts WHERE outcome = 'success'";
    assert_eq!(database.text(bytes).await, "256");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_kept_within_bounds() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let flood = Reply::status(500)
        .header("x-odd", "caf\u{e9}")
        .header("x-long", &"h".repeat(6000))
        .body(vec![b'b'; 100_000]);
    receiver.otherwise(flood);
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let sizes = "SELECT octet_length(response_body) || ' ' \
                 || (octet_length(response_headers::text) < 8192) FROM outbox.attempts";
    assert_eq!(database.text(sizes).await, "4096 true");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn static_headers_go_along_and_bad_ones_make_the_endpoint_invalid() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let insert = |name: &str, headers: &str| {
        format!(
            "INSERT INTO outbox.endpoints (name, url, headers) VALUES ('{name}', '{}', '{headers}')",
            receiver.url("/")
        )
    };
    database.execute(&insert("good", r#"{"x-api-key": "k"}"#)).await;
    database.execute(&insert("bad", r#"{"Host": "evil"}"#)).await;
    // The reason quotes the name, and a NUL cannot be stored in a reason.
    database.execute(&insert("odd", r#"{"a\u0000b": 1}"#)).await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    let requests = receiver.wait_for(1).await;
    assert_eq!(header(&requests[0], "x-api-key"), "k");
    // Plain SQL gave no secret; the daemon did.
    assert!(header(&requests[0], "webhook-signature").starts_with("v1,"));
    database.wait_for("SELECT state FROM outbox.endpoints WHERE name = 'bad'", "invalid").await;
    database.wait_for("SELECT state FROM outbox.endpoints WHERE name = 'odd'", "invalid").await;
    let waits = "SELECT count(*) FROM outbox.deliveries WHERE status = 'pending'";
    assert_eq!(database.text(waits).await, "2");
    // Mended, they go on.
    database.execute("UPDATE outbox.endpoints SET headers = '{}' WHERE name <> 'good'").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 3);
    daemon.stop().await.expect("an orderly end");
}
