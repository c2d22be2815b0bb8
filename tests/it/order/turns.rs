//! Who goes next, and what brings somebody's turn.

use serde_json::Value;

use super::{emit, of, subscribe, wait_for};
use crate::harness::{self, Database, TestDaemon, connect};
use crate::receiver::{Receiver, Reply};

/// So long that what has failed waits for as long as the test.
const LATER: [(&str, &str); 1] = [("delivery.retry", "1h")];
const BEHIND: &str = "SELECT coalesce(string_agg(e.id, ' ' ORDER BY e.id), '') FROM outbox.work w \
                      JOIN outbox.events e ON e.seq = w.event_seq WHERE w.behind";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_sent_one_by_one_and_others_beside_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    subscribe(&database, "one", &receiver.url("/ordered")).await;
    database.subscribe("other", &receiver.url("/other")).await;
    let daemon = TestDaemon::start(&database).await;
    emit(&database, &["a-1", "a-2", "a-3", "b-1", "b-2", "b-3"]).await;
    // Nothing orders those without a key, nor those of another endpoint, nor a test.
    database.insert_many("e", 3).await;
    database.execute("SELECT outbox.send_test('one')").await;
    receiver.wait_in_flight(2 + 3 + 1 + 6 + 3).await;
    assert_eq!(database.text(BEHIND).await, "a-2 a-3 b-2 b-3");
    gate.open();
    database.wait_until_idle().await;
    let mut ordered = receiver.requests();
    ordered.retain(|request| request.path == "/ordered");
    for key in ["a", "b"] {
        let ids = ordered.iter().filter_map(|it| it.header("webhook-id"));
        let ids: Vec<&str> = ids.filter(|id| id.starts_with(&format!("{key}-"))).collect();
        assert_eq!(ids, ["1", "2", "3"].map(|n| format!("{key}-{n}")));
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_key_blocks_itself_alone_and_who_waits_has_its_time() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::status(500), Reply::status(200)]);
    subscribe(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &LATER).await;
    emit(&database, &["a-1"]).await;
    receiver.wait_for(1).await;
    emit(&database, &["a-2", "b-1", "b-2", "b-3"]).await;
    wait_for(&receiver, "b-3").await;
    let times = "SELECT count(*) || ' ' || count(DISTINCT next_attempt_at) || ' ' || \
                 coalesce(bool_and(next_attempt_at BETWEEN now() + interval '30 min' AND now() + interval '2 h'), false) \
                 FROM outbox.deliveries WHERE status = 'pending'";
    database.wait_for(times, "2 1 true").await;
    assert_eq!((of(&receiver, "a"), of(&receiver, "b")), (vec![1], vec![1, 2, 3]));
    assert_eq!(database.text(BEHIND).await, "a-2");
    // Who cancels the first lets the second go.
    database.execute("SELECT outbox.cancel('a-1', 'one')").await;
    database.wait_until_idle().await;
    assert_eq!(of(&receiver, "a"), [1, 2]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_lets_the_next_one_go() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::status(500), Reply::status(500), Reply::status(200)]);
    subscribe(&database, "one", &receiver.url("/")).await;
    let soon = [("delivery.retry", "1s"), ("delivery.retry_scale", "0.2")];
    let daemon = TestDaemon::start_with(&database.url, &soon).await;
    emit(&database, &["a-1", "a-2"]).await;
    database.wait_until_idle().await;
    assert_eq!(of(&receiver, "a"), [1, 1, 2]);
    let ended = "SELECT string_agg(status, ' ' ORDER BY event_id) FROM outbox.deliveries";
    assert_eq!(database.text(ended).await, "exhausted delivered");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_daemon_is_fanning_out_is_waited_for() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe(&database, "one", &receiver.url("/")).await;
    database.execute("SELECT outbox.emit('other', '{}', id => 'b-1', key => 'b')").await;
    emit(&database, &["a-1"]).await;
    let other = connect(&database.url).await;
    other.batch_execute("BEGIN; DELETE FROM outbox.queue").await.expect("a batch");
    let daemon = TestDaemon::start(&database).await;
    emit(&database, &["a-2", "b-2", "c-1"]).await;
    wait_for(&receiver, "c-1").await;
    // They come after the look that follows each of them, too.
    emit(&database, &["c-2", "a-3"]).await;
    wait_for(&receiver, "c-2").await;
    database.wait_for(BEHIND, "a-2 a-3 b-2").await;
    assert_eq!(receiver.ids(), ["c-1", "c-2"]);
    other.batch_execute("ROLLBACK").await.expect("an end");
    database.wait_until_idle().await;
    // Nobody receives b-1, so its fan-out was the end of it.
    assert_eq!((of(&receiver, "a"), of(&receiver, "b")), (vec![1, 2, 3], vec![2]));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_event_waits_its_turn_and_goes_before_the_later_ones() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise([Reply::status(200), Reply::hold(&gate)]);
    subscribe(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    emit(&database, &["a-1"]).await;
    database.wait_until_idle().await;
    emit(&database, &["a-2", "a-3"]).await;
    receiver.wait_in_flight(1).await;
    assert_eq!(database.text("outbox.replay('a-1', 'one')").await, "true");
    database.wait_for(BEHIND, "a-1 a-3").await;
    gate.open();
    database.wait_until_idle().await;
    assert_eq!(of(&receiver, "a"), [1, 2, 1, 3]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_and_events_for_later_keep_their_place() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database.execute("SELECT outbox.pause('one')").await;
    database
        .execute(
            "SELECT outbox.emit('e', '{}', id => 'a-1', key => 'a', deliver_after => now() + interval '2 s')",
        )
        .await;
    emit(&database, &["a-2", "b-1", "b-2"]).await;
    database.wait_for(BEHIND, "a-2 b-2").await;
    assert_eq!(receiver.ids().len(), 0);
    database.execute("SELECT outbox.resume('one')").await;
    database.wait_until_idle().await;
    assert_eq!((of(&receiver, "a"), of(&receiver, "b")), (vec![1, 2], vec![1, 2]));
    let early = "SELECT count(*) FROM outbox.attempts a JOIN outbox.events e ON e.id = a.event_id \
                 WHERE a.started_at < (SELECT max(deliver_after) FROM outbox.events) AND e.key = 'a'";
    assert_eq!(database.text(early).await, "0");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_ends_and_begins_with_the_setting() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::status(500), Reply::status(200)]);
    subscribe(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &LATER).await;
    emit(&database, &["a-1"]).await;
    receiver.wait_for(1).await;
    emit(&database, &["a-2", "a-3"]).await;
    database.wait_for(BEHIND, "a-2 a-3").await;
    database.execute("UPDATE outbox.endpoints SET ordered = false").await;
    receiver.wait_for(3).await;
    database.wait_for("SELECT count(*) FROM outbox.work", "1").await;
    database.execute("UPDATE outbox.endpoints SET ordered = true").await;
    emit(&database, &["a-4", "b-1"]).await;
    wait_for(&receiver, "b-1").await;
    database.wait_for(BEHIND, "a-4").await;
    // An endpoint that is gone keeps nobody waiting.
    database.execute("SELECT outbox.unsubscribe('one')").await;
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_from_quarantine_goes_before_what_waits() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe(&database, "one", &receiver.url("/")).await;
    database
        .execute(
            "INSERT INTO outbox.event_types (type, schema) VALUES ('e', '{\"required\": [\"n\"]}')",
        )
        .await;
    let daemon = TestDaemon::start_with(&database.url, &[("events.validate", "reject")]).await;
    emit(&database, &["a-1"]).await;
    database.wait_for("SELECT count(*) FROM outbox.quarantine", "1").await;
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database
        .execute(
            "SELECT outbox.emit('e', '{\"n\": 1}', id => 'a-' || n, key => 'a') FROM generate_series(2, 3) n",
        )
        .await;
    // It waits for nobody's decision.
    receiver.wait_in_flight(1).await;
    database.execute("SELECT outbox.release('a-1')").await;
    database.wait_for(BEHIND, "a-1 a-3").await;
    gate.open();
    database.wait_until_idle().await;
    assert_eq!(of(&receiver, "a"), [2, 1, 3]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sets_and_shows_it() {
    let database = Database::new().await;
    let run = |args: &[&str]| {
        let output = harness::outboxd(&database.url, &[]).args(args).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ordered = || {
        let shown: Value =
            serde_json::from_str(&run(&["endpoints", "show", "one", "--json"])).expect("JSON");
        shown["ordered"].as_bool()
    };
    run(&["endpoints", "add", "--ordered", "https://example.com/", "--name", "one"]);
    assert_eq!(ordered(), Some(true));
    run(&["endpoints", "update", "one", "--description", "x"]);
    assert_eq!(ordered(), Some(true));
    run(&["endpoints", "update", "one", "--ordered=false"]);
    assert_eq!(ordered(), Some(false));
    database.execute("SELECT outbox.subscribe('https://example.com/', ordered => true)").await;
    database.execute("SELECT outbox.subscribe('https://example.com/')").await;
    assert_eq!(ordered(), Some(true));
    run(&["endpoints", "update", "one", "--unset", "ordered"]);
    assert_eq!(ordered(), Some(false));
}
