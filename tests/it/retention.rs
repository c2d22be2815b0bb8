//! How long history and events are kept, and what goes before its time where the disk has a limit.

use std::time::{Duration, Instant};

use crate::harness::{Database, TestDaemon};
use crate::metrics::{scraped, value};
use crate::receiver::Receiver;

const DAYS: &str = "SELECT count(*) FROM pg_class WHERE relname ~ '^history_[0-9]{8}$'";
/// The smallest size of a limit that a day of these tests fits into twice.
const LIMIT: (&str, &str) = ("retention.max_bytes", "20MiB");
const ROUND_AT: &str = "outboxd_retention_last_success_timestamp_seconds";

/// The name of the partition of so many days ago.
async fn day(database: &Database, ago: i32) -> String {
    let sql =
        format!("'history_' || to_char((now() AT TIME ZONE 'UTC')::date - {ago}, 'YYYYMMDD')");
    database.text(&sql).await
}

/// Adds a day of history with so many rows of 1.6 kB.
async fn add_day(database: &Database, ago: i32, rows: usize) {
    let name = day(database, ago).await;
    database
        .execute(&format!(
            "DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {ago}; BEGIN \
             EXECUTE format('CREATE TABLE IF NOT EXISTS outbox.{name} PARTITION OF outbox.history \
                             FOR VALUES FROM (%L) TO (%L)', day || ' 00:00Z', (day + 1) || ' 00:00Z'); \
             INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, response_body) \
             SELECT n, 1, 1, true, (day || ' 00:00Z')::timestamptz, convert_to(repeat('x', 1500), 'UTF8') \
             FROM generate_series(1, {rows}) n; END $$"
        ))
        .await;
}

/// Adds finished events of so many days ago.
async fn add_events(database: &Database, ago: i32, count: usize) {
    database
        .execute(&format!(
            "SET session_replication_role = replica; \
             INSERT INTO outbox.events (type, payload, inserted_at) \
             SELECT 'old', to_json(repeat('x', 1500)), now() - interval '{ago} days' \
             FROM generate_series(1, {count}); RESET session_replication_role"
        ))
        .await;
}

async fn is_there(database: &Database, ago: i32) -> bool {
    let name = day(database, ago).await;
    database.text(&format!("to_regclass('outbox.{name}') IS NOT NULL")).await == "true"
}

/// Waits for the end of a round of housekeeping that begins now.
async fn next_round(daemon: &TestDaemon, database: &Database, settings: &[(&str, &str)]) {
    let seen = value(&daemon.get("/metrics").await.1, ROUND_AT).expect("a time");
    daemon.reconfigure(&database.url, settings).await;
    scraped(daemon, ROUND_AT, |text| value(text, ROUND_AT).is_some_and(|at| at > seen)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_history_come_and_go_one_at_a_time() {
    let database = Database::new().await;
    assert_eq!(database.text(DAYS).await, "8");
    for ago in [50, 40, 20] {
        add_day(&database, ago, 1).await;
    }
    database
        .execute(
            "INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at) \
             SELECT 1, 1, 1, true, now() - interval '60 days' FROM generate_series(1, 5001); \
             SET ROLE outbox_daemon",
        )
        .await;
    for gone in ["1", "1", "5000", "1", "0"] {
        assert_eq!(database.text("outbox.drop_history('30 days')").await, gone);
    }
    assert_eq!(database.text("outbox.prepare_history(9)").await, "2");
    assert_eq!(database.text("outbox.prepare_history(9)").await, "0");
    database.execute("RESET ROLE").await;
    assert_eq!(database.text(DAYS).await, "11");
    assert!(is_there(&database, 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_somebody_reads_goes_later_and_holds_nobody_up() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    add_day(&database, 50, 1).await;
    let reader = Database::at(database.url.clone()).await;
    reader.execute("BEGIN; SELECT count(*) FROM outbox.attempts").await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    // More than one try to drop it falls into this time.
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_secs(12) {
        database.insert_many("a", 10).await;
        database.wait_until_idle().await;
    }
    let inserted = database.text("SELECT count(*) FROM outbox.events").await;
    assert_eq!(receiver.requests().len().to_string(), inserted);
    assert!(is_there(&database, 50).await);
    let (_, metrics) = daemon.get("/metrics").await;
    assert_eq!(value(&metrics, ROUND_AT), Some(0.0), "housekeeping is not done: {metrics}");
    assert!(
        !metrics
            .lines()
            .any(|it| it.starts_with("outboxd_db_errors_total{") && !it.ends_with(" 0"))
    );
    reader.execute("ROLLBACK").await;
    let name = day(&database, 50).await;
    database.wait_for(&format!("to_regclass('outbox.{name}') IS NULL"), "true").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_old_events_than_a_round_deletes_are_gone_within_seconds() {
    let database = Database::new().await;
    database
        .execute(
            "SET session_replication_role = replica; \
             INSERT INTO outbox.events (type, payload, inserted_at) \
             SELECT 'old', '1', now() - interval '40 days' FROM generate_series(1, 101000)",
        )
        .await;
    let daemon = TestDaemon::start(&database).await;
    database.wait_for("SELECT count(*) FROM outbox.events", "0").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_limit_the_oldest_day_goes_and_what_is_owed_stays() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("paused", &receiver.url("/")).await;
    database.execute("SELECT outbox.pause('paused')").await;
    let owed = database.emit("owed", "{}").await;
    let daemon = TestDaemon::start(&database).await;
    database.wait_for("SELECT count(*) FROM outbox.work", "1").await;
    daemon.stop().await.expect("an orderly end");
    database.execute("UPDATE outbox.events SET inserted_at = now() - interval '5 days'").await;
    add_events(&database, 4, 10).await;
    for ago in [3, 2, 1] {
        add_day(&database, ago, 5000).await;
    }
    let daemon = TestDaemon::start_with(&database.url, &[LIMIT]).await;
    let name = day(&database, 3).await;
    database.wait_for(&format!("to_regclass('outbox.{name}') IS NULL"), "true").await;
    // The next round finds nothing that has to go.
    next_round(&daemon, &database, &[LIMIT]).await;
    assert!(is_there(&database, 2).await && is_there(&database, 1).await);
    assert_eq!(database.text("SELECT string_agg(id, ' ') FROM outbox.events").await, owed);
    assert_eq!(database.text("SELECT count(*) FROM outbox.work").await, "1");
    let (_, metrics) = daemon.get("/metrics").await;
    let limit = value(&metrics, "outboxd_outbox_disk_limit_bytes");
    assert_eq!(limit, Some(f64::from(20 << 20)), "{metrics}");
    // A higher limit is not met, and a lower one at once.
    next_round(&daemon, &database, &[("retention.max_bytes", "1GiB")]).await;
    assert!(is_there(&database, 2).await);
    next_round(&daemon, &database, &[("retention.max_bytes", "16MiB")]).await;
    assert!(!is_there(&database, 2).await && is_there(&database, 1).await);
    daemon.stop().await.expect("an orderly end");
}

/// Removes what was deleted, which takes until the daemon has no snapshot any more that could see it.
async fn vacuum_events(database: &Database) {
    let begun = Instant::now();
    let dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'outbox.events'::regclass";
    loop {
        database.execute("VACUUM outbox.events").await;
        if database.text(dead).await == "0" {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "rows stay that nobody can see");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_events_take_again_is_no_reason_to_let_go_of_more() {
    let database = Database::new().await;
    add_events(&database, 3, 7000).await;
    add_events(&database, 2, 5000).await;
    let size = "pg_total_relation_size('outbox.events')";
    let before = database.text(size).await;
    let daemon = TestDaemon::start_with(&database.url, &[LIMIT]).await;
    let count = "SELECT count(*) FROM outbox.events";
    database.wait_for(count, "5000").await;
    next_round(&daemon, &database, &[LIMIT]).await;
    assert_eq!(database.text(count).await, "5000", "the younger day stays");
    // It is room again, and then the files do not grow.
    vacuum_events(&database).await;
    add_events(&database, 1, 6500).await;
    let (before, now): (u64, u64) =
        (before.parse().expect("bytes"), database.text(size).await.parse().expect("bytes"));
    assert!(now <= before + before / 20, "{before} {now}");
    next_round(&daemon, &database, &[LIMIT]).await;
    let left = "SELECT count(*) FILTER (WHERE inserted_at < now() - interval '47 hours') || ' ' || count(*) \
                FROM outbox.events";
    assert_eq!(database.text(left).await, "0 6500", "and now the next day had to go");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_day_that_is_too_much_is_emptied_when_nothing_older_is_left() {
    let database = Database::new().await;
    add_events(&database, 0, 10).await;
    add_day(&database, 0, 15_000).await;
    let daemon = TestDaemon::start_with(&database.url, &[LIMIT]).await;
    let today = day(&database, 0).await;
    let rows = format!("SELECT count(*) FROM outbox.{today}");
    database.wait_for(&rows, "0").await;
    next_round(&daemon, &database, &[LIMIT]).await;
    assert_eq!(database.text("SELECT count(*) FROM outbox.events").await, "10", "they are young");
    daemon.stop().await.expect("an orderly end");
}
