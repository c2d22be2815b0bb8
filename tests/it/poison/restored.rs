//! What waited in a backup that was restored is not sent again unasked.

use std::fs;
use std::process::Output;
use std::time::Duration;

use outboxd::throwaway::{Cluster, Options, Shutdown};

use super::flows;
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// What is older is held; so short, that the tests need not wait for long.
const HOLD: [(&str, &str); 2] =
    [("delivery.hold_after_restore", "1s"), ("delivery.retry", "100ms*")];

/// How often it is looked at what nothing announces.
const LOOK: Duration = Duration::from_millis(20);

/// A server, and a copy of it as it was when the copy was taken.
struct Servers {
    primary: Cluster,
    port: u16,
}

impl Servers {
    async fn new() -> (Self, Database) {
        let port = harness::free_port();
        let primary = harness::start_cluster_on(port);
        let url = primary.url("postgres");
        harness::migrate(&url).await;
        (Self { primary, port }, Database::at(url).await)
    }

    /// As `pg_basebackup` makes it, with all that is committed now.
    async fn back_up(&self, database: &Database, port: u16) -> Cluster {
        let standby_of = Some(self.primary.url("postgres"));
        let options = Options { tcp_port: Some(port), standby_of, ..Options::default() };
        let mut backup = Cluster::start(options).expect("a copy");
        let committed = database.text("pg_current_wal_insert_lsn()").await;
        let copy = Database::at(backup.url("postgres")).await;
        copy.wait_for(&format!("pg_last_wal_replay_lsn() >= '{committed}'"), "true").await;
        backup.stop();
        backup
    }
}

/// What a command answers: stdout and stderr.
async fn command(database: &Database, words: &[&str]) -> String {
    let mut command = harness::outboxd(&database.url, &[]);
    command.args(words);
    let run = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let Output { stdout, stderr, .. } = run.await.expect("no panic");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

/// How often an event has arrived.
fn arrivals(receiver: &Receiver, event: &str) -> usize {
    receiver.ids().iter().filter(|id| *id == event).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_in_a_restored_backup_is_held_until_somebody_decides() {
    let (mut servers, database) = Servers::new().await;
    let receiver = Receiver::start();
    database.subscribe("one", &receiver.url("/")).await;
    receiver.otherwise(Reply::status(500));
    let daemon = TestDaemon::start_with(&database.url, &HOLD).await;
    let tried = database.emit("tried", "{}").await;
    receiver.wait_for(1).await;
    daemon.stop().await.expect("an orderly end");
    let queued = database.emit("queued", "{}").await;
    let backup = servers.back_up(&database, harness::free_port()).await;

    // What the backup knows nothing of: both arrive.
    receiver.otherwise(Reply::status(200));
    let daemon = TestDaemon::start_with(&database.url, &HOLD).await;
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
    let seen = [&tried, &queued].map(|event| arrivals(&receiver, event));
    servers.primary.kill();

    // Recovery ends on a new timeline, as with an archive.
    let mut backup = backup;
    backup.restart(Shutdown::Fast).expect("the backup starts");
    let restored = Database::at(backup.url("postgres")).await;
    restored.execute("SELECT pg_promote()").await;
    let old = "SELECT bool_and(inserted_at < now() - interval '1 second') FROM outbox.events";
    restored.wait_for(old, "true").await;
    let daemon = TestDaemon::start_with(&restored.url, &HOLD).await;
    flows(&restored, &receiver, &["/"]).await;
    let held = "SELECT deliveries || ' ' || events FROM outbox.held";
    assert_eq!(restored.text(held).await, "1 1");
    restored.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    let said = command(&restored, &["doctor"]).await;
    let finding = "1 deliveries and 1 events are held: the database was restored";
    assert!(said.contains(finding) && said.contains("outboxd hold release"), "{said}");
    assert!(command(&restored, &["hold", "show"]).await.contains("the database was restored"));
    assert!(command(&restored, &["stats", "--json"]).await.contains("\"held\":2"));
    let shown = async || daemon.get("/metrics").await.1.contains("\noutboxd_outbox_held 2\n");
    while !shown().await {
        tokio::time::sleep(LOOK).await;
    }
    // Another start changes nothing about it.
    daemon.stop().await.expect("an orderly end");
    let daemon = TestDaemon::start_with(&restored.url, &HOLD).await;
    flows(&restored, &receiver, &["/"]).await;
    assert_eq!([&tried, &queued].map(|event| arrivals(&receiver, event)), seen);

    assert_eq!(command(&restored, &["hold", "release"]).await, "released: 2\n");
    restored.wait_until_idle().await;
    let again = [&tried, &queued].map(|event| arrivals(&receiver, event));
    assert_eq!(again, seen.map(|before| before + 1));
    assert_eq!(restored.text("SELECT count(*) FROM outbox.held").await, "0");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ran_all_the_while_knows_an_older_state_of_its_database() {
    let (mut servers, database) = Servers::new().await;
    let receiver = Receiver::start();
    for name in ["one", "two"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    database.execute("SELECT outbox.pause('two')").await;
    let port = harness::free_port();
    let url = format!("postgresql://postgres@127.0.0.1:{},127.0.0.1:{port}/postgres", servers.port);
    let daemon = TestDaemon::start_with(&url, &HOLD).await;
    let event = database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    let settled = "SELECT string_agg(status, ' ' ORDER BY endpoint_name) FROM outbox.deliveries";
    database.wait_for(settled, "delivered pending").await;
    let mut backup = servers.back_up(&database, port).await;
    let taken = database.text("SELECT max(seen_at) FROM outbox.instances").await;

    database.execute("SELECT outbox.resume('two')").await;
    database.wait_until_idle().await;
    let later = format!(
        "SELECT max(seen_at) > timestamptz '{taken}' + interval '2 seconds' FROM outbox.instances"
    );
    database.wait_for(&later, "true").await;
    servers.primary.kill();
    // Nobody restores a backup within the second that it takes the presence loop to notice.
    while !daemon.get("/readyz").await.1.contains("the database is away") {
        tokio::time::sleep(LOOK).await;
    }
    // A plain start of the copy: the same cluster, the same timeline, the same database.
    fs::remove_file(backup.socket_dir().join("data/standby.signal")).expect("a standby");
    backup.restart(Shutdown::Fast).expect("the backup starts");
    let restored = Database::at(backup.url("postgres")).await;
    let held = "SELECT deliveries || ' ' || events || ' ' || reason FROM outbox.held";
    let reason = "1 0 the database is an older state of itself";
    let short =
        format!("SELECT coalesce((SELECT left(h, {}) FROM ({held}) AS h (h)), '')", reason.len());
    restored.wait_for(&short, reason).await;
    restored.execute("SELECT outbox.resume('two')").await;
    flows(&restored, &receiver, &["/one", "/two"]).await;
    assert_eq!(arrivals(&receiver, &event), 2, "once each, before");

    assert_eq!(command(&restored, &["hold", "cancel"]).await, "cancelled: 1\n");
    let two =
        "SELECT status FROM outbox.deliveries WHERE event_type = 'a' AND endpoint_name = 'two'";
    assert_eq!(restored.text(two).await, "cancelled");
    restored.wait_until_idle().await;
    assert_eq!(arrivals(&receiver, &event), 2);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_old_trace_somewhere_else_makes_a_restored_backup() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("SELECT outbox.recognise(NULL, NULL)").await;
    let recognised = async |seen: &str, change: &str, after: &str, left: &str| {
        let sql =
            format!("BEGIN; UPDATE outbox.home SET seen_at = now() - interval '{seen}', {change}");
        database.execute(&sql).await;
        let sql = format!("SELECT reason IS NOT NULL FROM outbox.recognise({after}, {left})");
        let found = database.text(&sql).await;
        database.execute("ROLLBACK").await;
        found
    };
    let ago =
        |time: &str| format!("(extract(epoch FROM now() - interval '{time}') * 1000000)::bigint");
    let hour = "interval '1 hour'";
    for (seen, change, after, left, expected) in [
        // A promotion, or an upgrade of the server: somewhere else, and a moment ago.
        ("1 minute", "timeline = timeline + 1", hour, "NULL".to_owned(), "false"),
        ("1 minute", "system_identifier = 1", hour, "NULL".to_owned(), "false"),
        // Everything was switched off for long.
        ("3 days", "one = true", hour, "NULL".to_owned(), "false"),
        ("3 days", "timeline = timeline + 1", hour, "NULL".to_owned(), "true"),
        ("3 days", "system_identifier = 1", hour, "NULL".to_owned(), "true"),
        ("3 days", "database = 1", hour, "NULL".to_owned(), "true"),
        ("3 days", "system_identifier = NULL, timeline = NULL", hour, "NULL".to_owned(), "false"),
        ("3 days", "timeline = timeline + 1", "NULL", "NULL".to_owned(), "false"),
        // One that ran all the while goes by what it remembers, whatever became of the timeline.
        ("3 days", "timeline = timeline + 1", hour, ago("3 days"), "false"),
        ("3 days", "one = true", hour, ago("1 minute"), "true"),
    ] {
        let found = recognised(seen, change, after, &left).await;
        assert_eq!(found, expected, "{seen} {change} {after} {left}");
    }
}

/// A lease of a dead daemon in a backup was an attempt, and an event of the future is nothing old.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_due_and_its_attempts_stay_recorded() {
    let database = Database::new().await;
    database.execute("SELECT outbox.subscribe('https://example.com/', name => 'one')").await;
    database
        .execute(
            "INSERT INTO outbox.events (type, payload, deliver_after) \
             SELECT 'a', '{}', CASE WHEN n > 4 THEN now() + interval '1 day' END \
             FROM generate_series(1, 6) n; \
             DELETE FROM outbox.queue WHERE seq IN (1, 2, 3, 5); \
             INSERT INTO outbox.work (event_seq, endpoint, due_at, attempt, holder, created_at) VALUES \
             (1, 1, now() - interval '1 hour', 3, 77, now() - interval '1 day'), \
             (2, 1, now() - interval '1 hour', 3, NULL, now() - interval '1 day'), \
             (3, 1, now() - interval '1 minute', 0, NULL, now() - interval '1 minute'), \
             (5, 1, now() + interval '1 day', 0, NULL, now() - interval '1 day')",
        )
        .await;
    database.execute("UPDATE outbox.events SET inserted_at = now() - interval '1 day'").await;
    database.execute("SET ROLE outbox_admin").await;
    assert_eq!(database.text("outbox.hold('1 hour', 'by hand')").await, "(2,1)");
    assert_eq!(database.text("outbox.hold('1 hour', 'by hand')").await, "(0,0)");
    database.execute("RESET ROLE").await;
    let held = "SELECT string_agg(event_seq::text, ' ' ORDER BY event_seq) FROM outbox.work \
                WHERE due_at > '9998-01-01' AND holder IS NULL";
    assert_eq!(database.text(held).await, "1 2");
    let recorded = "SELECT string_agg(event_seq || ' ' || attempt || ' ' || outcome, ', ') FROM outbox.history";
    assert_eq!(database.text(recorded).await, "1 3 interrupted");
    assert_eq!(database.text("SELECT string_agg(seq::text, ' ') FROM outbox.queue").await, "6");
    assert_eq!(database.text("outbox.release_held()").await, "3");
    assert_eq!(database.text("SELECT count(*) FROM outbox.work WHERE due_at <= now()").await, "3");
    assert_eq!(database.text("SELECT count(*) FROM outbox.queue").await, "2");
}
