//! Where secrets must not turn up: the server's log, errors. What becomes of expired secrets, and of
//! a master key that is lost.

use outboxd::seal::MasterKey;

use crate::harness::{self, Database, SECRET, TestDaemon};
use crate::receiver::Receiver;
use crate::secrets::{Said, outboxd, verifies};

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const SIGNING_KEY: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC_KEY: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const STATES: &str = "SELECT string_agg(state, ' ' ORDER BY name) FROM outbox.endpoints";

fn with_key(key: &str) -> [(&'static str, &str); 1] {
    [("secrets.master_key", key)]
}

fn id(key: &str) -> String {
    MasterKey::parse(key).expect("a master key").id().to_owned()
}

/// The binary with this master key, which has to succeed.
fn run(database: &Database, key: &str, args: &[&str]) -> Said {
    let said = outboxd(database, &with_key(key), args, "");
    assert_eq!(said.code, Some(0), "{args:?}: {}{}", said.out, said.err);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_server_that_logs_everything_never_holds_a_plain_secret() {
    let cluster = harness::start_cluster(&[
        ("log_min_duration_statement", "0"),
        ("log_statement", "all"),
        ("log_parameter_max_length", "-1"),
        ("log_parameter_max_length_on_error", "-1"),
    ]);
    let url = cluster.url("postgres");
    harness::migrate(&url).await;
    let database = Database::at(url.clone()).await;
    // What the application itself writes is the application's to hide.
    let quiet = "SET log_statement = 'none'; SET log_min_duration_statement = -1";
    database.execute(quiet).await;
    let plain = TestDaemon::start_with(&url, &[("secrets.storage", "plain")]).await;
    database.subscribe("one", "https://example.com/").await;
    database.execute(&format!("SELECT outbox.set_tenant_secret('acme', '{SIGNING_KEY}')")).await;
    let public_key = "SELECT max(public_key) FROM outbox.secrets";
    database.wait_for(public_key, PUBLIC_KEY).await;
    plain.stop().await.expect("an orderly end");
    let sealed = "SELECT count(*) FROM outbox.secrets WHERE secret LIKE 'sealed:v1:%'";
    run(&database, TWO, &["secrets", "rewrap"]);
    assert_eq!(database.text(sealed).await, "2");

    let both = format!("{ONE} {TWO}");
    let daemon = TestDaemon::start_with(&url, &with_key(&both)).await;
    database.execute(&format!("SELECT outbox.rotate_secret('one', '{SECRET}')")).await;
    database
        .wait_for(&format!("{sealed} AND split_part(secret, ':', 3) = '{}'", id(ONE)), "1")
        .await;
    daemon.stop().await.expect("an orderly end");
    run(&database, &both, &["secrets", "rewrap"]);

    let log = std::fs::read_to_string(cluster.socket_dir().join("server.log")).expect("a log");
    assert!(log.contains("-- secrets_restore:") && log.contains("sealed:v1:"), "nothing is logged");
    assert!(log.contains(PUBLIC_KEY), "parameters are not logged");
    for secret in [SECRET, SIGNING_KEY] {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_without_quoting_the_secret() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    database.execute(&format!("SELECT outbox.set_tenant_secret('acme', '{SECRET}')")).await;
    let insert = |columns: &str, values: &str| {
        format!("INSERT INTO outbox.secrets (secret, {columns}) VALUES ('{SECRET}', {values})")
    };
    let long = |count: usize| format!("'{SECRET}' || repeat('x', {count})");
    let refused = [
        "SELECT outbox.rotate_secret('one', overlap => '10000 years')".to_owned(),
        "SELECT outbox.set_tenant_secret('acme', overlap => '10000 years')".to_owned(),
        format!("SELECT outbox.rotate_secret('one', {})", long(5_000)),
        format!("SELECT outbox.set_tenant_secret('acme', {})", long(1_024)),
        format!("SELECT outbox.subscribe('https://example.com/b', secret => {})", long(5_000)),
        insert("tenant, expires_at", "'a', '9999-01-01'"),
        insert("tenant, expires_at", "'a', '1969-01-01'"),
        insert("tenant, expires_at", "'a', 'infinity'"),
        insert("tenant, shown", "'a', NULL"),
        insert("tenant, created_at", "'a', NULL"),
        insert("tenant", "repeat('a', 257)"),
        insert("tenant", "''"),
        insert("tenant, endpoint_id", "'a', 'ep_x'"),
        insert("shown", "true"),
        insert("tenant, public_key", "'a', 'x'"),
        "UPDATE outbox.secrets SET expires_at = '9999-01-01'".to_owned(),
    ];
    for guarded in [true, false] {
        for sql in &refused {
            let error = database.try_execute(sql).await.expect_err(sql);
            let error = error.as_db_error().expect("an answer of the server");
            let quotes = format!("{error:?}").contains(&SECRET[..20]);
            assert_eq!(quotes, !guarded, "{sql}: {error:?}");
            let class = error.code().code();
            assert!(class.starts_with("23"), "{sql}: {class}");
            assert!(!guarded || error.hint().is_some(), "{sql}");
        }
        for empty in ["''", "E' \\t\\n'"] {
            let sql = format!("SELECT outbox.rotate_secret('one', {empty})");
            assert!(!guarded || database.try_execute(&sql).await.is_err(), "{empty}");
        }
        // The constraints are the second line, and quote.
        database.execute("ALTER TABLE outbox.secrets DISABLE TRIGGER before_change").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_of_null_is_the_default_and_one_of_nothing_leaves_nothing() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    database.execute("SELECT outbox.rotate_secret('one', overlap => NULL)").await;
    let ends = "SELECT string_agg(coalesce((extract(epoch FROM expires_at - now()) / 3600)::int::text, \
                'never'), ' ' ORDER BY number) FROM outbox.secrets";
    assert_eq!(database.text(ends).await, "24 never");
    database.execute("SELECT outbox.rotate_secret('one', overlap => '0')").await;
    assert_eq!(database.text(ends).await, "never");
    database.execute("DELETE FROM outbox.secrets; SELECT outbox.set_tenant_secret('acme')").await;
    database.execute("SELECT outbox.set_tenant_secret('acme', overlap => '2 hours')").await;
    assert_eq!(database.text(ends).await, "2 never");
    database.execute("SELECT outbox.set_tenant_secret('acme', overlap => NULL)").await;
    assert_eq!(database.text(ends).await, "never");
    // The tenant's secret, which signed for it so far, is not kept for an endpoint either.
    let subscribe = "SELECT outbox.subscribe('https://example.com/t', tenant => 'acme', name => 't'); \
                     SELECT outbox.rotate_secret('t', overlap => '0')";
    database.execute(subscribe).await;
    let own = "SELECT count(*) FROM outbox.secrets WHERE endpoint_id IS NOT NULL";
    assert_eq!(database.text(own).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_secrets_are_swept_and_others_stay() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    database
        .execute(&format!(
            "INSERT INTO outbox.secrets (tenant, secret, expires_at) VALUES
                 ('past', '{SECRET}', now() - interval '1 second'),
                 ('future', '{SECRET}', now() + interval '1 hour')"
        ))
        .await;
    let listed = run(&database, ONE, &["secrets", "list", "--json"]);
    assert!(listed.out.contains("future") && !listed.out.contains("past"), "{}", listed.out);
    let daemon = TestDaemon::start(&database).await;
    let left =
        "SELECT string_agg(coalesce(tenant, 'one'), ' ' ORDER BY number) FROM outbox.secrets";
    database.wait_for(left, "one future").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_key_what_the_hint_says_is_the_cure() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    database.execute("SELECT outbox.rotate_secret('one')").await;
    database.execute(&format!("SELECT outbox.set_tenant_secret('acme', '{SECRET}')")).await;
    run(&database, ONE, &["secrets", "rewrap"]);
    let sick = outboxd(&database, &with_key(TWO), &["doctor"], "");
    for hint in ["rotate-secret NAME --overlap 0s", "secrets set-tenant TENANT", &id(ONE)] {
        assert!(sick.out.contains(hint), "{hint}: {}", sick.out);
    }
    let failed = outboxd(&database, &with_key(TWO), &["secrets", "rewrap"], "");
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    run(&database, TWO, &["endpoints", "rotate-secret", "one", "--overlap", "0s"]);
    run(&database, TWO, &["secrets", "set-tenant", "acme"]);
    run(&database, TWO, &["secrets", "rewrap"]);
    let well = outboxd(&database, &with_key(TWO), &["doctor"], "");
    assert!(!well.out.contains(&id(ONE)), "{}", well.out);
    let sound = format!("OK    secrets: 2 encrypted under master key {}", id(TWO));
    assert!(well.out.contains(&sound), "{}", well.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_can_open_no_secret_refuses_to_start_and_marks_nothing() {
    let database = Database::new().await;
    for name in ["one", "two"] {
        database.subscribe(name, &format!("https://example.com/{name}")).await;
    }
    run(&database, ONE, &["secrets", "rewrap"]);
    for settings in [&[][..], &with_key(TWO)] {
        let said = outboxd(&database, settings, &["run"], "");
        assert_eq!(said.code, Some(78), "{}", said.err);
        for part in [&id(ONE), "secrets.master_key_file", "none of the 2"] {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
        assert_eq!(database.text(STATES).await, "active active");
    }
    // One that opens is enough: it is those that do not that are invalid.
    run(&database, TWO, &["endpoints", "rotate-secret", "two", "--overlap", "0s"]);
    let daemon = TestDaemon::start_with(&database.url, &with_key(TWO)).await;
    database.wait_for(STATES, "invalid active").await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_would_open_no_secret_keeps_the_keys_and_takes_the_rest() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    run(&database, ONE, &["secrets", "rewrap"]);
    let daemon = TestDaemon::start_with(&database.url, &with_key(ONE)).await;
    daemon.wait_until_ready().await;
    for settings in [&[][..], &with_key(TWO)] {
        let rest = [("delivery.https_only", "true")];
        daemon.reconfigure(&database.url, &[settings, &rest].concat()).await;
        // That the rest is taken shows that the reload is over.
        database.wait_for(STATES, "invalid").await;
        let reason = database.text("SELECT state_reason FROM outbox.endpoints").await;
        assert!(reason.starts_with("url:"), "{reason}");
        let (_, metrics) = daemon.get("/metrics").await;
        assert!(metrics.contains("outboxd_config_last_reload_successful 0"), "{metrics}");
        daemon.reconfigure(&database.url, settings).await;
        database.wait_for(STATES, "active").await;
    }
    let event = database.emit("a", "{}").await;
    let request = receiver.wait_for(1).await[0].clone();
    assert!(verifies(&request, SECRET), "{event}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_profile_says_that_the_secrets_were_not_checked() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    let told = |profile: &str| {
        let args = ["endpoints", "update", "one", "--profile", profile];
        run(&database, ONE, &args).err.contains("outboxd endpoints show one tells")
    };
    assert!(!told("standard"), "it has that profile");
    assert!(told("stripe"));
}
