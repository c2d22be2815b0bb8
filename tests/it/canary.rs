//! A recognisable value in every secret there is, everything that says anything, and no value in it.

mod canaries;
mod evidence;

use std::path::Path;
use std::time::Duration;

use crate::harness::{self, Database};
use crate::receiver::{Receiver, Reply};
use canaries::*;
use evidence::{Evidence, folder};

/// Endpoints of every kind, by SQL, each with its secrets; and attempts to set bad ones.
async fn furnish(database: &Database, receiver: &Receiver) {
    let url = receiver.url(&format!("/{PATH}?token={QUERY}"));
    for (name, url, rest) in [
        (
            "fine",
            url.clone(),
            format!("secret => '{BY_SQL}', headers => '{{\"authorization\":\"Bearer {HEADER}\"}}'"),
        ),
        (
            "failing",
            receiver.url(&format!("/failing/{PATH}?{QUERY}")),
            format!("secret => '{BY_SQL}'"),
        ),
        ("shared", format!("{url}&of=tenant"), "tenant => 'acme'".to_owned()),
        ("dead", format!("http://127.0.0.1:1/{PATH}?{QUERY}"), format!("secret => '{BY_SQL}'")),
        (
            "unknown",
            format!("http://no-such-host.invalid/{PATH}?{QUERY}"),
            format!("secret => '{BY_SQL}'"),
        ),
        (
            "tls",
            receiver.url(&format!("/{PATH}?{QUERY}")).replace("http:", "https:"),
            format!("secret => '{PRIVATE}'"),
        ),
        ("forbidden", format!("http://10.0.0.1/{PATH}?{QUERY}"), format!("secret => '{BY_SQL}'")),
        ("userinfo", format!("https://user:{USERINFO}@example.com/{PATH}"), String::new()),
        ("spelt", format!("https://exa mple.com/{PATH}?{QUERY}"), String::new()),
        (
            "badheader",
            format!("{url}&n=1"),
            format!("headers => '{{\"x-key\":\"{HEADER}\\u0001\"}}'"),
        ),
        ("oddheader", format!("{url}&n=2"), format!("headers => '{{\"host\":\"{HEADER}\"}}'")),
        ("notobject", format!("{url}&n=3"), format!("headers => '[\"{HEADER}\"]'")),
        ("badbase64", format!("{url}&n=4"), "secret => 'whsec_CanaryWrong!!!'".to_owned()),
        ("badkey", format!("{url}&n=5"), "secret => 'whsk_CanaryTooShort'".to_owned()),
        (
            "badsealed",
            format!("{url}&n=6"),
            "secret => 'sealed:v1:0000000000000000:AAAA'".to_owned(),
        ),
        ("badretry", format!("{url}&n=7"), format!("retry => 'never', secret => '{BY_SQL}'")),
    ] {
        let rest = if rest.is_empty() { rest } else { format!(", {rest}") };
        // A URL that is none is refused here, and stands in the table below.
        let sql = format!(
            "SELECT outbox.subscribe('{url}', name => '{name}', profile => 'standard'{rest})"
        );
        if database.try_execute(&sql).await.is_err() {
            let sql =
                format!("INSERT INTO outbox.endpoints (name, url) VALUES ('{name}', '{url}')");
            database.execute(&sql).await;
        }
    }
    database
        .execute(&format!(
            "SELECT outbox.set_tenant_secret('acme', '{TENANT}'); \
             SELECT outbox.rotate_secret('fine', '{ROTATED}'); \
             INSERT INTO outbox.secrets (tenant, secret, expires_at) \
             VALUES ('gone', '{EXPIRED}', now() + interval '300 ms')"
        ))
        .await;
}

/// Lets a daemon work on all of it while it logs everything, and asks it everything.
async fn let_run(
    evidence: &mut Evidence,
    database: &Database,
    settings: &[(&str, &str)],
    folder: &Path,
) {
    let run = Evidence::start(&database.url, settings, &["run"], folder);
    run.wait_until_ready().await;
    database.emit("a", "{}").await;
    database.wait_for("SELECT count(DISTINCT endpoint_id) > 3 FROM outbox.attempts", "true").await;
    database
        .wait_for("SELECT count(*) FROM outbox.secrets WHERE expires_at < now() OR secret NOT LIKE 'sealed:%'", "0")
        .await;
    for path in ["/metrics", "/livez", "/readyz", "/", "/api/v1/endpoints", "/api/v1/openapi.json"]
    {
        let (status, body) = harness::get(run.admin, path).await;
        evidence.add(&format!("GET {path}"), format!("{status} {body}"));
    }
    evidence.add("the log of run", run.end().await);
}

/// Everything in the database but what is there to hold it, by name.
async fn look_into(evidence: &mut Evidence, database: &Database, reader: &Database) {
    // An endpoint's headers and its URL are what requests are made with, and its test events tell
    // it its own URL: only the admin and the daemon may read them. Secrets are sealed.
    let held = "CASE t.relname WHEN 'endpoints' THEN '- ''headers'' - ''url''' WHEN 'events' THEN '- ''payload''' \
                ELSE '' END";
    let tables = format!(
        "SELECT t.relname, format('SELECT coalesce(string_agg((to_jsonb(x) %s)::text, E''\\n''), '''') FROM \
         outbox.%I x', {held}, t.relname) FROM pg_class t \
         WHERE t.relnamespace = 'outbox'::regnamespace AND t.relkind IN ('r', 'v', 'p')"
    );
    for row in database.rows(&tables, &[]).await {
        let (name, sql): (String, String) = (row.get(0), row.get(1));
        evidence.add(&format!("outbox.{name}"), database.text(&sql).await);
    }
    for view in [
        "deliveries",
        "endpoint_health",
        "public_keys",
        "endpoint_names",
        "quarantined_events",
        "event_types",
    ] {
        let sql = format!(
            "SELECT coalesce(string_agg(to_jsonb(x)::text, E'\\n'), '') FROM outbox.{view} x"
        );
        evidence.add(&format!("{view} for a reader"), reader.text(&sql).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_anybody_is_told_holds_a_secret() {
    let cluster = harness::start_cluster(&[]);
    let url = cluster.url("postgres").replace("postgres@", &format!("postgres:{PASSWORD}@"));
    let (folder, receiver) = (folder(), Receiver::start());
    let mut evidence = Evidence::default();
    let settings = [
        ("admin.token", ADMIN_TOKEN),
        ("secrets.master_key", MASTER_KEY),
        ("log.level", "trace"),
        ("delivery.retry", "100ms 1h"),
    ];
    evidence.run(&url, &settings, &["migrate"], "", Some(0));
    let database = Database::at(url.clone()).await;
    receiver.on(&format!("/failing/{PATH}"), Reply::status(500));
    // What the operator's own SQL says is the operator's to hide.
    database.execute("SET log_min_error_statement = 'panic'; SET log_min_messages = 'panic'").await;
    furnish(&database, &receiver).await;
    evidence.run(&url, &settings, &["doctor"], "", None);
    let_run(&mut evidence, &database, &settings, &folder).await;
    evidence.every_command(&url, &settings, &folder, &receiver);
    evidence.configurations(&url, &folder);
    evidence.verifying(&url, &folder, &receiver);
    evidence.listening(&url, &folder, &receiver).await;
    // Where secrets are stored as they are, only the place differs.
    let plain =
        [("secrets.storage", "plain"), ("log.level", "trace"), ("admin.token", ADMIN_TOKEN)];
    evidence.run(
        &url,
        &plain,
        &["endpoints", "rotate-secret", "failing", "--secret-stdin"],
        BY_CLI,
        Some(0),
    );
    evidence.run(&url, &plain, &["secrets", "list"], "", Some(0));
    evidence.run(&url, &plain, &["doctor"], "", None);
    evidence.run(&url, &settings, &["secrets", "rewrap"], "", None);

    let reader = Database::at(url.clone()).await;
    reader.execute("SET ROLE outbox_reader").await;
    look_into(&mut evidence, &database, &reader).await;
    let log = std::fs::read_to_string(cluster.socket_dir().join("server.log")).expect("a log");
    assert!(log.contains("ERROR"), "nothing failed, so the log proves nothing");
    evidence.add("the log of the server", log);
    assert!(
        receiver.requests().iter().any(|request| {
            request.header("authorization") == Some(&format!("Bearer {HEADER}"))
        })
    );
    evidence.judge();
    std::fs::remove_dir_all(&folder).ok();
    tokio::time::timeout(Duration::from_secs(10), receiver.stop()).await.ok();
}
