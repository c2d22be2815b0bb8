//! Schemas that would take too long, and what quarantine means for the rest.

use outboxd::store::Store;

use crate::event_types::{HELD, body, emit, run, set_schema, start, wait_for_metric, with_schema};
use crate::harness::{self, Database};
use crate::receiver::Receiver;

/// A small schema that doubles with each of 40 levels.
fn doubling() -> String {
    let level = |n: usize| {
        let below = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, n - 1);
        format!(r#""a{n}":{{"allOf":[{below},{below}]}}"#)
    };
    let levels: Vec<String> = (1..=40).map(level).collect();
    let levels = levels.join(",");
    format!(r##"{{"$ref":"#/$defs/a40","$defs":{{"a0":{{"type":"object"}},{levels}}}}}"##)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_would_never_end_leaves_its_type_unchecked_and_nothing_else() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    set_schema(&database, "endless", &doubling()).await;
    let daemon = start(&database, "reject").await;
    database.execute("SELECT outbox.emit('endless', '{}', id => 'unchecked')").await;
    emit(&database, "bad", "{}").await;
    receiver.wait_for(1).await;
    database.wait_for(HELD, "bad").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["unchecked"]);
    let (code, out, err) = run(&database, &["event-types", "list", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let line = out.lines().find(|line| line.contains("endless")).unwrap_or_default();
    assert!(line.contains(r#""schema":"unusable""#), "{out}");
    assert!(line.contains("cannot be used: with what it refers to in place"), "{out}");
    let file = std::env::temp_dir().join(format!("outboxd-test-{:016x}.json", fastrand::u64(..)));
    let entry = format!(r#"{{"endless":{{"schema":{}}}}}"#, doubling());
    std::fs::write(&file, entry).expect("a file");
    let path = file.display().to_string();
    let (code, _, err) = run(&database, &["event-types", "import", &path]);
    std::fs::remove_file(&file).ok();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("nothing was imported") && err.contains("cannot be used"), "{err}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_too_large_for_its_schema_is_held_back_and_a_large_one_is_checked() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let parts: Vec<String> = (0..200).map(|n| format!(r#"{{"minimum":{n}}}"#)).collect();
    let schema = format!(r#"{{"items":{{"allOf":[{}]}}}}"#, parts.join(","));
    set_schema(&database, "order", &schema).await;
    let daemon = start(&database, "reject").await;
    let list = |count: usize, last: u32| format!("[{}{last}]", "999,".repeat(count));
    emit(&database, "too-large", &list(250_000, 999)).await;
    emit(&database, "bad", &list(20_000, 198)).await;
    emit(&database, "good", &list(20_000, 200)).await;
    let requests = receiver.wait_for(1).await;
    assert!(body(&requests[0]).contains("999,200]"));
    database.wait_for(HELD, "bad,too-large").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["good"]);
    let reason = "SELECT reason FROM outbox.quarantined_events WHERE event_id = ";
    let bad = database.text(&format!("{reason}'bad'")).await;
    assert_eq!(bad, "/20000: does not match minimum 199");
    let too_large = database.text(&format!("{reason}'too-large'")).await;
    assert!(too_large.starts_with("the payload cannot be checked: "), "{too_large}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_checked_no_schema_is_loaded() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("ALTER TABLE outbox.event_types RENAME schema TO hidden").await;
    let daemon = start(&database, "off").await;
    emit(&database, "before", "{}").await;
    receiver.wait_for(1).await;
    database.execute("ALTER TABLE outbox.event_types RENAME hidden TO schema").await;
    daemon.reconfigure(&database.url, &[("events.validate", "reject")]).await;
    // The first event after the change is checked, whether the reload is done or not.
    emit(&database, "after", "{}").await;
    database.wait_for(HELD, "after").await;
    assert_eq!(receiver.ids(), ["before"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_quarantine_is_not_replayed_and_once_released_is_delivered_once() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    emit(&database, "bad", "{}").await;
    emit(&database, "worse", "[]").await;
    database.wait_for(HELD, "bad,worse").await;
    database.execute("SELECT outbox.discard('worse')").await;
    for (event, part) in [("bad", "is held in quarantine"), ("worse", "was discarded")] {
        let sql = format!("SELECT outbox.replay('{event}', 'one')");
        let error = database.try_execute(&sql).await.expect_err(event);
        let error = error.as_db_error().expect("an error of the database");
        assert_eq!(error.code().code(), "55000", "{error:?}");
        assert!(error.message().contains(part), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("outbox.release")), "{error:?}");
        let (code, _, err) = run(&database, &["deliveries", "replay", event, "one"]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(part) && err.contains("release"), "{err}");
    }
    database.execute("SELECT outbox.release('bad')").await;
    receiver.wait_for(1).await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["bad"]);
    assert_eq!(database.text("outbox.replay('bad', 'one')").await, "true");
    receiver.wait_for(2).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_and_released_is_not_counted_again() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    emit(&database, "bad", "{}").await;
    database.wait_for(HELD, "bad").await;
    daemon.reconfigure(&database.url, &[("events.validate", "warn")]).await;
    emit(&database, "warned", "{}").await;
    receiver.wait_for(1).await;
    database.execute("SELECT outbox.release('bad')").await;
    receiver.wait_for(2).await;
    emit(&database, "warned-too", "{}").await;
    receiver.wait_for(3).await;
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="warn"} 2"#).await;
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="reject"} 1"#).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gauge_of_quarantine_counts_events_that_are_there() {
    let database = with_schema().await;
    emit(&database, "bad", "{}").await;
    emit(&database, "gone", "{}").await;
    database
        .execute(
            "INSERT INTO outbox.quarantine (event_seq, reason) SELECT seq, 'r' FROM outbox.events",
        )
        .await;
    let config = harness::load(&database.url, &[]);
    let store = Store::new(&config.database.url, 1).expect("a pool");
    assert_eq!(store.sample_server().await.expect("a sample").quarantined, 2);
    database.execute("DELETE FROM outbox.events WHERE id = 'gone'").await;
    assert_eq!(store.sample_server().await.expect("a sample").quarantined, 1);
}
