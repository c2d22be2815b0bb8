//! What endpoints that change, and those who change them, do to the events of others: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Database, TestDaemon, connect};
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_that_changes_endpoints_holds_up_nobody() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    let application = connect(&database.url).await;
    let open = "BEGIN; SELECT outbox.subscribe('https://example.com/a')";
    application.batch_execute(open).await.expect("an open transaction");
    let id = database.emit("a", "{}").await;
    assert_eq!(receiver.wait_for(1).await[0].header("webhook-id"), Some(id.as_str()));
    application.batch_execute("COMMIT").await.expect("an end");
    // Now the daemon has something to write, and may not.
    let unkeyed = "BEGIN; INSERT INTO outbox.endpoints (name, url) VALUES ('b', 'https://example.com/b'); \
                   COMMIT; BEGIN; UPDATE outbox.endpoints SET description = 'x' WHERE name = 'b'";
    application.batch_execute(unkeyed).await.expect("an open transaction");
    let id = database.emit("a", "{}").await;
    assert_eq!(receiver.wait_for(2).await[1].header("webhook-id"), Some(id.as_str()));
    let secrets = "SELECT count(*) FROM outbox.secrets s JOIN outbox.endpoints p ON p.id = s.endpoint_id \
                   WHERE p.name = 'b'";
    application.batch_execute("COMMIT").await.expect("an end");
    database.wait_for(secrets, "1").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_change_all_the_time_do_not_starve_events() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    database
        .execute(
            "INSERT INTO outbox.endpoints (name, url, active) \
             SELECT 'e' || n, 'https://example.com/' || n, false FROM generate_series(1, 3000) n",
        )
        .await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    let done = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn({
        let (url, done) = (database.url.clone(), done.clone());
        async move {
            let client = connect(&url).await;
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let sql = "UPDATE outbox.endpoints SET description = now()::text WHERE name = 'e1'";
                client.batch_execute(sql).await.expect("a change");
                count += 1;
            }
            count
        }
    });
    for _ in 0..5 {
        database.emit("a", "{}").await;
    }
    receiver.wait_for(5).await;
    done.store(true, Ordering::Relaxed);
    assert!(changes.await.expect("no panic") > 0);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_daemons_one_gives_an_endpoint_its_secret() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let daemons = [TestDaemon::start(&database).await, TestDaemon::start(&database).await];
    for daemon in &daemons {
        daemon.wait_until_ready().await;
    }
    for n in 0..40 {
        let url = receiver.url(&format!("/{n}"));
        let sql = format!("INSERT INTO outbox.endpoints (name, url) VALUES ('e{n}', '{url}')");
        database.execute(&sql).await;
    }
    database
        .execute(
            "INSERT INTO outbox.endpoints (name, url, events) \
             SELECT 'x' || n, 'https://example.com/' || n, '{none}' FROM generate_series(1, 1200) n",
        )
        .await;
    database.wait_for("SELECT count(DISTINCT endpoint_id) FROM outbox.secrets", "1240").await;
    assert_eq!(database.text("SELECT count(*) FROM outbox.secrets").await, "1240");
    database.emit("a", "{}").await;
    let requests = receiver.wait_for(40).await;
    let signed_once = |signature: &str| signature.matches("v1,").count() == 1;
    assert!(
        requests
            .iter()
            .all(|request| { request.header("webhook-signature").is_some_and(signed_once) })
    );
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_daemon_took_for_invalid_is_judged_again_when_it_has_gone() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let right = TestDaemon::start(&database).await;
    right.wait_until_ready().await;
    // One that may not deliver to this address.
    let wrong = TestDaemon::start_with(&database.url, &[("delivery.allow", "")]).await;
    database.wait_for("SELECT state FROM outbox.endpoints", "invalid").await;
    // The right one has seen that it is not alone.
    let met = "SELECT min(seen_at) > max(started_at) AND count(*) = 2 FROM outbox.instances";
    database.wait_for(met, "true").await;
    wrong.stop().await.expect("an orderly end");
    database.wait_for("SELECT state FROM outbox.endpoints", "active").await;
    database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    right.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_mends_is_mended_even_if_somebody_holds_a_lock_meanwhile() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.allow", "")]).await;
    database.wait_for("SELECT state FROM outbox.endpoints", "invalid").await;
    let application = connect(&database.url).await;
    let open = "BEGIN; SELECT outbox.subscribe('https://example.com/a')";
    application.batch_execute(open).await.expect("an open transaction");
    daemon.reconfigure(&database.url, &[]).await;
    // The daemon has tried, and could not.
    let none = "outboxd_db_errors_total{kind=\"conflict\"} 0";
    while daemon.get("/metrics").await.1.contains(none) {
        tokio::task::yield_now().await;
    }
    application.batch_execute("COMMIT").await.expect("an end");
    database.wait_for("SELECT state FROM outbox.endpoints WHERE name = 'one'", "active").await;
    database.emit("a", "{}").await;
    receiver.wait_for(1).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_signs_as_soon_as_the_one_before_it_has_expired() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let url = receiver.url("/");
    database.execute("SELECT outbox.set_tenant_secret('acme', 'tenant key')").await;
    let subscribe = format!(
        "SELECT outbox.subscribe('{url}', tenant => 'acme', profile => 'sparkloop', secret => 'own', \
         name => 'one')"
    );
    database.execute(&subscribe).await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    database
        .execute(
            "UPDATE outbox.secrets SET expires_at = clock_timestamp() + interval '1 second' \
             WHERE endpoint_id IS NOT NULL",
        )
        .await;
    let expired = "SELECT count(*) FROM outbox.signing_secrets WHERE secret = 'tenant key'";
    database.wait_for(expired, "1").await;
    // Noticed in a moment, and not when the expired one is swept.
    for sent in 1.. {
        database.execute("SELECT outbox.emit('a', '{}', tenant => 'acme')").await;
        let requests = receiver.wait_for(sent).await;
        match requests[sent - 1].header("sparkloop-token") {
            Some("tenant key") => break,
            token => assert_eq!((token, sent < 200), (Some("own"), true)),
        }
    }
    daemon.stop().await.expect("an orderly end");
}
