//! What receivers see of each profile, what counts as success, and how failures are repeated.

use std::path::PathBuf;

use crate::harness::{Database, TestDaemon, outboxd};
use crate::receiver::{Receiver, Reply};

/// A configuration file of a test's own, removed at its end.
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn new(text: &str) -> Self {
        let name = format!("outboxd-profiles-{:016x}.toml", fastrand::u64(..));
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("written");
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a text")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// An endpoint of this profile with a secret.
async fn subscribe(database: &Database, profile: &str, url: &str) {
    let sql = format!(
        "SELECT outbox.subscribe('{url}', profile => '{profile}', secret => 'correct horse', \
         name => '{profile}')"
    );
    database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schedule_makes_the_attempts_its_platform_promises() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    let promises = [("saasquatch", 72), ("sparkloop", 4), ("shopify", 8), ("sprusify", 20)];
    for (profile, _) in promises {
        subscribe(&database, profile, &receiver.url(&format!("/{profile}"))).await;
    }
    let daemon =
        TestDaemon::start_with(&database.url, &[("delivery.retry_scale", "0.000001")]).await;
    database.emit("user.created", "{}").await;
    database.wait_until_idle().await;
    for (profile, attempts) in promises {
        let path = format!("/{profile}");
        let count = receiver.requests().iter().filter(|request| request.path == path).count();
        assert_eq!(count, attempts, "{profile}");
        let ended = format!(
            "SELECT status || ' ' || attempts FROM outbox.deliveries \
             WHERE endpoint_name = '{profile}'"
        );
        assert_eq!(database.text(&ended).await, format!("exhausted {attempts}"));
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn until_success_goes_on_after_its_delays_are_used_up() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let failures = 30;
    receiver.otherwise(
        std::iter::repeat_n(Reply::status(503), failures)
            .chain([Reply::status(200)])
            .collect::<Vec<_>>(),
    );
    database.subscribe("glossary", &receiver.url("/")).await;
    database.execute("UPDATE outbox.endpoints SET retry = 'until-success'").await;
    let daemon =
        TestDaemon::start_with(&database.url, &[("delivery.retry_scale", "0.000001")]).await;
    database.emit("payment_completed", "{}").await;
    database.wait_until_idle().await;
    let ended = "SELECT status || ' ' || attempts FROM outbox.deliveries";
    assert_eq!(database.text(ended).await, format!("delivered {}", failures + 1));
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delays_of_the_seeds_are_exact() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    let delays = [("saasquatch", 3600), ("sparkloop", 30), ("sprusify", 60), ("shopify", 60)];
    for (profile, _) in delays {
        subscribe(&database, profile, &receiver.url(&format!("/{profile}"))).await;
    }
    let daemon = TestDaemon::start(&database).await;
    for _ in 0..10 {
        database.emit("user.created", "{}").await;
    }
    database
        .wait_for(
            "SELECT count(*) FROM outbox.deliveries WHERE attempts = 1 AND status = 'pending'",
            "40",
        )
        .await;
    for (profile, delay) in delays {
        // On a busy machine it takes some time until it is recorded; nothing ever comes early.
        let exact = format!(
            "SELECT bool_and(next_attempt_at - started_at \
                             BETWEEN interval '{delay}s' - interval '5 ms' AND interval '{delay}s' + interval '20 s') \
             FROM outbox.deliveries JOIN outbox.attempts USING (event_id, endpoint_id) \
             WHERE endpoint_name = '{profile}'"
        );
        assert_eq!(database.text(&exact).await, "true", "{profile}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_what_the_profile_says() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(201));
    for profile in ["saasquatch", "standard", "sparkloop"] {
        subscribe(&database, profile, &receiver.url(&format!("/{profile}"))).await;
    }
    database.execute("SELECT outbox.rotate_secret('standard', overlap => '0')").await;
    let daemon = TestDaemon::start(&database).await;
    database.emit("user.created", "{}").await;
    database.wait_for("SELECT count(*) FROM outbox.attempts", "3").await;
    let ends = "SELECT string_agg(endpoint_name || ' ' || status || ' ' || last_outcome || ' ' || last_status, \
                ', ' ORDER BY endpoint_name) FROM outbox.deliveries";
    assert_eq!(
        database.text(ends).await,
        "saasquatch pending http_2xx 201, sparkloop pending http_2xx 201, standard delivered success 201"
    );
    let (_, metrics) = daemon.get("/metrics").await;
    let counted = "outboxd_delivery_attempts_total{endpoint=\"sparkloop\",outcome=\"http_2xx\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_is_reported_at_once_and_never_sent() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let url = receiver.url("/");
    let insert = format!(
        "INSERT INTO outbox.endpoints (name, url, profile) VALUES ('bare', '{url}', 'sprusify')"
    );
    database.execute(&insert).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "1h")]).await;
    database.emit("order.created", "{}").await;
    let error = "SELECT outcome || ': ' || error FROM outbox.attempts";
    let expected = "protocol: nothing was sent: there is no secret to sign the header \
                    X-Spru-Signature with; give the endpoint one with outbox.rotate_secret, or its \
                    tenant with outbox.set_tenant_secret";
    database.wait_for(error, expected).await;
    assert_eq!(database.text("SELECT status FROM outbox.deliveries").await, "pending");
    assert_eq!(receiver.requests().len(), 0);
    // With a secret it goes out as if nothing had been.
    database.execute("SELECT outbox.rotate_secret('bare', 'k')").await;
    database.execute("UPDATE outbox.work SET due_at = now()").await;
    let requests = receiver.wait_for(1).await;
    assert!(requests[0].header("x-spru-signature").is_some());
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_does_not_fit_ends_its_delivery_and_no_other() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    for profile in ["sparkloop", "sprusify"] {
        subscribe(&database, profile, &receiver.url(&format!("/{profile}"))).await;
    }
    let daemon = TestDaemon::start(&database).await;
    let array = database.emit("new_referral", "[1, 2]").await;
    let object = database.emit("new_referral", "{\"a\": 1}").await;
    database.wait_until_idle().await;
    let of = |path: &str| {
        let requests = receiver.requests();
        let ids = requests.iter().filter(|request| request.path == path);
        ids.map(|request| request.header("webhook-id").map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(of("/sparkloop"), [Some(object.clone())]);
    assert_eq!(of("/sprusify").len(), 2);
    let ended = format!(
        "SELECT status || ' ' || attempts || ' ' || last_outcome || ' ' || error \
         FROM outbox.deliveries JOIN outbox.attempts USING (event_id, endpoint_id) \
         WHERE endpoint_name = 'sparkloop' AND event_id = '{array}'"
    );
    assert_eq!(
        database.text(&ended).await,
        "exhausted 1 protocol nothing was sent: the profile needs a payload that is a JSON object, \
         and it is none"
    );
    daemon.stop().await.expect("an orderly end");
}

const OURS: &str = "[profile.ours]\nbody = '{\"kind\":\"{{type}}\",{{members}}}'\nsuccess = '202'\n\
    [profile.ours.headers]\nx-tenant = '{{tenant}}'\n[[profile.ours.signature]]\n\
    header = 'x-sig'\nalgorithm = 'token'\nencoding = 'base64'\nvalue = 'Basic {{signatures}}'\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_the_configuration_is_taken_over_by_a_reload() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(202));
    subscribe(&database, "ours", &receiver.url("/")).await;
    let file = ConfigFile::new("");
    let settings = [("config", file.path())];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    let reason = "SELECT state || ': ' || state_reason FROM outbox.endpoints";
    let unknown = "invalid: profile: there is no profile 'ours'; there are standard, sprusify, \
                   rebusai, sparkloop, saasquatch, github, stripe, shopify, svix, cloudevents";
    database.wait_for(reason, unknown).await;
    database.execute("SELECT outbox.emit('a.b', '{\"n\": 1.0}', tenant => 'acme')").await;
    file.write(OURS);
    daemon.reconfigure(&database.url, &settings).await;
    let requests = receiver.wait_for(1).await;
    assert_eq!(requests[0].body, r#"{"kind":"a.b","n": 1.0}"#);
    assert_eq!(requests[0].header("x-sig"), Some("Basic Y29ycmVjdCBob3JzZQ=="));
    assert_eq!(requests[0].header("x-tenant"), Some("acme"));
    assert!(requests[0].header("webhook-signature").is_none());
    let agent = format!("outboxd/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(requests[0].header("user-agent"), Some(agent.as_str()));
    database.wait_until_idle().await;
    assert_eq!(database.text("SELECT status FROM outbox.deliveries").await, "delivered");
    daemon.stop().await.expect("an orderly end");
}

#[test]
fn the_configuration_check_tells_line_and_reason_of_every_mistake() {
    let file = ConfigFile::new(
        "[profile.ours]\nbody = '{{payload'\n\n[[profile.ours.signature]]\nheader = 'Host'\n\
         algorithm = 'md5'\n\n[profile.stripe]\n",
    );
    let run = |args: &[&str]| {
        let mut command = outboxd("postgres://u@db/x", &[("config", file.path())]);
        let output = command.args(args).output().expect("a process");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, problems) = run(&["config", "check"]);
    let lines: Vec<&str> = problems.lines().collect();
    assert_eq!((code, lines.len()), (Some(78), 4), "{problems}");
    for (line, (key, place, reason)) in lines.iter().zip([
        ("profile.ours.body = ", "line 2", "not closed"),
        ("profile.ours.signature[1].header = ", "line 5", "steers"),
        ("profile.ours.signature[1].algorithm = \"md5\"", "line 6", "one of hmac-sha256"),
        ("profile.stripe (", "line 8", "built in"),
    ]) {
        let told = line.starts_with(key) && line.contains(place) && line.contains(reason);
        assert!(told, "{line}");
    }
    // What is built in can be seen meanwhile, and what may be in the file cannot.
    assert_eq!(run(&["profiles", "show", "saasquatch"]).0, Some(0));
    assert_eq!(run(&["profiles", "show", "ours"]).0, Some(78));
    file.write(OURS);
    let (code, shown, _) = run(&["profiles", "show", "ours"]);
    assert!(code == Some(0) && shown.contains("[[profile.ours.signature]]"), "{shown}");
    assert_eq!(run(&["profiles", "show", "theirs"]).0, Some(1));
    // What is shown can be pasted back.
    file.write(&shown);
    assert_eq!(
        run(&["profiles", "show", "ours"]).1.split("# Retries").next(),
        shown.split("# Retries").next()
    );
    let (_, listed, _) = run(&["profiles", "list", "--json"]);
    assert_eq!(listed.lines().count(), 11);
}
