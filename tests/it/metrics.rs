//! What the metrics say: the document, lint, the sampler, the fold.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use outboxd::metrics::Metrics;

use super::harness::{Database, PATIENCE, TestDaemon, connect};
use super::monitoring::prometheus::tool;
use super::receiver::{Receiver, Reply};

/// The value of a series.
pub fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a scrape is as wanted, and returns it.
pub async fn scraped(daemon: &TestDaemon, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let started = Instant::now();
    loop {
        let (_, text) = daemon.get("/metrics").await;
        if wanted(&text) {
            return text;
        }
        assert!(started.elapsed() < PATIENCE, "{what} never came:\n{text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A scrape with samples in it. Daemons take the first when they start.
async fn sampled(daemon: &TestDaemon) -> String {
    let stamp = "outboxd_outbox_sample_timestamp_seconds";
    scraped(daemon, stamp, |text| value(text, stamp).is_some_and(|at| at > 1e9)).await
}

#[test]
fn the_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let said = Metrics::new().document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &said).expect("docs/metrics.md");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == said, "docs/metrics.md is stale; renew it as its second line says");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_exported_and_documented_and_no_other() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    // A secret with an end, and none without: its families are there then.
    database.execute("UPDATE outbox.secrets SET expires_at = now() + interval '1 hour'").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    sampled(&daemon).await;
    let named = r#"outboxd_endpoint_secret_end_timestamp_seconds{endpoint="one"}"#;
    let text = scraped(&daemon, named, |text| value(text, named).is_some()).await;
    let end = value(&text, named).expect("just seen");
    let now = value(&text, "outboxd_config_last_reload_timestamp_seconds").expect("a time");
    assert!((3000.0..=3700.0).contains(&(end - now)), "{end} {now}");
    let mut found: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let metrics = Metrics::new();
    let mut documented: Vec<&str> = metrics.names().collect();
    found.sort_unstable();
    documented.sort_unstable();
    assert_eq!(found, documented);
    for family in found {
        assert!(text.contains(&format!("# HELP {family} ")), "{family} has no help");
    }
    lint(&text);
    daemon.stop().await.expect("an orderly end");
}

/// What Prometheus itself says of a scrape.
fn lint(text: &str) {
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_by_stage_and_by_endpoint() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe_to("slow", &receiver.url("/"), "{a}").await;
    database.subscribe_to("idle", &receiver.url("/idle"), "{never}").await;
    database.subscribe_to("paused", &receiver.url("/paused"), "{b}").await;
    database.execute("SELECT outbox.pause('paused')").await;
    let first = TestDaemon::start(&database).await;
    database.insert_many("a", 3).await;
    database.insert_many("b", 5).await;
    let later = "INSERT INTO outbox.events (type, payload, deliver_after) \
                 SELECT 'b', '{}', now() + n * interval '2 minutes' FROM generate_series(1, 2) n";
    database.execute(later).await;
    receiver.wait_in_flight(3).await;
    database.wait_for("SELECT count(*) FROM outbox.work", "10").await;
    // Age that only a wrong gauge would take for lag of the daemon.
    database
        .execute("UPDATE outbox.work SET due_at = due_at - interval '1 hour' WHERE due_at <= now()")
        .await;
    // One that starts now samples now.
    let daemon = TestDaemon::start(&database).await;
    let text = sampled(&daemon).await;
    for (series, expected) in [
        ("outboxd_outbox_queued", 0.0),
        ("outboxd_outbox_pending", 10.0),
        ("outboxd_outbox_due", 5.0),
        ("outboxd_outbox_in_flight", 3.0),
        ("outboxd_outbox_scheduled_retry", 2.0),
        ("outboxd_outbox_behind", 0.0),
        (r#"outboxd_outbox_retries_due{ahead="1m"}"#, 0.0),
        (r#"outboxd_outbox_retries_due{ahead="5m"}"#, 2.0),
        (r#"outboxd_endpoint_pending{endpoint="slow"}"#, 3.0),
        (r#"outboxd_endpoint_pending{endpoint="idle"}"#, 0.0),
        (r#"outboxd_endpoint_pending{endpoint="paused"}"#, 7.0),
        (r#"outboxd_endpoint_drain_seconds{endpoint="idle"}"#, 0.0),
        (r#"outboxd_endpoint_drain_seconds{endpoint="paused"}"#, f64::INFINITY),
        ("outboxd_outbox_oldest_due_age_seconds", 0.0),
        (r#"outboxd_endpoint_oldest_due_age_seconds{endpoint="slow"}"#, 0.0),
        (r#"outboxd_oldest_xmin_age_seconds{holder="replication_slot"}"#, 0.0),
        ("outboxd_history_partitions_ahead", 7.0),
        ("outboxd_schema_version", 7.0),
        ("outboxd_outbox_exhausted", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    let paused = value(&text, r#"outboxd_endpoint_oldest_due_age_seconds{endpoint="paused"}"#);
    assert!(paused.is_some_and(|age| (3600.0..3700.0).contains(&age)), "{paused:?}");
    let skew = value(&text, "outboxd_clock_skew_seconds").expect("sampled");
    assert!(skew.abs() < 1.0, "the same machine: {skew}");
    let work = value(&text, r#"outboxd_outbox_table_bytes{table="work"}"#).expect("sampled");
    assert!(work >= 8192.0, "{work}");
    gate.open();
    first.stop().await.expect("an orderly end");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_any_size_is_estimated_within_the_time_limit() {
    let database = Database::new().await;
    database.execute("SELECT outbox.subscribe('https://127.0.0.1/', name => 'one')").await;
    database.execute("SELECT outbox.pause('one')").await;
    // As fan-out would have made them; 300,000 rows are more pages than are looked at.
    let rows = "INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at) \
                SELECT n, (SELECT endpoint FROM outbox.endpoints), now() + (n % 3) * interval '2 hours', now() \
                FROM generate_series(1, 300000) n";
    database.execute(rows).await;
    let daemon = TestDaemon::start(&database).await;
    let text = sampled(&daemon).await;
    let pending = value(&text, "outboxd_outbox_pending").expect("sampled");
    assert!((250_000.0..350_000.0).contains(&pending), "{pending}");
    let ahead = value(&text, r#"outboxd_outbox_retries_due{ahead="6h"}"#).expect("sampled");
    assert!((160_000.0..240_000.0).contains(&ahead), "{ahead}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sampled_is_absent_and_the_rest_is_there() {
    let database = Database::new().await;
    let locker = connect(&database.url).await;
    // Sizes need a lock on every table; counts do not need this one.
    let lock = "BEGIN; LOCK TABLE outbox.event_types IN ACCESS EXCLUSIVE MODE";
    locker.batch_execute(lock).await.expect("a lock");
    let daemon = TestDaemon::start(&database).await;
    let counted = "outboxd_outbox_pending";
    let text = scraped(&daemon, counted, |text| {
        value(text, counted).is_some()
            && value(text, r#"outboxd_db_errors_total{kind="conflict"}"#) > Some(0.0)
    })
    .await;
    assert!(!text.contains("outboxd_outbox_table_bytes"), "{text}");
    assert_eq!(value(&text, "outboxd_outbox_sample_timestamp_seconds"), Some(0.0));
    locker.batch_execute("COMMIT").await.expect("an end");
    sampled(&daemon).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_shows_as_what_holds_vacuum_back() {
    let database = Database::new().await;
    let holder = connect(&database.url).await;
    holder
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.events")
        .await
        .expect("a snapshot");
    let daemon = TestDaemon::start(&database).await;
    let series = r#"outboxd_oldest_xmin_age_seconds{holder="backend"}"#;
    // The second sample, 15 s later, knows for how long.
    let text = scraped(&daemon, series, |text| value(text, series) > Some(10.0)).await;
    let others = r#"outboxd_oldest_xmin_age_seconds{holder="prepared_transaction"}"#;
    assert_eq!(value(&text, others), Some(0.0));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_beyond_the_cap_are_counted_together() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    for name in ["first", "second", "third"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    let settings = [("metrics.max_endpoints", "1")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.insert_many("a", 2).await;
    database.wait_until_idle().await;
    let folded = r#"outboxd_deliveries_finished_total{endpoint="_other",result="delivered"}"#;
    let text = scraped(&daemon, folded, |text| value(text, folded) == Some(4.0)).await;
    let named = r#"outboxd_deliveries_finished_total{endpoint="first",result="delivered"}"#;
    assert_eq!(value(&text, named), Some(2.0));
    assert_eq!(value(&text, "outboxd_endpoints_folded"), Some(2.0));
    assert_eq!(value(&text, r#"outboxd_endpoints{state="active"}"#), Some(3.0));
    assert!(!text.contains("\"second\"") && !text.contains("\"third\""), "{text}");
    daemon.reconfigure(&database.url, &[("metrics.max_endpoints", "2")]).await;
    let text = scraped(&daemon, "a name", |text| text.contains("\"second\"")).await;
    assert_eq!(value(&text, "outboxd_endpoints_folded"), Some(1.0));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_out_of_order_is_no_lag_of_the_daemon() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe("slow", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    // More than may be under way: the rest waits, for its endpoint.
    database.insert_many("a", 200).await;
    receiver.wait_in_flight(32).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    gate.open();
    database.wait_until_idle().await;
    let held = "outboxd_first_attempts_held_total";
    let text = scraped(&daemon, held, |text| value(text, held) > Some(100.0)).await;
    let within = value(&text, r#"outboxd_first_attempt_delay_seconds_bucket{le="5"}"#);
    assert_eq!(within, value(&text, "outboxd_first_attempt_delay_seconds_count"), "{text}");
    assert!(value(&text, r#"outboxd_endpoint_throttled_total{endpoint="slow"}"#) > Some(0.0));
    assert_eq!(value(&text, "outboxd_end_to_end_seconds_count"), Some(200.0));
    assert_eq!(value(&text, r#"outboxd_attempts_per_delivery_bucket{le="1"}"#), Some(200.0));
    daemon.stop().await.expect("an orderly end");
}
