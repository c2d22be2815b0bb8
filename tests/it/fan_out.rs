//! Which events reach which endpoints, exactly once.

use std::collections::HashSet;

use crate::harness::{Database, TestDaemon};
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn an_inserted_event_arrives() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let daemon = TestDaemon::start(&database).await;
    database.subscribe("one", &receiver.url("/hook")).await;
    let id = database.emit("conversion.created", r#"{"order_id":  "789"}"#).await;
    let requests = receiver.wait_for(1).await;
    assert_eq!(requests[0].header("webhook-id"), Some(id.as_str()));
    database.wait_until_idle().await;
    let delivered =
        "SELECT status || ' ' || attempts || ' ' || last_outcome FROM outbox.deliveries";
    assert_eq!(database.text(delivered).await, "delivered 1 success");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_tenants_and_live_decide_who_receives() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let url = |path: &str| receiver.url(path);
    database.subscribe_to("exact", &url("/exact"), "{payout.sent}").await;
    database.subscribe_to("prefix", &url("/prefix"), "{payout.*}").await;
    database.subscribe_to("all", &url("/all"), "{*}").await;
    database.subscribe_to("other", &url("/other"), "{order.*}").await;
    database
        .execute(&format!(
            "SELECT outbox.subscribe('{}', tenant => 'acme', name => 'acme');
             SELECT outbox.subscribe('{}', live => true, name => 'live');
             SELECT outbox.subscribe('{}', live => false, name => 'test');
             SELECT outbox.subscribe('{}', name => 'inactive');
             UPDATE outbox.endpoints SET active = false WHERE name = 'inactive';",
            url("/acme"),
            url("/live"),
            url("/test"),
            url("/inactive")
        ))
        .await;
    database
        .execute(
            "SELECT outbox.emit('payout.sent', '{}', id => 'a');
             SELECT outbox.emit('payout.failed', '{}', id => 'b', tenant => 'acme');
             SELECT outbox.emit('payout', '{}', id => 'c', tenant => 'globex');
             SELECT outbox.emit('payout.sent.late', '{}', id => 'd', live => false);",
        )
        .await;
    let daemon = TestDaemon::start(&database).await;
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'", "13")
        .await;
    let mut got: Vec<String> = receiver
        .requests()
        .iter()
        .map(|r| format!("{}{}", r.path, r.header("webhook-id").unwrap_or_default()))
        .collect();
    got.sort();
    let expected = [
        "/acmeb", "/alla", "/allb", "/allc", "/alld", "/exacta", "/livea", "/liveb", "/livec",
        "/prefixa", "/prefixb", "/prefixd", "/testd",
    ];
    assert_eq!(got, expected);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_daemons_deliver_each_event_once() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("a", &receiver.url("/a")).await;
    database.subscribe("b", &receiver.url("/b")).await;
    let mut daemons = Vec::new();
    for _ in 0..3 {
        daemons.push(TestDaemon::start(&database).await);
    }
    for _ in 0..20 {
        database.insert_many("order.created", 50).await;
    }
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'", "2000")
        .await;
    let seen: HashSet<String> = receiver
        .requests()
        .iter()
        .map(|r| format!("{} {}", r.path, r.header("webhook-id").unwrap_or_default()))
        .collect();
    assert_eq!((seen.len(), receiver.requests().len()), (2000, 2000));
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_committed_before_an_event_receives_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    // One connection is enough, although the endpoints are loaded in the middle of a batch.
    let settings = [("database.pool_size", "1")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    daemon.wait_until_ready().await;
    // The daemon polls all the while: without the revision in the snapshot some would be missed.
    for n in 0..30 {
        let path = format!("/{n}");
        database
            .execute(&format!(
                "SELECT outbox.subscribe('{}', events => '{{kind.{n}}}', name => 'e{n}')",
                receiver.url(&path)
            ))
            .await;
        database.emit(&format!("kind.{n}"), "{}").await;
    }
    receiver.wait_for(30).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_is_never_sent() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database
        .execute(
            "BEGIN; SELECT outbox.emit('a', '{}', id => 'ghost'); ROLLBACK;
             BEGIN; SELECT outbox.emit('a', '{}', id => 'kept');
             SAVEPOINT s; SELECT outbox.emit('a', '{}', id => 'undone'); ROLLBACK TO s; COMMIT;
             SELECT outbox.emit('a', '{}', id => 'last')",
        )
        .await;
    database
        .wait_for("SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'", "2")
        .await;
    let mut ids = receiver.ids();
    ids.sort();
    assert_eq!(ids, ["kept", "last"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_number_that_commits_late_does_not_wait() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    let slow = crate::harness::connect(&database.url).await;
    slow.batch_execute("BEGIN; SELECT outbox.emit('a', '{}', id => 'early')").await.expect("open");
    database.execute("SELECT outbox.emit('a', '{}', id => 'late')").await;
    receiver.wait_for(1).await;
    slow.batch_execute("COMMIT").await.expect("committed");
    receiver.wait_for(2).await;
    assert_eq!(receiver.ids(), ["late", "early"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_does_not_hold_up_the_others() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe_to("bulk", &receiver.url("/bulk"), "{bulk}").await;
    database.subscribe_to("trickle", &receiver.url("/trickle"), "{trickle}").await;
    // The bulk receiver takes nothing: what it is owed has to wait in the database.
    let gate = receiver.gate();
    receiver.on("/bulk", crate::receiver::Reply::hold(&gate));
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("bulk", 20_000).await;
    for n in 0..20 {
        database.emit("trickle", "{}").await;
        let trickled = |r: &crate::receiver::Request| r.path == "/trickle";
        receiver.wait_until(|all| all.iter().filter(|r| trickled(r)).count() > n).await;
    }
    let held = receiver.requests().iter().filter(|r| r.path == "/bulk").count();
    assert_eq!(held, 32, "the cap of the endpoint");
    gate.open();
    database.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 20_020);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliver_after_is_waited_for() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    database
        .execute(
            "SELECT outbox.emit('a', '{}', id => 'later', deliver_after => now() + interval '1 s');
             SELECT outbox.emit('a', '{}', id => 'past', deliver_after => now() - interval '1 s')",
        )
        .await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(receiver.ids(), ["past", "later"]);
    let early = "SELECT count(*) FROM outbox.attempts a JOIN outbox.events e ON e.id = a.event_id \
                 WHERE a.started_at < e.deliver_after";
    database.wait_until_idle().await;
    assert_eq!((database.text(early).await.as_str(), requests.len()), ("0", 2));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_are_there_already_do_not_block_a_batch() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("SELECT outbox.emit('a', '{}', id => 'x')").await;
    // A replay leaves to fan-out what fan-out has not seen.
    assert_eq!(database.text("outbox.replay('x', 'one')").await, "false");
    // Nothing of ours would make this row; a hand might, and it may come to its end only later.
    database
        .execute(
            "INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at) \
             SELECT seq, 1, now() + interval '1 s', now() FROM outbox.events",
        )
        .await;
    database.execute("SELECT outbox.emit('a', '{}', id => 'y')").await;
    let daemon = TestDaemon::start(&database).await;
    database.wait_until_idle().await;
    let mut ids = receiver.ids();
    ids.sort();
    assert_eq!(ids, ["x", "y"]);
    daemon.stop().await.expect("an orderly end");
}
