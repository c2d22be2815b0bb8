//! Which secret signs for an endpoint, its own or its tenant's, and who may see what of it.

use crate::harness::{Database, SECRET, TestDaemon};
use crate::receiver::{Receiver, Request};
use crate::secrets::{outboxd, signatures, verifies};

const TENANT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SIGNING_KEY: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC_KEY: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const MASTER_KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn at<'a>(requests: &'a [Request], path: &str) -> &'a Request {
    requests.iter().rev().find(|request| request.path == path).expect("a request there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_secret_serves_endpoints_without_one_of_their_own() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let url = |path: &str| receiver.url(path);
    // Made before the tenant has a secret: by the function, and by plain SQL.
    database
        .execute(&format!(
            "SELECT outbox.subscribe('{}', tenant => 'acme', name => 'before');
             INSERT INTO outbox.endpoints (name, url, tenant) VALUES ('bare', '{}', 'acme');
             SELECT outbox.subscribe('{}', tenant => 'acme', name => 'own', secret => '{SECRET}');
             SELECT outbox.subscribe('{}', tenant => 'globex', name => 'stranger')",
            url("/before"),
            url("/bare"),
            url("/own"),
            url("/stranger")
        ))
        .await;
    let daemon = TestDaemon::start(&database).await;
    database.wait_for("SELECT count(*) FROM outbox.secrets", "4").await;
    database
        .execute(&format!(
            "SELECT outbox.set_tenant_secret('acme', '{TENANT_SECRET}');
             SELECT outbox.subscribe('{}', tenant => 'acme', name => 'after')",
            url("/after")
        ))
        .await;
    let own = "SELECT count(*) FROM outbox.secrets s JOIN outbox.endpoints e ON e.id = s.endpoint_id \
               WHERE e.name = 'after'";
    assert_eq!(database.text(own).await, "0");
    database.execute("SELECT outbox.emit('a', '{}', tenant => 'acme')").await;
    let requests = receiver.wait_for(4).await;
    for path in ["/before", "/bare", "/after"] {
        let request = at(&requests, path);
        assert!(verifies(request, TENANT_SECRET) && signatures(request) == 1, "{path}");
    }
    assert!(verifies(at(&requests, "/own"), SECRET) && signatures(at(&requests, "/own")) == 1);

    // The tenant's secret changes with an overlap, and 'after' moves to one of its own.
    let fresh = database.text("outbox.set_tenant_secret('acme', overlap => '1 hour')").await;
    let moved = database.text("outbox.rotate_secret('after')").await;
    database.execute("SELECT outbox.emit('a', '{}', tenant => 'acme')").await;
    let requests = receiver.wait_for(8).await;
    let before = at(&requests, "/before");
    assert!(verifies(before, TENANT_SECRET) && verifies(before, &fresh));
    assert_eq!(signatures(before), 2);
    let after = at(&requests, "/after");
    assert!(verifies(after, &moved) && verifies(after, &fresh) && verifies(after, TENANT_SECRET));
    assert_eq!(signatures(after), 3);

    // Without the tenant's, those that have none of their own sign with one that nobody knows.
    assert_eq!(database.text("outbox.remove_tenant_secret('acme')").await, "2");
    database.execute("SELECT outbox.emit('a', '{}', tenant => 'acme')").await;
    let before = at(&receiver.wait_for(12).await, "/before").clone();
    assert!(!verifies(&before, &fresh) && signatures(&before) == 1);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_signed_signs_on_during_the_overlap_even_if_nobody_was_shown_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let url = receiver.url("/");
    database.execute(&format!("SELECT outbox.subscribe('{url}', name => 'one')")).await;
    let generated = database.text("SELECT secret FROM outbox.secrets").await;
    let fresh = database.text("outbox.rotate_secret('one')").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    let request = receiver.wait_for(1).await[0].clone();
    assert!(verifies(&request, &generated) && verifies(&request, &fresh));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_adds_endpoints_that_share_the_secret_of_their_tenant() {
    let database = Database::new().await;
    let run = |args: &[&str]| {
        let said = outboxd(&database, &[("secrets.master_key", MASTER_KEY)], args, "");
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        said
    };
    let set = run(&["secrets", "set-tenant", "acme", "--json"]);
    assert!(set.json("secret").as_str().is_some_and(|text| text.starts_with("whsec_")));
    let url = "https://example.com/";
    let added = run(&["endpoints", "add", url, "--tenant", "acme", "--json"]);
    assert!(!added.out.contains("secret"), "{}", added.out);
    assert!(added.err.contains("the secret of its tenant"), "{}", added.err);
    assert_eq!(database.text("SELECT count(*) FROM outbox.secrets").await, "1");
    let again = run(&["endpoints", "add", "HTTPS://example.com:443", "--tenant", "acme", "--json"]);
    assert_eq!(again.json("id"), added.json("id"));
    assert!(again.err.contains("was updated"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_ed25519_key_only_the_public_half_is_shown() {
    let database = Database::new().await;
    let settings = [("secrets.master_key", MASTER_KEY)];
    let run = |args: &[&str], input: &str| {
        let said = outboxd(&database, &settings, args, input);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        assert!(!format!("{}{}", said.out, said.err).contains("whsk_"), "{args:?}: {}", said.out);
        said
    };
    let url = "https://example.com/";
    let args =
        ["endpoints", "add", url, "--name", "one", "--tenant", "acme", "--ed25519", "--json"];
    let added = run(&args, "").json("public_key");
    let rotated =
        run(&["endpoints", "rotate-secret", "one", "--ed25519", "--json"], "").json("public_key");
    let given =
        run(&["endpoints", "rotate-secret", "one", "--secret-stdin", "--json"], SIGNING_KEY);
    assert_eq!(given.json("public_key"), PUBLIC_KEY);
    let tenants = run(&["secrets", "set-tenant", "acme", "--ed25519", "--json"], "");
    assert!(tenants.json("public_key").as_str().is_some_and(|key| key.starts_with("whpk_")));
    let shown = run(&["endpoints", "show", "one", "--json"], "").json("public_keys");
    assert_eq!(shown, serde_json::json!([PUBLIC_KEY, rotated, added]));
    let view = "SELECT string_agg(public_key, ' ' ORDER BY created_at DESC) FROM outbox.public_keys \
                WHERE endpoint_name = 'one' AND tenant = 'acme'";
    let expected = [PUBLIC_KEY, rotated.as_str().unwrap_or(""), added.as_str().unwrap_or("")];
    assert_eq!(database.text(view).await, expected.join(" "));
    let listed = run(&["secrets", "list", "--json"], "");
    assert!(listed.out.contains(PUBLIC_KEY), "{}", listed.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_key_of_a_key_that_came_by_sql_is_filled_in() {
    for settings in [&[("secrets.master_key", MASTER_KEY)][..], &[("secrets.storage", "plain")]] {
        let database = Database::new().await;
        let daemon = TestDaemon::start_with(&database.url, settings).await;
        let set = format!("SELECT outbox.set_tenant_secret('acme', '{SIGNING_KEY}')");
        database.execute(&set).await;
        database.wait_for("SELECT public_key FROM outbox.secrets", PUBLIC_KEY).await;
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_with_their_endpoint_and_belong_to_one_owner() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    let renamed = "UPDATE outbox.endpoints SET id = 'ep_renamed'";
    database.execute(renamed).await;
    let owner = "SELECT string_agg(endpoint_id, ' ') FROM outbox.secrets";
    assert_eq!(database.text(owner).await, "ep_renamed");
    for bad in [
        "INSERT INTO outbox.secrets (secret) VALUES ('x')",
        "INSERT INTO outbox.secrets (endpoint_id, tenant, secret) VALUES ('ep_renamed', 'a', 'x')",
        "INSERT INTO outbox.secrets (endpoint_id, secret) VALUES ('ep_renamed', repeat('x', 1025))",
        "INSERT INTO outbox.secrets (endpoint_id, secret, public_key) VALUES ('ep_renamed', 'x', 'x')",
        "SELECT outbox.set_tenant_secret(NULL, 'x')",
        "SELECT outbox.set_tenant_secret('', 'x')",
        "SELECT outbox.set_tenant_secret('a', 'x', '-1 hour')",
    ] {
        assert!(database.try_execute(bad).await.is_err(), "{bad}");
    }
    database.execute("SELECT outbox.unsubscribe('one')").await;
    assert_eq!(database.text("SELECT count(*) FROM outbox.secrets").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_sees_of_secrets_what_it_needs() {
    let database = Database::new().await;
    database.subscribe("one", "https://example.com/").await;
    let reads = [
        "SELECT secret FROM outbox.secrets",
        "SELECT secret FROM outbox.signing_secrets",
        "SELECT public_key FROM outbox.public_keys",
    ];
    let writes = [
        "SELECT outbox.set_tenant_secret('acme')",
        "SELECT outbox.remove_tenant_secret('acme')",
        "UPDATE outbox.secrets SET tenant = NULL WHERE false",
        "UPDATE outbox.secrets SET secret = 'x' WHERE false",
    ];
    for (role, may_read, may_write) in [
        ("outbox_producer", [false, false, false], [false; 4]),
        ("outbox_reader", [false, false, true], [false; 4]),
        ("outbox_daemon", [true, true, false], [false, false, false, true]),
        ("outbox_admin", [true; 3], [true; 4]),
    ] {
        database.execute(&format!("SET ROLE {role}")).await;
        let all = reads.iter().zip(may_read).chain(writes.iter().zip(may_write));
        for (sql, may) in all {
            let done = database.try_execute(sql).await;
            let code = done.err().and_then(|error| error.code().map(|code| code.code().to_owned()));
            let expected = (!may).then_some("42501");
            assert_eq!(code.as_deref(), expected, "{role}: {sql}");
        }
        database.execute("RESET ROLE").await;
    }
}
