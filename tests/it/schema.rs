//! What the schema promises: migrations, comments, roles.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{self, Database};

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_changes_nothing() {
    let database = Database::empty().await;
    let migrate = || {
        let output = harness::outboxd(&database.url, &[]).arg("migrate").output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = migrate();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("applied 0001_schema_and_roles"), "{said}");
    let (code, said) = migrate();
    assert_eq!(code, Some(0));
    assert!(said.contains("is up to date") && !said.contains("applied"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_at_the_same_moment_do_not_collide() {
    let database = Database::empty().await;
    let children: Vec<_> = (0..4)
        .map(|_| harness::outboxd(&database.url, &[]).arg("migrate").stderr(Stdio::piped()).spawn())
        .collect();
    for child in children {
        let output = child.expect("it starts").wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_script_is_the_schema() {
    let database = Database::empty().await;
    let printed = harness::outboxd(&database.url, &[])
        .args(["migrate", "--print"])
        .output()
        .expect("it runs");
    let mut psql = Command::new("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &database.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql");
    psql.stdin.take().expect("a pipe").write_all(&printed.stdout).expect("written");
    assert!(psql.wait().expect("its end").success());
    let again = harness::outboxd(&database.url, &[]).arg("migrate").output().expect("it runs");
    assert!(String::from_utf8_lossy(&again.stderr).contains("is up to date"));
    let checksums = "SELECT count(*) FILTER (WHERE checksum IS NULL) FROM outbox.migrations";
    assert_eq!(database.text(checksums).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_can_create_the_schema() {
    let database = Database::empty().await;
    let name = format!("owner_{:08x}", fastrand::u32(..));
    database
        .execute(&format!(
            "CREATE ROLE {name} LOGIN; \
             DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {name}', current_database()); END $$"
        ))
        .await;
    let url = database.url.replace("postgres@", &format!("{name}@"));
    assert_ne!(url, database.url);
    let output = harness::outboxd(&url, &[]).arg("migrate").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_another_schema_with_the_command_to_run() {
    let empty = Database::empty().await;
    let older = Database::new().await;
    older.execute("DELETE FROM outbox.migrations WHERE version > 3").await;
    let newer = Database::new().await;
    let later =
        "INSERT INTO outbox.migrations (version, name, oldest_daemon) VALUES (9999, 'later', 9999)";
    newer.execute(later).await;
    for (database, command) in
        [(empty, "outboxd migrate"), (older, "outboxd migrate"), (newer, "--only-upgrade outboxd")]
    {
        let output = harness::outboxd(&database.url, &[]).arg("run").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains(command), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_says_what_it_is() {
    let database = Database::new().await;
    let bare = "SELECT coalesce(string_agg(c.relname || coalesce('.' || a.attname, ''), ', '), '') \
                FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
                WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind IN ('r', 'p', 'v') \
                  AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)";
    assert_eq!(database.text(bare).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_can_produce_and_nothing_else() {
    let database = Database::new().await;
    database.execute("SELECT outbox.subscribe('https://example.com/', name => 'one')").await;
    database.execute("SET ROLE outbox_producer").await;
    database.execute("INSERT INTO outbox.events (type, payload) VALUES ('a', '{}')").await;
    database
        .execute(
            "INSERT INTO outbox.events (id, type, payload, tenant, live, key, deliver_after, created_at) \
             VALUES ('mine', 'a', '{}', 't', true, 'k', now(), now())",
        )
        .await;
    assert_eq!(database.text("outbox.emit('a', '{}', id => 'mine')").await, "mine");
    assert!(database.text("outbox.emit('a', '{}')").await.starts_with("evt_"));
    for forbidden in [
        "SELECT id FROM outbox.events",
        "SELECT * FROM outbox.endpoints",
        "SELECT * FROM outbox.secrets",
        "SELECT * FROM outbox.deliveries",
        "SELECT * FROM outbox.attempts",
        "SELECT * FROM outbox.queue",
        "UPDATE outbox.events SET type = 'b'",
        "DELETE FROM outbox.events",
        "TRUNCATE outbox.events",
        "INSERT INTO outbox.events (type, payload, target) VALUES ('a', '{}', 1)",
        "INSERT INTO outbox.queue VALUES (1)",
        "INSERT INTO outbox.endpoints (url) VALUES ('https://example.com')",
        "SELECT outbox.subscribe('https://example.com')",
        "SELECT outbox.rotate_secret('one')",
        "SELECT outbox.replay('mine', 'one')",
        "SELECT outbox.cancel('mine', 'one')",
        "SELECT outbox.find_event('mine')",
        "SELECT * FROM outbox.event_types",
        "SELECT * FROM outbox.quarantined_events",
        "SELECT outbox.release('mine')",
        "SELECT outbox.discard('mine')",
        "SELECT outbox.prepare_history()",
        "SELECT outbox.drop_history('1 day')",
        "SELECT outbox.empty_history()",
        "SELECT outbox.enqueue()",
        "CREATE TABLE outbox.mine (n int)",
    ] {
        let error = database.try_execute(forbidden).await.expect_err(forbidden);
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_no_secret_no_payload_and_no_reply_body() {
    let database = Database::new().await;
    database.execute("SET ROLE outbox_reader").await;
    for allowed in [
        "SELECT * FROM outbox.deliveries",
        "SELECT * FROM outbox.endpoint_health",
        "SELECT event_id, outcome, http_status, error, remote_addr FROM outbox.attempts",
        "SELECT count(*) FROM outbox.attempts",
        "SELECT * FROM outbox.event_types",
        "SELECT * FROM outbox.quarantined_events",
    ] {
        database.execute(allowed).await;
    }
    for forbidden in [
        "SELECT response_body FROM outbox.attempts",
        "SELECT payload FROM outbox.events",
        "SELECT secret FROM outbox.secrets",
        "SELECT url FROM outbox.endpoints",
        "SELECT reason FROM outbox.quarantine",
        "INSERT INTO outbox.event_types (type) VALUES ('a')",
        "SELECT outbox.emit('a', '{}')",
    ] {
        assert!(database.try_execute(forbidden).await.is_err(), "{forbidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_refused_at_the_insert() {
    let database = Database::new().await;
    for bad in [
        "SELECT outbox.emit('', '{}')",
        "SELECT outbox.emit('a b', '{}')",
        "SELECT outbox.emit(E'a\\nb', '{}')",
        "SELECT outbox.emit(repeat('x', 129), '{}')",
        "SELECT outbox.emit('a', '{')",
        "SELECT outbox.emit('a', NULL)",
        "SELECT outbox.emit('a', '{}', id => '')",
        "SELECT outbox.emit('a', '{}', id => E'x\\ny')",
        "SELECT outbox.emit('a', '{}', deliver_after => 'infinity')",
        "SELECT outbox.emit('a', ('\"' || repeat('x', 1048576) || '\"')::json)",
        "SELECT outbox.emit('a', '{}', deliver_after => '200000-01-01')",
        "INSERT INTO outbox.events (type, payload, created_at) VALUES ('a', '{}', 'infinity')",
        "INSERT INTO outbox.endpoints (url, events) VALUES ('https://example.com', '{a,NULL}')",
        "INSERT INTO outbox.endpoints (url, events) VALUES ('https://example.com', '{{a},{b}}')",
        "INSERT INTO outbox.endpoints (url, timeout) VALUES ('https://example.com', '1000000 years')",
        "INSERT INTO outbox.endpoints (url, rate_per_second) VALUES ('https://example.com', 'NaN')",
        "INSERT INTO outbox.events (id, type, payload) VALUES ('twice', 'a', '{}'), ('twice', 'a', '{}')",
    ] {
        assert!(database.try_execute(bad).await.is_err(), "{bad}");
    }
    assert_eq!(database.text("SELECT count(*) FROM outbox.queue").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn emitting_an_id_again_changes_nothing() {
    let database = Database::new().await;
    assert_eq!(database.text("outbox.emit('a', '1', id => 'x')").await, "x");
    assert_eq!(database.text("outbox.emit('b', '2', id => 'x')").await, "x");
    let kept =
        "SELECT type || payload::text || (SELECT count(*) FROM outbox.queue) FROM outbox.events";
    assert_eq!(database.text(kept).await, "a11");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_works_with_its_role_alone() {
    let database = Database::new().await;
    let receiver = crate::receiver::Receiver::start();
    database.subscribe("one", &receiver.url("/")).await;
    let name = format!("daemon_{:08x}", fastrand::u32(..));
    database.execute(&format!("CREATE ROLE {name} LOGIN IN ROLE outbox_daemon")).await;
    let url = database.url.replace("postgres@", &format!("{name}@"));
    let daemon = harness::TestDaemon::start_with(&url, &[]).await;
    database.emit("a", "{}").await;
    receiver.otherwise(crate::receiver::Reply::status(410));
    database.emit("b", "{}").await;
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
    // Without it, each right that is missing is named with its grant.
    database.execute(&format!("REVOKE outbox_daemon FROM {name}")).await;
    let output = harness::outboxd(&url, &[]).arg("run").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("outbox_daemon"), "{said}");
}
