//! What people and applications can do to endpoints and deliveries.

use crate::harness::{Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_waits_and_goes_on() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database.execute("SELECT outbox.pause('one')").await;
    database.insert_many("a", 100).await;
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'pending'", "100")
        .await;
    assert_eq!(receiver.requests().len(), 0);
    database.execute("SELECT outbox.resume('one')").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 100);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_subscription_of_a_url_updates_the_first() {
    let database = Database::new().await;
    let call = |tenant: &str, events: &str| {
        format!(
            "outbox.subscribe('https://example.com/h', events => '{events}', tenant => '{tenant}')"
        )
    };
    let first = database.text(&call("acme", "{a}")).await;
    assert_eq!(database.text(&call("acme", "{b}")).await, first);
    assert_ne!(database.text(&call("globex", "{b}")).await, first);
    let events = format!("SELECT events FROM outbox.endpoints WHERE id = '{first}'");
    assert_eq!(database.text(&events).await, "{b}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_one_url_are_one_subscription() {
    let database = Database::new().await;
    for (one, others) in [
        (
            "https://example.com/",
            &["https://example.com", "HTTPS://EXAMPLE.com:443/#part", "https://example.com:0443"][..],
        ),
        ("http://example.com/A?q=B", &["http://Example.COM:80/A?q=B", "http://example.com:/A?q=B"]),
        ("http://example.com:8080/", &["http://example.com:8080", "http://EXAMPLE.com:8080/#"]),
        ("http://example.com:443/", &[]),
        ("https://example.com/?q", &["https://example.com?q", "https://example.com/?q#f?"]),
        ("https://example.com/a", &[]),
        ("https://example.com/a/", &[]),
        ("https://example.com/a%2F", &[]),
        ("https://U:P@example.com/", &["https://U:P@Example.com"]),
        ("https://u:p@example.com/", &[]),
        ("https://[2001:DB8::1]/", &["https://[2001:db8::1]:443"]),
        ("https://bücher.example/", &["HTTPS://bücher.example"]),
    ] {
        let subscribe = |url: &str| format!("outbox.subscribe('{url}', tenant => 'acme')");
        let before = database.text("SELECT count(*) FROM outbox.endpoints").await;
        let id = database.text(&subscribe(one)).await;
        let after = database.text("SELECT count(*) FROM outbox.endpoints").await;
        assert_ne!(before, after, "{one} is an endpoint of its own");
        for other in others {
            assert_eq!(database.text(&subscribe(other)).await, id, "{other} is {one}");
        }
    }
    // Whatever is in the table has a key, and the index holds URLs of any length.
    for url in ["''", "'no url'", "'http://'", "'https://x/' || repeat('long', 5000)"] {
        database.execute(&format!("INSERT INTO outbox.endpoints (url) VALUES ({url})")).await;
    }
    let plan = "EXPLAIN SELECT id FROM outbox.endpoints \
                WHERE outbox.url_key(url) = outbox.url_key('https://example.com')";
    database.execute("SET enable_seqscan = off").await;
    let plan = database.rows(plan, &[]).await;
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(plan.contains("endpoints_url"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_sets_what_it_names_and_leaves_the_rest() {
    let database = Database::new().await;
    let row =
        "SELECT concat_ws(' ', active, headers, timeout, retry, success) FROM outbox.endpoints";
    let url = "https://example.com/";
    database
        .execute(&format!(
            "SELECT outbox.subscribe('{url}', active => false, headers => '{{\"a\":\"b\"}}', \
             timeout => '3 s', retry => '1m', success => '200 409')"
        ))
        .await;
    assert_eq!(database.text(row).await, r#"f {"a":"b"} 00:00:03 1m 200 409"#);
    database.execute(&format!("SELECT outbox.subscribe('{url}', retry => '2m')")).await;
    assert_eq!(database.text(row).await, r#"t {"a":"b"} 00:00:03 2m 200 409"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_reaches_its_endpoint_alone_whatever_that_subscribes_to() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe_to("one", &receiver.url("/one"), "{order.*}").await;
    database.subscribe_to("all", &receiver.url("/all"), "{*}").await;
    let daemon = TestDaemon::start(&database).await;
    database.execute("SELECT outbox.send_test('one')").await;
    let requests = receiver.wait_for(1).await;
    database.wait_until_idle().await;
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/one"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_does_not_wait_behind_the_backlog_of_its_endpoint() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 2_000).await;
    receiver.wait_for(32).await;
    let test = database.text("outbox.send_test('one')").await;
    database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    gate.open();
    receiver.wait_for(2_001).await;
    let place = receiver.ids().iter().position(|id| *id == test);
    assert!(place.is_some_and(|place| place < 100), "{place:?}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_sends_the_same_bytes_again_under_the_next_number() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    let id = database.emit("a", r#"{"n":  1}"#).await;
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'", "1")
        .await;
    assert_eq!(database.text(&format!("outbox.replay('{id}', 'one')")).await, "true");
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    database.wait_until_idle().await;
    let shown = "SELECT string_agg(status || ' ' || attempts, ', ') FROM outbox.deliveries";
    assert_eq!(database.text(shown).await, "delivered 2");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_pending_delivery_and_one_in_flight() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    let id = database.emit("a", "{}").await;
    receiver.wait_in_flight(1).await;
    let status = "SELECT status FROM outbox.deliveries";
    assert_eq!(database.text(status).await, "in_flight");
    assert_eq!(database.text(&format!("outbox.cancel('{id}', 'one')")).await, "true");
    assert_eq!(database.text(status).await, "cancelled");
    gate.open();
    // The answer comes too late, and changes nothing; the request is in the books all the same.
    let lost = || async { daemon.get("/metrics").await.1.contains("outboxd_lost_leases_total 1") };
    while !lost().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.text(status).await, "cancelled");
    let attempts = "SELECT string_agg(attempt || ' ' || outcome, ',') FROM outbox.attempts";
    assert_eq!(database.text(attempts).await, "1 interrupted");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_an_endpoint_cancels_what_it_is_owed_and_keeps_its_history() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    let id = database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "1h")]).await;
    database.emit("a", "{}").await;
    database.wait_for("SELECT count(*) FROM outbox.attempts", "1").await;
    database.execute("SELECT outbox.unsubscribe('one')").await;
    let kept = "SELECT endpoint_id || ' ' || status FROM outbox.deliveries";
    assert_eq!(database.text(kept).await, format!("{id} cancelled"));
    database.subscribe("one", &receiver.url("/")).await;
    database.emit("b", "{}").await;
    receiver.wait_for(2).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_counts_the_last_hour() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise([Reply::status(500), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "10ms")]).await;
    database.insert_many("a", 3).await;
    database.wait_until_idle().await;
    let health = "SELECT delivered_1h || ' ' || failed_1h || ' ' || success_ratio_1h || ' ' || pending \
                  || ' ' || (last_success_at > last_failure_at - interval '1 minute') \
                  FROM outbox.endpoint_health";
    assert_eq!(database.text(health).await, "3 1 0.75 0 true");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paced_endpoint_gets_no_more_than_its_rate() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("UPDATE outbox.endpoints SET rate_per_second = 50").await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 60).await;
    let requests = receiver.wait_for(60).await;
    let took = requests[59].at - requests[0].at;
    assert!(took.as_secs_f64() > 0.9, "60 at 50 a second in {took:?}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_answer() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    database.emit("a", "{}").await;
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'", "1")
        .await;
    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"outboxd_delivery_attempts_total{endpoint="one",outcome="success"} 1"#,
        r#"outboxd_delivery_attempts_total{endpoint="one",outcome="tls"} 0"#,
        r#"outboxd_deliveries_finished_total{endpoint="one",result="delivered"} 1"#,
        "outboxd_first_attempt_delay_seconds_count 1",
        "outboxd_inflight_requests 0",
        concat!(
            r#"outboxd_build_info{revision="unknown",version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(daemon.get("/livez").await.0, 200);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_under_load_is_quiet_and_loses_nothing() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 300).await;
    receiver.wait_in_flight(32).await;
    database.execute("SELECT outbox.pause('one')").await;
    let noticed = r#"outboxd_endpoint_state{endpoint="one",state="paused"} 1"#;
    while !daemon.get("/metrics").await.1.contains(noticed) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let given_back = "SELECT count(*) FROM outbox.work WHERE holder IS NOT NULL";
    gate.open();
    database.wait_for(given_back, "0").await;
    // Whatever is still changed for a paused endpoint is changed again and again.
    let versions = "SELECT md5(string_agg(xmin::text, ',' ORDER BY event_seq)) FROM outbox.work";
    let before = database.text(versions).await;
    database.insert_many("b", 1).await;
    database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    let old = "SELECT md5(string_agg(xmin::text, ',' ORDER BY event_seq)) FROM outbox.work \
               WHERE event_seq <= 300";
    // That nothing happens has no event to wait for.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(database.text(old).await, before);
    database.execute("SELECT outbox.resume('one')").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 301);
    daemon.stop().await.expect("an orderly end");
}
