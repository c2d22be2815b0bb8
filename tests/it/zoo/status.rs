//! Receivers that answer in good HTTP: what each status comes to, and what they ask for besides.

use crate::harness::{Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

fn outcome(status: i32) -> &'static str {
    match status {
        200..=299 => "success",
        300..=399 => "http_3xx",
        410 => "http_410",
        429 => "http_429",
        400..=499 => "http_4xx",
        500..=599 => "http_5xx",
        _ => "protocol",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_from_200_to_699_has_its_outcome() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    for status in 200..700 {
        // Where a redirect would lead, nobody is ever seen.
        let reply = Reply::status(status).header("location", &receiver.url("/elsewhere"));
        receiver.on(&format!("/{status}"), reply);
    }
    let sql = format!(
        "SELECT outbox.subscribe('{}' || n, name => 's' || n) FROM generate_series(200, 699) n",
        receiver.url("/")
    );
    database.execute(&sql).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let rows = "SELECT substr(d.endpoint_name, 2)::int, a.http_status::int, a.outcome, d.status \
                FROM outbox.attempts a JOIN outbox.deliveries d USING (event_id, endpoint_id)";
    let rows = database.rows(rows, &[]).await;
    assert_eq!(rows.len(), 500);
    for row in rows {
        let status: i32 = row.get(0);
        let expected = outcome(status);
        let end = if expected == "success" { "delivered" } else { "exhausted" };
        let found: (i32, &str, &str) = (row.get(1), row.get(2), row.get(3));
        assert_eq!(found, (status, expected, end));
    }
    assert!(receiver.requests().iter().all(|request| request.path != "/elsewhere"));
    let disabled = "SELECT string_agg(name, ' ') FROM outbox.endpoints WHERE state = 'disabled'";
    assert_eq!(database.text(disabled).await, "s410");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_retry_after_leaves_the_schedule_as_it_is() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let nested = format!("Mon, 01 Jan 2024 {}00:00:00 GMT", "(".repeat(5000));
    let long = "9".repeat(10_000);
    let nonsense = [
        "-1",
        "NaN",
        "1e400",
        "0x10",
        "Mon, 01 Jan 1990 00:00:00 GMT",
        "Thu, 99 Foo 2030 99:99:99 GMT",
        "10 20",
        "\u{0661}\u{0660}",
        &nested,
        &long,
    ];
    for (number, value) in nonsense.iter().enumerate() {
        let path = format!("/{number}");
        receiver.on(&path, Reply::status(429).header("retry-after", value));
        database.subscribe(&format!("r{number}"), &receiver.url(&path)).await;
    }
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "10s 1h")]).await;
    database.emit("a", "{}").await;
    let all = nonsense.len().to_string();
    database.wait_for("SELECT count(*) FROM outbox.attempts WHERE http_status = 429", &all).await;
    let wait = "SELECT d.endpoint_name, extract(epoch FROM d.next_attempt_at - a.started_at)::float8 \
                FROM outbox.deliveries d JOIN outbox.attempts a USING (event_id, endpoint_id)";
    for row in database.rows(wait, &[]).await {
        let (name, wait): (String, f64) = (row.get(0), row.get(1));
        assert!((7.0..14.0).contains(&wait), "{name}: {wait}");
    }
    daemon.stop().await.expect("an orderly end");
}
