//! Rows with values that no schema of ours would have let in, and those it lets in.

use bytes::Bytes;

use super::{flows, scene, wait_for_state};
use crate::harness::Database;
use crate::receiver::{Receiver, Request};

/// An endpoint that is sent the bare payload.
async fn subscribe_bare(database: &Database, receiver: &Receiver) {
    let sql = format!(
        "SELECT outbox.subscribe('{}', name => 'bare', profile => 'github', secret => 'secret')",
        receiver.url("/bare")
    );
    database.execute(&sql).await;
}

/// What the bare endpoint got of an event.
fn bare(receiver: &Receiver, event: &str) -> Option<Bytes> {
    let requests = receiver.requests();
    let of_event =
        |request: &&Request| request.path == "/bare" && request.header("webhook-id") == Some(event);
    requests.iter().find(of_event).map(|request| request.body.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_choke_parsers_arrive_byte_for_byte() {
    let (database, receiver, daemon) = scene(&[]).await;
    subscribe_bare(&database, &receiver).await;
    let deep = format!("{}{}", "[".repeat(6_000), "]".repeat(6_000));
    let bomb = format!("[{}]", vec!["1e131071"; 9_000].join(","));
    for payload in [
        bomb.as_str(),
        &deep,
        r#""\u0000""#,
        r#"{"\u0000":"\u0000","lone":"\ud800","other":"\udc00","turned":"\udc00\ud800"}"#,
        r#"{"a":1,"a":2, "a" : 3}"#,
        " \t\n\r 12345678901234567890.000000000000000000000000000000001e-999999 \n",
        "-0",
        "1E+400",
        "\"\u{202e}\u{feff}\u{1f4a9}\u{7f}\u{80}\"",
        "null",
    ] {
        flows(&database, &receiver, &["/"]).await;
        let event = database.emit("odd", payload).await;
        flows(&database, &receiver, &["/"]).await;
        wait_for_state(&database, &event, "delivered, delivered").await;
        assert!(bare(&receiver, &event).is_some_and(|body| body == payload), "{payload:.99}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_and_what_is_too_deep_is_refused_at_the_insert() {
    let (database, receiver, daemon) = scene(&[]).await;
    let too_deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    for (payload, code) in [
        ("", "22P02"),
        ("{", "22P02"),
        ("{'a':1}", "22P02"),
        ("01", "22P02"),
        ("nan", "22P02"),
        ("[1,]", "22P02"),
        ("\"\u{1}\"", "22P02"),
        ("{} {}", "22P02"),
        (&too_deep, "54001"),
    ] {
        let sql = format!("SELECT outbox.emit('a', $json${payload}$json$)");
        let error = database.try_execute(&sql).await.expect_err(payload);
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{error:?}");
    }
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_clock_shows_end_in_quarantine_or_are_delivered() {
    let (database, receiver, daemon) = scene(&[]).await;
    database
        .execute(
            "ALTER TABLE outbox.events DROP CONSTRAINT events_created_at_range, \
             DROP CONSTRAINT events_deliver_after_range",
        )
        .await;
    for (column, time, expected) in [
        ("created_at", "infinity", "quarantined: the event cannot be read: "),
        ("created_at", "-infinity", "quarantined: the event cannot be read: "),
        ("created_at", "294276-12-31 23:59:59Z", "quarantined: the event cannot be read: "),
        ("created_at", "4713-01-01 00:00:00Z BC", "delivered"),
        ("deliver_after", "infinity", "quarantined: the event cannot be read: "),
        ("deliver_after", "-infinity", "quarantined: the event cannot be read: "),
        // A finite time is a time, however far: it is pending, and says until when.
        // Not the very last: the wait counts from the statement that reads it, a moment earlier.
        ("deliver_after", "294276-12-30 23:59:59Z", "pending"),
        ("deliver_after", "4713-01-01 00:00:00Z BC", "delivered"),
    ] {
        let event = format!("{column}_{}", time.replace([' ', ':'], "_"));
        database
            .execute(&format!(
                "INSERT INTO outbox.events (id, type, payload, {column}) VALUES ('{event}', 'odd', '{{}}', '{time}')"
            ))
            .await;
        flows(&database, &receiver, &["/"]).await;
        wait_for_state(&database, &event, expected).await;
    }
    let waits = "SELECT count(*) FROM outbox.deliveries WHERE status = 'pending' AND isfinite(next_attempt_at)";
    assert_eq!(database.text(waits).await, "1");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_tenants_and_ids_that_no_check_looked_at_are_delivered_or_ended_by_name() {
    let (database, receiver, daemon) = scene(&[]).await;
    database
        .execute(
            "ALTER TABLE outbox.events DROP CONSTRAINT events_type_name, DROP CONSTRAINT events_id_printable, \
             DROP CONSTRAINT events_tenant_size, DROP CONSTRAINT events_key_size",
        )
        .await;
    for (columns, expected) in [
        ("'empty', '', ''", "delivered"),
        ("'long', repeat('x', 10000), repeat('t', 100000)", "delivered"),
        ("'lines', E'a\\r\\nX-Evil: 1', E'b\\r\\nc'", "delivered"),
        ("'emoji', '💩\u{202e}.*', '💩'", "delivered"),
        // These are to be a header, and cannot be one.
        ("E'i\\r\\nX-Evil: 1', 'a', NULL", "exhausted: nothing was sent: "),
        ("'💩', 'a', NULL", "exhausted: nothing was sent: "),
        ("E'\\x01', 'a', NULL", "exhausted: nothing was sent: "),
    ] {
        let sql = format!(
            "WITH bad AS (INSERT INTO outbox.events (id, type, tenant, payload) \
             SELECT v.*, '{{}}' FROM (VALUES ({columns})) AS v (id, type, tenant) RETURNING id) SELECT id FROM bad"
        );
        let event: String = database.rows(&sql, &[]).await[0].get(0);
        flows(&database, &receiver, &["/"]).await;
        wait_for_state(&database, &event, expected).await;
    }
    assert!(receiver.requests().iter().all(|request| request.header("x-evil").is_none()));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_beyond_the_check_are_sent_up_to_16_mib_and_ended_by_name_above() {
    let (database, receiver, daemon) = scene(&[]).await;
    subscribe_bare(&database, &receiver).await;
    database.execute("ALTER TABLE outbox.events DROP CONSTRAINT events_payload_size").await;
    let of = |bytes: usize| {
        format!("outbox.emit('large', ('\"' || repeat('x', {bytes} - 2) || '\"')::json)")
    };
    let sent = database.text(&of(16 * 1024 * 1024)).await;
    let refused = database.text(&of(20_000_000)).await;
    flows(&database, &receiver, &["/"]).await;
    wait_for_state(&database, &sent, "delivered, delivered").await;
    assert_eq!(bare(&receiver, &sent).expect("its request").len(), 16 * 1024 * 1024);
    let found = wait_for_state(&database, &refused, "exhausted: ").await;
    assert!(found.contains("20000000 bytes; 16777216 are the most"), "{found}");
    assert_eq!(bare(&receiver, &refused), None);
    daemon.stop().await.expect("an orderly end");
}
