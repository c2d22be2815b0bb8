//! Stored data that cannot be read, or that the database refuses to work with.

use super::{flows, scene, state, wait_for_state};
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;

/// A payload of this many bytes that is stored apart from its row.
fn stored_apart(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// Makes payloads go where they can be damaged.
async fn prepare(database: &Database) {
    database
        .execute(
            "CREATE EXTENSION pg_surgery; \
             ALTER TABLE outbox.events ALTER COLUMN payload SET STORAGE EXTERNAL",
        )
        .await;
}

/// Destroys all payloads that are stored apart, as a bad disk would: their rows stay.
async fn destroy_payloads(database: &Database) {
    database
        .execute(
            "DO $$
             DECLARE
                 toast regclass := (SELECT reltoastrelid FROM pg_class WHERE oid = 'outbox.events'::regclass);
             BEGIN
                 EXECUTE format('SELECT heap_force_kill(%L::regclass, ARRAY(SELECT ctid FROM %s))', toast, toast);
             END $$",
        )
        .await;
}

/// The binary, which has to succeed; what it prints.
fn command(database: &Database, args: &[&str]) -> String {
    let output = harness::outboxd(&database.url, &[]).args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_goes_into_quarantine_and_its_batch_flows() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    prepare(&database).await;
    database.subscribe("one", &receiver.url("/")).await;
    let before = database.emit("a", "1").await;
    let bad = database.emit("a", &stored_apart(9_000)).await;
    destroy_payloads(&database).await;
    let after = database.emit("a", "2").await;
    let daemon = TestDaemon::start(&database).await;
    receiver.wait_for(2).await;
    let mut arrived = receiver.ids();
    arrived.sort_unstable_by_key(|id| *id != before);
    assert_eq!(arrived, [before, after]);
    let found = wait_for_state(&database, &bad, "quarantined: the event cannot be read: ").await;
    assert!(found.contains("missing chunk") && found.contains("XX001"), "{found}");
    flows(&database, &receiver, &["/"]).await;
    // It hides no other event from whoever looks, and says what is known of it.
    let listed = command(&database, &["events", "list", "--json"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let shown = command(&database, &["events", "show", &bad, "--json"]);
    assert!(shown.contains("\"held\"") && shown.contains("missing chunk"), "{shown}");
    assert!(command(&database, &["events", "list", "--quarantined"]).contains(&bad));
    // Released as it is, it is held again: at no time does it stop the others.
    command(&database, &["events", "release", &bad]);
    wait_for_state(&database, &bad, "quarantined: ").await;
    flows(&database, &receiver, &["/"]).await;
    // Mended, it is delivered like any other.
    database
        .execute("UPDATE outbox.events SET payload = '\"mended\"' WHERE length(id) > 0 AND seq = 2")
        .await;
    command(&database, &["events", "release", &bad]);
    wait_for_state(&database, &bad, "delivered").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_lost_after_the_fan_out_ends_its_deliveries_and_no_others() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    prepare(&database).await;
    for name in ["one", "two"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
        database.execute(&format!("SELECT outbox.pause('{name}')")).await;
    }
    let daemon = TestDaemon::start(&database).await;
    let before = database.emit("a", "1").await;
    let (small, large) = (
        database.emit("a", &stored_apart(9_000)).await,
        database.emit("a", &stored_apart(90_000)).await,
    );
    let after = database.emit("a", "2").await;
    database.wait_for("SELECT count(*) FROM outbox.work", "8").await;
    destroy_payloads(&database).await;
    database.execute("SELECT outbox.resume('one'), outbox.resume('two')").await;
    receiver.wait_for(4).await;
    for bad in [&small, &large] {
        let found = wait_for_state(&database, bad, "exhausted: nothing was sent: ").await;
        assert_eq!(
            found.matches("the payload cannot be read: missing chunk").count(),
            2,
            "{found}"
        );
    }
    for good in [&before, &after] {
        assert_eq!(
            wait_for_state(&database, good, "delivered, delivered").await,
            "delivered, delivered"
        );
    }
    flows(&database, &receiver, &["/one", "/two"]).await;
    let outcomes = "SELECT string_agg(DISTINCT last_outcome, ' ') FROM outbox.deliveries WHERE status = 'exhausted'";
    assert_eq!(database.text(outcomes).await, "protocol");
    // What was mended can be replayed.
    database.execute("UPDATE outbox.events SET payload = '3' WHERE seq IN (2, 3)").await;
    assert_eq!(database.text("outbox.replay_failed('one')").await, "2");
    receiver.wait_for(4 + 2 + 2).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_against_a_schema_that_cannot_read_the_payload_holds_only_that_event_back() {
    let database = crate::event_types::with_schema().await;
    let receiver = Receiver::start();
    prepare(&database).await;
    database.subscribe("one", &receiver.url("/")).await;
    let event_type =
        database.text("SELECT type FROM outbox.event_types WHERE schema IS NOT NULL LIMIT 1").await;
    let bad = database.emit(&event_type, &stored_apart(90_000)).await;
    destroy_payloads(&database).await;
    let daemon = TestDaemon::start_with(&database.url, &[("events.validate", "reject")]).await;
    wait_for_state(&database, &bad, "quarantined: the event cannot be read: ").await;
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_spoilt_after_the_fan_out_is_cancelled_with_the_reason() {
    let (database, receiver, daemon) = scene(&[]).await;
    database.execute("SELECT outbox.pause('one')").await;
    let (infinite, nameless, gone) = (
        database.emit("a", "1").await,
        database.emit("a", "2").await,
        database.emit("a", "3").await,
    );
    database.wait_for("SELECT count(*) FROM outbox.work", "3").await;
    database
        .execute(&format!(
            "ALTER TABLE outbox.events DROP CONSTRAINT events_created_at_range, ALTER type DROP NOT NULL; \
             UPDATE outbox.events SET created_at = 'infinity' WHERE id = '{infinite}'; \
             UPDATE outbox.events SET type = NULL WHERE id = '{nameless}'; \
             DELETE FROM outbox.events WHERE id = '{gone}'; \
             SELECT outbox.resume('one')"
        ))
        .await;
    for bad in [&infinite, &nameless] {
        wait_for_state(&database, bad, "cancelled: the event cannot be read: ").await;
    }
    database.wait_until_idle().await;
    flows(&database, &receiver, &["/"]).await;
    assert_eq!(state(&database, &gone).await, "nothing");
    let ended = "SELECT count(*) FROM outbox.history WHERE error = 'the event is gone' AND result = 'cancelled'";
    assert_eq!(database.text(ended).await, "1");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_deliveries_the_database_refuses_goes_into_quarantine_and_its_batch_flows() {
    let (database, receiver, daemon) = scene(&[]).await;
    // Somebody's constraint refuses one in the middle of a large transaction.
    database
        .execute(
            "ALTER TABLE outbox.work ADD CONSTRAINT superstition CHECK (event_seq % 1000 <> 313); \
             ALTER TABLE outbox.events ALTER seq RESTART WITH 1000",
        )
        .await;
    database.insert_many("bulk", 600).await;
    receiver.wait_for(1 + 599).await;
    let held = "SELECT string_agg(event_seq || ': ' || reason, E'\\n') FROM outbox.quarantine";
    database
        .wait_for(
            &format!("SELECT count(*) FROM ({held}) q (all_of_them) WHERE all_of_them IS NOT NULL"),
            "1",
        )
        .await;
    let held = database.text(held).await;
    assert!(
        held.starts_with("1313: the event cannot be fanned out: ") && held.contains("superstition"),
        "{held}"
    );
    assert!(held.contains("23514") && held.lines().count() == 1, "{held}");
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_read_no_event_at_all_is_waited_for_and_nothing_is_set_aside() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    prepare(&database).await;
    database.subscribe("one", &receiver.url("/")).await;
    for _ in 0..20 {
        database.emit("a", &stored_apart(9_000)).await;
    }
    destroy_payloads(&database).await;
    let daemon = TestDaemon::start(&database).await;
    let metric = "outboxd_db_errors_total{kind=\"data\"}";
    let failing = async {
        while !daemon.get("/metrics").await.1.lines().any(|line| {
            line.strip_prefix(metric)
                .is_some_and(|count| count.trim().parse::<u64>().is_ok_and(|count| count >= 2))
        }) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(harness::PATIENCE, failing).await.expect("errors that are counted");
    assert_eq!(database.text("SELECT count(*) FROM outbox.quarantine").await, "0");
    assert_eq!(database.text("SELECT count(*) FROM outbox.queue").await, "20");
    // One that can be read shows that it is the others.
    flows(&database, &receiver, &["/"]).await;
    database.wait_for("SELECT count(*) FROM outbox.quarantined_events", "20").await;
    daemon.stop().await.expect("an orderly end");
}
