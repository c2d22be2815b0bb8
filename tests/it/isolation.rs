//! What endpoints that fail, hang or ask for less do to themselves, and not to others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::harness::{Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// How many requests arrived at a path so far.
fn arrived(receiver: &Receiver, path: &str) -> usize {
    receiver.requests().iter().filter(|request| request.path == path).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_receiver_asks_for_holds_for_all_that_is_sent_to_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.on("/busy", [Reply::status(429).header("retry-after", "2"), Reply::status(200)]);
    for name in ["busy", "other"] {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "1").await;
    database.wait_for("SELECT count(*) FROM outbox.attempts", "2").await;
    let asked = Instant::now();
    database.insert_many("b", 10).await;
    receiver.wait_until(|seen| seen.iter().filter(|it| it.path == "/other").count() == 11).await;
    assert_eq!(arrived(&receiver, "/busy"), 1, "what came since waits too");
    receiver.wait_until(|seen| seen.iter().filter(|it| it.path == "/busy").count() > 1).await;
    assert!(asked.elapsed() > Duration::from_millis(1800), "{:?}", asked.elapsed());
    database.wait_until_idle().await;
    assert_eq!(arrived(&receiver, "/busy"), 12);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_overloaded_gets_fewer_requests_at_once() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let (refusing, taking) = (receiver.gate(), receiver.gate());
    let mut script = vec![Reply::status(429).held_by(&refusing); 16];
    script.push(Reply::hold(&taking));
    receiver.otherwise(script);
    database.subscribe("one", &receiver.url("/")).await;
    let settings = [("delivery.max_in_flight_per_endpoint", "16"), ("delivery.retry", "10ms*")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.insert_many("a", 100).await;
    receiver.wait_in_flight(16).await;
    refusing.open();
    // Half as many as were refused, and no more of them while none of these ends.
    receiver.wait_for(16 + 8).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((receiver.requests().len(), receiver.in_flight()), (16 + 8, 8));
    // One more for each window of replies: nine make a little more than one of them.
    taking.release(9);
    receiver.wait_for(16 + 8 + 10).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((receiver.requests().len(), receiver.in_flight()), (16 + 8 + 10, 9));
    taking.open();
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_take_no_slot_from_one_that_answers() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let mut hanging = Vec::new();
    for n in 0..24 {
        receiver.on(&format!("/hang{n}"), Reply::hang());
        hanging.push(format!("hang{n}"));
    }
    for name in hanging.iter().map(String::as_str).chain(["well"]) {
        database.subscribe(name, &receiver.url(&format!("/{name}"))).await;
    }
    // As few slots as 24 endpoints of 32 requests each would fill many times.
    let settings =
        [("delivery.max_in_flight", "64"), ("delivery.max_in_flight_per_endpoint", "32")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.insert_many("a", 100).await;
    let well = |seen: &[crate::receiver::Request]| {
        seen.iter().filter(|request| request.path == "/well").count()
    };
    receiver.wait_until(|seen| well(seen) == 100).await;
    let begun = Instant::now();
    database.insert_many("b", 100).await;
    receiver.wait_until(|seen| well(seen) == 200).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut per_path: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests() {
        *per_path.entry(request.path).or_default() += 1;
    }
    let hung: usize = hanging.iter().filter_map(|name| per_path.get(&format!("/{name}"))).sum();
    assert!(hung <= 32, "{hung} hang; one half of the slots is for the others");
    drop(receiver);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_opens_probes_and_closes_again_and_nothing_is_lost() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    let sick = database.subscribe("sick", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "100ms*")]).await;
    database.insert_many("a", 50).await;
    let state =
        |open: u8| format!("outboxd_endpoint_state{{endpoint=\"sick\",state=\"open\"}} {open}\n");
    let show = async |wanted: String| {
        let begun = Instant::now();
        while !daemon.get("/metrics").await.1.contains(&wanted) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    show(state(1)).await;
    let before = receiver.requests().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let probes = receiver.requests().len() - before;
    assert!((1..=3).contains(&probes), "{probes} probes in three seconds");
    let used = "SELECT max(failures) FROM outbox.work";
    let failures = database.text(used).await;
    // A test send goes through all the same, and tells that the receiver is well again.
    receiver.otherwise(Reply::status(200));
    database.execute("SELECT outbox.send_test('sick')").await;
    show(state(0)).await;
    database.wait_until_idle().await;
    let ends = "SELECT string_agg(DISTINCT status, ' ') FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, "delivered", "{sick}, {failures} failures at most");
    daemon.stop().await.expect("an orderly end");
}

/// Fails at one of the paths, and answers at the others.
async fn subscribe_failing(database: &Database, receiver: &Receiver, count: usize) {
    for n in 0..count {
        let path = format!("/failing{n}");
        receiver.on(&path, Reply::status(500));
        database.subscribe_to(&format!("failing{n}"), &receiver.url(&path), "{a}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_nothing_for_long_is_paused_reported_probed_and_resumed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe_failing(&database, &receiver, 1).await;
    database.subscribe_to("watch", &receiver.url("/watch"), "{outboxd.*}").await;
    let settings = [
        ("delivery.retry", "200ms*"),
        ("delivery.pause_after", "3s"),
        ("delivery.retry_scale", "0.02"),
    ];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.insert_many("a", 3).await;
    let state = "SELECT state || ' ' || auto_paused FROM outbox.endpoints WHERE name = 'failing0'";
    database.wait_for(state, "paused true").await;
    let reason = "SELECT state_reason FROM outbox.endpoints WHERE name = 'failing0'";
    let reason = database.text(reason).await;
    assert!(reason.starts_with("paused by outboxd: it has taken nothing since 2"), "{reason}");
    assert_eq!(database.text("SELECT count(*) FROM outbox.work WHERE endpoint = 1").await, "3");
    let reports = receiver.wait_until(|seen| seen.iter().any(|it| it.path == "/watch")).await;
    let report = reports.iter().find(|request| request.path == "/watch").expect("the report");
    let report: serde_json::Value = serde_json::from_slice(&report.body).expect("JSON");
    assert_eq!(report["type"], "outboxd.endpoint.paused");
    assert_eq!(report["data"]["endpoint_name"], "failing0");
    // 10 minutes, scaled to 12 s: the next probe finds it well.
    receiver.on("/failing0", Reply::status(200));
    database.wait_for(state, "active false").await;
    database.wait_until_idle().await;
    let ends = "SELECT string_agg(DISTINCT status, ' ') FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, "delivered");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_most_endpoints_fail_together_nobody_is_paused_or_disabled() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe_failing(&database, &receiver, 6).await;
    database.subscribe_to("gone", &receiver.url("/gone"), "{b}").await;
    receiver.on("/gone", [Reply::status(410), Reply::status(200)]);
    let settings = [("delivery.retry", "100ms*"), ("delivery.pause_after", "1s")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.insert_many("a", 2).await;
    let noted = "SELECT count(*) FROM outbox.endpoint_failures \
                 WHERE since < now() - interval '3 seconds'";
    database.wait_for(noted, "6").await;
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("outboxd_endpoints_failing_together 1\n"), "it says so");
    database.emit("b", "{}").await;
    let end = "SELECT status || ' ' || attempts FROM outbox.deliveries WHERE event_type = 'b'";
    database.wait_for(end, "delivered 2").await;
    let states = "SELECT string_agg(DISTINCT state, ' ') FROM outbox.endpoints";
    assert_eq!(database.text(states).await, "active");
    // One that is well again, and then another: now it is not most of them any more.
    for n in 0..3 {
        receiver.on(&format!("/failing{n}"), Reply::status(200));
    }
    let paused = "SELECT count(*) FROM outbox.endpoints WHERE state = 'paused'";
    database.wait_for(paused, "3").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_reported_once_to_those_who_asked_and_never_about_reports() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.on("/dead", Reply::status(500));
    receiver.on("/deaf", Reply::status(500));
    database.subscribe_to("dead", &receiver.url("/dead"), "{a}").await;
    database.subscribe_to("deaf", &receiver.url("/deaf"), "{outboxd.*}").await;
    database.subscribe_to("watch", &receiver.url("/watch"), "{outboxd.delivery.exhausted}").await;
    database.subscribe_to("all", &receiver.url("/all"), "{*}").await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "10ms")]).await;
    let id = database.emit("a", "{}").await;
    receiver.wait_until(|seen| seen.iter().any(|request| request.path == "/watch")).await;
    database.wait_until_idle().await;
    let requests = receiver.requests();
    let reports: Vec<_> = requests.iter().filter(|request| request.path == "/watch").collect();
    assert_eq!(reports.len(), 1, "the report that nobody took is not reported");
    let report: serde_json::Value = serde_json::from_slice(&reports[0].body).expect("JSON");
    assert_eq!(report["type"], "outboxd.delivery.exhausted");
    assert_eq!(report["data"]["event_id"], *id);
    assert_eq!(report["data"]["attempts"], 2);
    assert_eq!(report["data"]["last_outcome"], "http_5xx");
    assert_eq!(arrived(&receiver, "/all"), 1, "* is for the application's own events");
    assert_eq!(arrived(&receiver, "/deaf"), 2);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_to_be_left_alone_is_reported() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.on("/gone", Reply::status(410));
    database.subscribe_to("gone", &receiver.url("/gone"), "{a}").await;
    database.subscribe_to("watch", &receiver.url("/watch"), "{outboxd.endpoint.*}").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    let seen = receiver.wait_until(|seen| seen.iter().any(|it| it.path == "/watch")).await;
    let report = seen.iter().find(|request| request.path == "/watch").expect("the report");
    let report: serde_json::Value = serde_json::from_slice(&report.body).expect("JSON");
    assert_eq!(report["type"], "outboxd.endpoint.disabled");
    assert_eq!(report["data"]["reason"], "the receiver answered 410 Gone");
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
}
