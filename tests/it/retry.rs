//! When a failed delivery is tried again, and when no more.

use crate::harness::{Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

#[tokio::test(flavor = "multi_thread")]
async fn the_default_schedule_makes_ten_attempts_and_then_ends_exhausted() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon =
        TestDaemon::start_with(&database.url, &[("delivery.retry_scale", "0.000001")]).await;
    let id = database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let status = "SELECT status || ' ' || attempts || ' ' || last_outcome || ' ' || last_status \
                  FROM outbox.deliveries";
    assert_eq!(database.text(status).await, "exhausted 10 http_5xx 500");
    assert_eq!(receiver.ids(), vec![id; 10]);
    let numbers = "SELECT string_agg(attempt::text, ' ' ORDER BY started_at) FROM outbox.attempts";
    assert_eq!(database.text(numbers).await, "1 2 3 4 5 6 7 8 9 10");
    // The bytes are the same every time.
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_is_visible_and_spread() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(503));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "100s")]).await;
    database.insert_many("a", 50).await;
    let waiting =
        "SELECT count(*) FROM outbox.deliveries WHERE status = 'pending' AND attempts = 1";
    database.wait_for(waiting, "50").await;
    let spread = "SELECT min(wait) >= 79 AND max(wait) <= 121 AND max(wait) - min(wait) > 10 FROM \
                  (SELECT extract(epoch FROM next_attempt_at - started_at) AS wait \
                   FROM outbox.deliveries JOIN outbox.attempts USING (event_id)) w";
    assert_eq!(database.text(spread).await, "true");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_and_capped() {
    for (status, asked, low, high) in [
        (429, "30", 29.0, 31.0),
        (503, "30", 29.0, 31.0),
        (502, "30", 29.0, 31.0),
        (504, "30", 29.0, 31.0),
        (429, "100000", 49.0, 51.0),
        // Not one of the statuses that may ask, or nothing that can be read: the schedule.
        (500, "30", 7.0, 13.0),
        (429, "soon", 7.0, 13.0),
    ] {
        let (database, receiver) = (Database::new().await, Receiver::start());
        receiver.otherwise(Reply::status(status).header("retry-after", asked));
        database.subscribe("one", &receiver.url("/")).await;
        let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "10s 50s")]).await;
        database.emit("a", "{}").await;
        database.wait_for("SELECT count(*) FROM outbox.attempts", "1").await;
        let wait = "SELECT extract(epoch FROM next_attempt_at - started_at) \
                    FROM outbox.deliveries JOIN outbox.attempts USING (event_id)";
        let wait: f64 = database.text(wait).await.parse().expect("a number");
        assert!((low..high).contains(&wait), "{status} {asked}: {wait}");
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_disables_the_endpoint_and_what_it_was_owed_can_be_replayed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::status(500), Reply::status(410), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("UPDATE outbox.endpoints SET max_in_flight = 1").await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "1h")]).await;
    database.emit("a", "{}").await;
    database.wait_for("SELECT count(*) FROM outbox.attempts", "1").await;
    database.emit("b", "{}").await;
    database.wait_for("SELECT state FROM outbox.endpoints", "disabled").await;
    database.wait_until_idle().await;
    let ends = "SELECT string_agg(event_type || ' ' || status, ', ' ORDER BY event_type) \
                FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, "a cancelled, b exhausted");
    // Nothing new is owed to it.
    database.emit("c", "{}").await;
    database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    assert_eq!(database.text("SELECT count(*) FROM outbox.work").await, "0");
    database.execute("SELECT outbox.resume('one')").await;
    assert_eq!(database.text("outbox.replay_failed('one')").await, "2");
    database.wait_until_idle().await;
    assert_eq!(database.text(ends).await, "a delivered, b delivered");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_have_its_own_schedule_and_deadline() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::hang());
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("UPDATE outbox.endpoints SET retry = '10ms 10ms', timeout = '200 ms'").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let ends = "SELECT status || ' ' || attempts || ' ' || last_outcome FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, "exhausted 3 timeout_response");
    let slowest = "SELECT max(duration_ms) < 1000 FROM outbox.attempts";
    assert_eq!(database.text(slowest).await, "true");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_end_a_message_or_the_subscription_by_a_header() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let directive = |status, value| Reply::status(status).header("webhook-delivery", value);
    receiver.on("/abort", directive(500, "abort-message"));
    receiver.on("/disable", directive(200, "disable"));
    for name in ["abort", "disable"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    let state = "SELECT state || ': ' || state_reason FROM outbox.endpoints WHERE name = 'disable'";
    let disabled = "disabled: the receiver answered webhook-delivery: disable";
    database.wait_for(state, disabled).await;
    database.wait_until_idle().await;
    let ends = "SELECT string_agg(endpoint_name || ' ' || status || ' ' || attempts, ', ' \
                ORDER BY endpoint_name) FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, "abort exhausted 1, disable delivered 1");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_counts_from_the_insert_whatever_the_event_says() {
    let database = Database::new().await;
    let old = "INSERT INTO outbox.events (id, type, payload, created_at) \
               VALUES ('new', 'a', '{}', '2024-01-20T14:30:00Z'), ('old', 'a', '{}', now())";
    database.execute(old).await;
    let aged = "UPDATE outbox.events SET inserted_at = now() - interval '2 hours' WHERE id = 'old'";
    database.execute(aged).await;
    database.execute("DELETE FROM outbox.queue").await;
    let daemon = TestDaemon::start_with(&database.url, &[("retention.events", "1h")]).await;
    database.wait_for("SELECT string_agg(id, ',') FROM outbox.events", "new").await;
    daemon.stop().await.expect("an orderly end");
}
