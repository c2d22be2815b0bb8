//! What the catalogue does: checking events, quarantine, samples.

use std::process::Stdio;
use std::time::Duration;

use outboxd::store::Store;

use crate::harness::{self, Database, PATIENCE, TestDaemon};
use crate::receiver::{Receiver, Request};

pub(crate) const HELD: &str = "SELECT coalesce(string_agg(event_id, ',' ORDER BY event_id), '') \
                    FROM outbox.quarantined_events";

/// Orders have an integer `n`.
pub(crate) async fn with_schema() -> Database {
    let database = Database::new().await;
    set_schema(
        &database,
        "order",
        r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#,
    )
    .await;
    database
}

pub(crate) async fn set_schema(database: &Database, event_type: &str, schema: &str) {
    let sql = format!(
        "INSERT INTO outbox.event_types (type, schema) VALUES ('{event_type}', '{schema}') \
         ON CONFLICT (type) DO UPDATE SET schema = excluded.schema"
    );
    database.execute(&sql).await;
}

pub(crate) async fn emit(database: &Database, id: &str, payload: &str) {
    database.execute(&format!("SELECT outbox.emit('order', '{payload}', id => '{id}')")).await;
}

pub(crate) async fn start(database: &Database, validate: &str) -> TestDaemon {
    TestDaemon::start_with(&database.url, &[("events.validate", validate)]).await
}

/// Waits until a metric has this value.
pub(crate) async fn wait_for_metric(daemon: &TestDaemon, line: &str) {
    let reached = async {
        while !daemon.get("/metrics").await.1.lines().any(|found| found == line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "never: {line}");
}

pub(crate) fn body(request: &Request) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

fn sorted(receiver: &Receiver) -> Vec<String> {
    let mut ids = receiver.ids();
    ids.sort();
    ids
}

pub(crate) fn run(database: &Database, args: &[&str]) -> (Option<i32>, String, String) {
    let output = harness::outboxd(&database.url, &[]).args(args).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn warn_counts_and_delivers() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "warn").await;
    daemon.wait_until_ready().await;
    let zero = r#"outboxd_events_invalid_total{action="warn"} 0"#;
    assert!(daemon.get("/metrics").await.1.contains(zero), "it starts at zero");
    emit(&database, "bad", r#"{"n": "text"}"#).await;
    emit(&database, "good", r#"{"n": 1}"#).await;
    receiver.wait_for(2).await;
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="warn"} 1"#).await;
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="reject"} 0"#).await;
    assert_eq!(sorted(&receiver), ["bad", "good"]);
    assert_eq!(database.text(HELD).await, "");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_holds_back_visibly_while_the_rest_of_the_transaction_flows() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    database
        .execute(
            r#"BEGIN;
            SELECT outbox.emit('order', '{"n": 1}', id => 'good');
            SELECT outbox.emit('order', '{"n": "secret-value"}', id => 'bad', tenant => 'acme');
            SELECT outbox.emit('other', '{"n": "text"}', id => 'unchecked');
            COMMIT"#,
        )
        .await;
    receiver.wait_for(2).await;
    database.wait_until_idle().await;
    assert_eq!(sorted(&receiver), ["good", "unchecked"]);
    let seen = "SELECT concat_ws(' ', event_id, event_type, tenant, reason) \
                FROM outbox.quarantined_events";
    let expected = r#"bad order acme /n: does not match type "integer""#;
    assert_eq!(database.text(seen).await, expected);
    let deliveries = "SELECT count(*) FROM outbox.deliveries WHERE event_id = 'bad'";
    assert_eq!(database.text(deliveries).await, "0");
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="reject"} 1"#).await;
    wait_for_metric(&daemon, "outboxd_events_quarantined 1").await;
    // Those who may read no payload may see what is held back.
    database.execute("SET ROLE outbox_reader").await;
    assert_eq!(database.text(HELD).await, "bad");
    assert!(database.try_execute("SELECT outbox.release('bad')").await.is_err());
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn release_delivers_the_same_bytes_and_discard_nothing() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    emit(&database, "bad", r#"{"n":  1.50,  "n": "x"}"#).await;
    emit(&database, "worse", "{}").await;
    database.wait_for(HELD, "bad,worse").await;
    database.execute("SET ROLE outbox_admin; SELECT outbox.release('bad')").await;
    database.execute("SELECT outbox.discard('worse'); RESET ROLE").await;
    let requests = receiver.wait_for(1).await;
    assert_eq!(requests[0].header("webhook-id"), Some("bad"));
    assert!(body(&requests[0]).ends_with(r#""data":{"n":  1.50,  "n": "x"}}"#));
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["bad"]);
    assert_eq!(database.text(HELD).await, "");
    for sql in [
        "SELECT outbox.release('bad')",
        "SELECT outbox.release('worse')",
        "SELECT outbox.discard('bad')",
        "SELECT outbox.release('nobody')",
    ] {
        let error = database.try_execute(sql).await.expect_err(sql);
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("P0002"), "{sql}: {error:?}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_has_to_be_repeated_holds_back_and_counts_once() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    emit(&database, "good", r#"{"n":1}"#).await;
    emit(&database, "bad", "{}").await;
    // A delivery that is there already undoes the first transaction of fan-out.
    database
        .execute(
            "INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at) \
             SELECT seq, 1, now() + interval '1 s', now() FROM outbox.events \
             WHERE id = 'good'",
        )
        .await;
    let daemon = start(&database, "reject").await;
    database.wait_for(HELD, "bad").await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["good"]);
    wait_for_metric(&daemon, r#"outboxd_events_invalid_total{action="reject"} 1"#).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_are_checked_over_the_only_connection() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let settings = [("events.validate", "reject"), ("database.pool_size", "1")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    let fill = "x".repeat(100_000);
    let good = format!(r#"{{"fill":"{fill}","n":1}}"#);
    emit(&database, "good", &good).await;
    emit(&database, "bad", &format!(r#"{{"fill":"{fill}","n":"x"}}"#)).await;
    emit(&database, "small", r#"{"n":2}"#).await;
    database.wait_for(HELD, "bad").await;
    let requests = receiver.wait_for(2).await;
    database.wait_until_idle().await;
    assert_eq!(sorted(&receiver), ["good", "small"]);
    assert!(requests.iter().any(|request| body(request).contains(&good)));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_or_a_payload_that_cannot_be_read_blocks_nothing() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    set_schema(&database, "broken", r#"{"type": "strnig"}"#).await;
    set_schema(&database, "remote", r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#).await;
    let daemon = start(&database, "reject").await;
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    emit(&database, "deep", &deep).await;
    database.execute("SELECT outbox.emit('broken', '{}', id => 'unchecked')").await;
    database.execute("SELECT outbox.emit('remote', '[]', id => 'unchecked-too')").await;
    emit(&database, "good", r#"{"n":1}"#).await;
    receiver.wait_for(3).await;
    database.wait_for(HELD, "deep").await;
    database.wait_until_idle().await;
    assert_eq!(sorted(&receiver), ["good", "unchecked", "unchecked-too"]);
    let (code, out, err) = run(&database, &["event-types", "list", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let line = |name: &str| out.lines().find(|line| line.contains(name)).unwrap_or_default();
    assert!(line("broken").contains(r#""schema":"unusable","example":false"#), "{out}");
    assert!(line("broken").contains("strnig"), "{out}");
    assert!(line("remote").contains("nothing in it is meant by its $ref"), "{out}");
    assert!(line("order").contains(r#""schema":"ok""#), "{out}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_checked_against_the_schema_of_its_moment() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    daemon.wait_until_ready().await;
    for n in 0..20 {
        let (schema, id) = if n % 2 == 0 {
            ("false", format!("held-{n:02}"))
        } else {
            ("true", format!("sent-{n:02}"))
        };
        set_schema(&database, "order", schema).await;
        emit(&database, &id, "{}").await;
        // Only now may the schema change again: the daemon has this one.
        database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    }
    receiver.wait_for(10).await;
    database.wait_until_idle().await;
    assert!(receiver.ids().iter().all(|id| id.starts_with("sent-")), "{:?}", receiver.ids());
    let count = "SELECT count(*) FROM outbox.quarantined_events WHERE event_id LIKE 'held-%'";
    assert_eq!(database.text(count).await, "10");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_begins_and_ends_with_the_configuration() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "off").await;
    emit(&database, "before", "{}").await;
    receiver.wait_for(1).await;
    daemon.reconfigure(&database.url, &[("events.validate", "reject")]).await;
    emit(&database, "meanwhile", "{}").await;
    database.wait_for(HELD, "meanwhile").await;
    daemon.reconfigure(&database.url, &[]).await;
    emit(&database, "after", "{}").await;
    receiver.wait_for(2).await;
    assert_eq!(receiver.ids(), ["before", "after"]);
    let off = r#"outboxd_events_invalid_total{action="warn"} 0"#;
    assert!(daemon.get("/metrics").await.1.contains(off));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_keeps_what_is_held_back_and_cleans_up_after_the_rest() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    for id in ["held", "released", "discarded"] {
        emit(&database, id, "{}").await;
    }
    emit(&database, "good", r#"{"n":1}"#).await;
    database.wait_for(HELD, "discarded,held,released").await;
    database.execute("SELECT outbox.release('released'), outbox.discard('discarded')").await;
    receiver.wait_for(2).await;
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
    let config = harness::load(&database.url, &[]);
    let store = Store::new(&config.database.url, 1).expect("a pool");
    let swept = store.sweep_events(0, Duration::ZERO, 100).await.expect("a sweep");
    assert_eq!((swept.looked, swept.old), (4, 4));
    let left = "SELECT string_agg(id, ',') FROM outbox.events";
    assert_eq!(database.text(left).await, "held");
    assert_eq!(database.text("SELECT count(*) FROM outbox.quarantine").await, "1");
    assert_eq!(database.text(HELD).await, "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_the_example_of_its_type_for_one_endpoint_and_unchecked() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe_to("one", &receiver.url("/one"), "{nothing}").await;
    database.subscribe("all", &receiver.url("/all")).await;
    database
        .execute(
            r#"UPDATE outbox.event_types SET example = '{"n":  "1.50",  "b":[ ]}';
            UPDATE outbox.endpoints SET tenant = 'acme' WHERE name = 'one';
            INSERT INTO outbox.event_types (type) VALUES ('bare')"#,
        )
        .await;
    let daemon = start(&database, "reject").await;
    daemon.wait_until_ready().await;
    let (code, out, err) = run(&database, &["endpoints", "test", "one", "--sample", "order"]);
    assert_eq!(code, Some(0), "{out}{err}");
    database.wait_until_idle().await;
    let requests = receiver.wait_for(1).await;
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, "/one"));
    let sent = body(&requests[0]);
    assert!(sent.starts_with(r#"{"type":"order","#), "{sent}");
    assert!(sent.ends_with(r#""data":{"n":  "1.50",  "b":[ ]}}"#), "{sent}");
    let event = "SELECT concat_ws(' ', type, tenant, live) FROM outbox.events";
    assert_eq!(database.text(event).await, "order acme f");
    for unknown in ["bare", "nobody"] {
        let (code, _, err) = run(&database, &["endpoints", "test", "one", "--sample", unknown]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(unknown) && err.contains("outboxd event-types list"), "{err}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_from_the_command_line() {
    let database = Database::new().await;
    let ok = |args: &[&str]| {
        let (code, out, err) = run(&database, args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        out
    };
    let import = ["event-types", "import", "--seeds"];
    let dry = ok(&["event-types", "import", "--seeds", "--dry-run"]);
    assert_eq!(dry, "would import: 37 new, 0 changed, 0 as they were\n");
    assert_eq!(database.text("SELECT count(*) FROM outbox.event_types").await, "0");
    assert_eq!(ok(&import), "imported: 37 new, 0 changed, 0 as they were\n");
    database
        .execute("UPDATE outbox.event_types SET schema = NULL WHERE type LIKE 'export.%'")
        .await;
    assert_eq!(ok(&import), "imported: 0 new, 2 changed, 35 as they were\n");
    assert_eq!(ok(&["event-types", "list"]).lines().count(), 38);
    let shown = ok(&["event-types", "show", "payout.sent"]);
    for part in ["A payout was sent", "\n  \"required\": [\n", "\n  \"amount\": 120.0,\n"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // What one prints, the other reads.
    let entry = ok(&["event-types", "show", "payout.sent", "--json"]);
    let import_from_stdin = |text: &str| {
        let mut command = harness::outboxd(&database.url, &[]);
        command.args(["event-types", "import", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("written");
        drop(stdin);
        child.wait_with_output().expect("its end")
    };
    let again = import_from_stdin(&format!("[{entry}]"));
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stdout).starts_with("imported: 0 new"));
    let bad = import_from_stdin(
        r#"{"new.type": {}, "no.match": {"schema": {"type": "array"}, "example": {}}, "a b": {}}"#,
    );
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    for part in ["nothing was imported", "\nno.match: the example does not match", "\na b: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(database.text("SELECT count(*) FROM outbox.event_types").await, "37");
    let (code, _, err) = run(&database, &["event-types", "show", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("outboxd event-types list"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_from_the_command_line() {
    let (database, receiver) = (with_schema().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = start(&database, "reject").await;
    emit(&database, "bad", "{}").await;
    emit(&database, "worse", "[]").await;
    database.wait_for(HELD, "bad,worse").await;
    let (code, out, err) = run(&database, &["events", "list", "--quarantined", "--json"]);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{err}");
    let missing =
        r#""id":"bad","type":"order","tenant":null,"reason":"the payload: required \"n\""#;
    assert!(out.contains(missing), "{out}");
    let (_, out, err) = run(&database, &["events", "show", "bad"]);
    assert!(out.contains("held") && out.contains("required \"n\" is missing"), "{out}{err}");
    assert_eq!(run(&database, &["events", "release", "bad"]).0, Some(0));
    assert_eq!(run(&database, &["events", "discard", "worse"]).0, Some(0));
    receiver.wait_for(1).await;
    database.wait_until_idle().await;
    assert_eq!(receiver.ids(), ["bad"]);
    let (code, _, err) = run(&database, &["events", "release", "worse"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is not in quarantine"), "{err}");
    let (_, out, _) = run(&database, &["events", "show", "worse"]);
    assert!(out.contains("discarded"), "{out}");
    daemon.stop().await.expect("an orderly end");
}
