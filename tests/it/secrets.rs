//! How secrets are stored: sealed as soon as they arrive, opened by whoever has the key.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use outboxd::seal::{Keyring, MasterKey};
use outboxd::sign::{Secret, verify_standard};
use serde_json::Value;

use crate::harness::{self, Database, SECRET, TestDaemon};
use crate::receiver::{Receiver, Request};

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PLAIN_LEFT: &str = "SELECT count(*) FROM outbox.secrets WHERE secret NOT LIKE 'sealed:v1:%'";

fn key(text: &str) -> MasterKey {
    MasterKey::parse(text).expect("a master key")
}

/// Whether a receiver with this secret takes the request, and how many signatures it carries.
pub fn verifies(request: &Request, secret: &str) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let secret = [Secret::parse(secret).expect("a secret")];
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    verify_standard(&secret, id, timestamp, signature, &request.body, 0, i64::MAX).is_ok()
}

pub fn signatures(request: &Request) -> usize {
    request.header("webhook-signature").unwrap_or_default().split(' ').count()
}

/// All secrets, oldest first.
async fn opened(database: &Database, keys: &Keyring) -> Vec<String> {
    let stored = database.rows("SELECT secret FROM outbox.secrets ORDER BY number", &[]).await;
    stored.iter().map(|row| keys.open(row.get(0)).expect("it opens")).collect()
}

pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self, name: &str) -> Value {
        let row: Value = serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}", self.out));
        row[name].clone()
    }
}

/// The binary with these settings, and a text on its stdin.
pub fn outboxd(database: &Database, settings: &[(&str, &str)], args: &[&str], input: &str) -> Said {
    let mut command = harness::outboxd(&database.url, settings);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A command that wants no input may have ended.
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_plain_is_sealed_at_once_and_still_signs() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let daemon = TestDaemon::start_with(&database.url, &[("secrets.master_key", ONE)]).await;
    daemon.wait_until_ready().await;
    database.subscribe("one", &receiver.url("/")).await;
    database
        .execute(&format!(
            "INSERT INTO outbox.endpoints (name, url) VALUES ('bare', '{}');
             SELECT outbox.set_tenant_secret('nobody yet', '{OTHER_SECRET}');
             INSERT INTO outbox.secrets (endpoint_id, secret, expires_at)
             SELECT id, '{OTHER_SECRET}', now() + interval '1 hour' FROM outbox.endpoints
             WHERE name = 'one'",
            receiver.url("/bare")
        ))
        .await;
    // Those of the statements above, and the one that the daemon gives 'bare'.
    database.wait_for("SELECT count(*) FROM outbox.secrets", "4").await;
    database.wait_for(PLAIN_LEFT, "0").await;
    let stored = database.text("SELECT string_agg(secret, ' ') FROM outbox.secrets").await;
    assert!(!stored.contains(SECRET) && !stored.contains(OTHER_SECRET), "{stored}");
    database.emit("a", "{}").await;
    let requests = receiver.wait_for(2).await;
    let of_one = requests.iter().find(|request| request.path == "/").expect("a request");
    assert!(verifies(of_one, SECRET) && verifies(of_one, OTHER_SECRET));
    assert_eq!(signatures(of_one), 2);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_seals_before_it_writes() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database
        .execute(
            "CREATE TABLE seen (secret text);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO public.seen VALUES (NEW.secret); RETURN NEW; END';
             CREATE TRIGGER see AFTER INSERT OR UPDATE ON outbox.secrets
                 FOR EACH ROW EXECUTE FUNCTION see()",
        )
        .await;
    let settings = [("secrets.master_key", ONE)];
    let run = |args: &[&str], input: &str| {
        let said = outboxd(&database, &settings, args, input);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        said
    };
    let added = run(&["endpoints", "add", &receiver.url("/"), "--name", "one", "--json"], "")
        .json("secret");
    let added = added.as_str().expect("the secret is shown");
    let rotated = run(&["endpoints", "rotate-secret", "one", "--json"], "").json("secret");
    let rotated = rotated.as_str().expect("the secret is shown");
    let given = run(&["secrets", "set-tenant", "acme", "--secret-stdin"], OTHER_SECRET);
    assert_eq!(given.out, "", "who gave the secret knows it");
    let seen = database.text("SELECT string_agg(secret, ' ') FROM seen").await;
    assert!(seen.contains("sealed:v1:"), "{seen}");
    for secret in [added, rotated, OTHER_SECRET] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
    let keys = Keyring::new(vec![key(ONE)]);
    assert_eq!(opened(&database, &keys).await, [added, rotated, OTHER_SECRET]);

    let listed = run(&["secrets", "list", "--json"], "");
    assert_eq!(listed.out.matches(&format!(r#""stored":"{}""#, key(ONE).id())).count(), 3);
    assert!(!listed.out.contains("whsec_") && !listed.out.contains("sealed:"), "{}", listed.out);

    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    let request = receiver.wait_for(1).await[0].clone();
    assert!(verifies(&request, added) && verifies(&request, rotated));
    assert_eq!(signatures(&request), 2);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_at_hand_a_command_says_that_it_writes_plain() {
    let database = Database::new().await;
    let encrypted = [("secrets.master_key", ONE)];
    let add = |settings: &[(&str, &str)], name: &str| {
        let url = format!("https://example.com/{name}");
        outboxd(&database, settings, &["endpoints", "add", &url, "--name", name], "")
    };
    let said = add(&encrypted, "one");
    assert!(said.code == Some(0) && !said.err.contains("plain text"), "{}", said.err);
    let said = add(&[], "two");
    assert!(said.code == Some(0) && said.err.contains("plain text"), "{}", said.err);
    assert_eq!(database.text(PLAIN_LEFT).await, "1");
    let doctor = outboxd(&database, &encrypted, &["doctor"], "");
    assert!(doctor.out.contains("1 still in plain text"), "{}", doctor.out);
    let doctor = outboxd(&database, &[("secrets.master_key", TWO)], &["doctor"], "");
    let lost = format!("1 encrypted under master key {}, which is not at hand", key(ONE).id());
    assert!(doctor.out.contains(&lost), "{}", doctor.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_signs_with_both_while_both_are_sealed() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let daemon = TestDaemon::start_with(&database.url, &[("secrets.master_key", ONE)]).await;
    database.subscribe("one", &receiver.url("/")).await;
    database.wait_for(PLAIN_LEFT, "0").await;
    let fresh = database.text("outbox.rotate_secret('one')").await;
    database.wait_for(PLAIN_LEFT, "0").await;
    database.emit("a", "{}").await;
    let request = receiver.wait_for(1).await[0].clone();
    assert!(verifies(&request, SECRET) && verifies(&request, &fresh));
    assert_eq!(signatures(&request), 2);
    // The same secret again is one secret: that its older row is sealed otherwise changes nothing.
    database.execute(&format!("SELECT outbox.rotate_secret('one', '{fresh}')")).await;
    database.emit("a", "{}").await;
    let request = receiver.wait_for(2).await[1].clone();
    assert!(verifies(&request, SECRET) && verifies(&request, &fresh));
    assert_eq!(signatures(&request), 2);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_makes_the_endpoint_invalid_until_it_is_back() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let sealing = outboxd(&database, &[("secrets.master_key", ONE)], &["secrets", "rewrap"], "");
    assert_eq!(sealing.code, Some(0), "{}", sealing.err);
    // One that opens keeps the daemon from refusing to start.
    let given =
        outboxd(&database, &[("secrets.master_key", TWO)], &["secrets", "set-tenant", "a"], "");
    assert_eq!(given.code, Some(0), "{}", given.err);
    let daemon = TestDaemon::start_with(&database.url, &[("secrets.master_key", TWO)]).await;
    database.wait_for("SELECT state FROM outbox.endpoints", "invalid").await;
    let reason = database.text("SELECT state_reason FROM outbox.endpoints").await;
    assert!(reason.contains(key(ONE).id()) && !reason.contains("sealed:v1"), "{reason}");
    database.emit("a", "{}").await;
    database.wait_for("SELECT count(*) FROM outbox.work", "1").await;
    assert_eq!(receiver.requests().len(), 0);
    let both = format!("{TWO} {ONE}");
    daemon.reconfigure(&database.url, &[("secrets.master_key", &both)]).await;
    let request = receiver.wait_for(1).await[0].clone();
    assert!(verifies(&request, SECRET));
    database.wait_for("SELECT state FROM outbox.endpoints", "active").await;

    // A key that is lost for good: a new secret is enough, without a resume.
    daemon.reconfigure(&database.url, &[("secrets.master_key", TWO)]).await;
    database.wait_for("SELECT state FROM outbox.endpoints", "invalid").await;
    let fresh = database.text("outbox.rotate_secret('one', overlap => '0')").await;
    database.emit("a", "{}").await;
    let request = receiver.wait_for(2).await[1].clone();
    assert!(verifies(&request, &fresh) && signatures(&request) == 1);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrap_moves_everything_under_the_first_key() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let both = format!("{TWO} {ONE}");
    let rewrap = |keys: &str, args: &[&str]| {
        let args = [&["secrets", "rewrap", "--json"], args].concat();
        outboxd(&database, &[("secrets.master_key", keys)], &args, "")
    };
    assert_eq!(rewrap(ONE, &[]).json("were_plain"), 1);
    database.execute(&format!("SELECT outbox.set_tenant_secret('acme', '{OTHER_SECRET}')")).await;
    let before = database.text("SELECT string_agg(secret, ' ') FROM outbox.secrets").await;
    let lost = rewrap(TWO, &["--dry-run"]);
    assert_eq!((lost.code, lost.json("not_opened")), (Some(1), 1.into()), "{}", lost.err);
    assert!(lost.err.contains(key(ONE).id()), "{}", lost.err);
    let tried = rewrap(&both, &["--dry-run"]);
    let counts = |said: &Said| ["were_plain", "were_under_another_key"].map(|name| said.json(name));
    assert_eq!(counts(&tried), [1, 1]);
    let after = database.text("SELECT string_agg(secret, ' ') FROM outbox.secrets").await;
    assert_eq!(before, after, "a dry run changes nothing");
    assert_eq!(counts(&rewrap(&both, &[])), [1, 1]);
    assert_eq!(rewrap(TWO, &[]).json("were_current"), 2);

    let daemon = TestDaemon::start_with(&database.url, &[("secrets.master_key", TWO)]).await;
    database.emit("a", "{}").await;
    assert!(verifies(&receiver.wait_for(1).await[0], SECRET));
    daemon.stop().await.expect("an orderly end");
    let plain = outboxd(&database, &[], &["secrets", "rewrap"], "");
    assert_eq!(plain.code, Some(78), "{}", plain.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_while_it_is_sealed_keeps_the_change() {
    let database = Database::new().await;
    let watching = Database::at(database.url.clone()).await;
    database.subscribe("one", "https://example.com/").await;
    // Somebody is changing secrets, and not done when the command finds the old one.
    database
        .execute("BEGIN; INSERT INTO outbox.secrets (tenant, secret) VALUES ('acme', 'a token')")
        .await;
    let mut command = harness::outboxd(&database.url, &[("secrets.master_key", ONE)]);
    command.args(["secrets", "rewrap"]).stdout(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    watching.wait_for(waiting, "1").await;
    let change =
        format!("UPDATE outbox.secrets SET secret = '{OTHER_SECRET}' WHERE tenant IS NULL");
    database.execute(&change).await;
    database.execute("COMMIT").await;
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic");
    assert_eq!(status.expect("its end").code(), Some(0));
    let keys = Keyring::new(vec![key(ONE)]);
    assert_eq!(opened(&database, &keys).await, [OTHER_SECRET, "a token"]);
    assert_eq!(database.text(PLAIN_LEFT).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrapping_sealing_and_rotating_at_once_lose_no_secret() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let both = format!("{TWO} {ONE}");
    // Daemons that disagree on the first key, while secrets come and go.
    let one = TestDaemon::start_with(&database.url, &[("secrets.master_key", &both)]).await;
    let other = format!("{ONE} {TWO}");
    let two = TestDaemon::start_with(&database.url, &[("secrets.master_key", &other)]).await;
    let mut expected = vec![SECRET.to_owned()];
    for turn in 0..20 {
        expected.push(database.text("outbox.rotate_secret('one')").await);
        if turn % 5 == 0 {
            let settings = [("secrets.master_key", both.as_str())];
            let said = outboxd(&database, &settings, &["secrets", "rewrap"], "");
            assert_eq!(said.code, Some(0), "{}", said.err);
        }
    }
    database.wait_for(PLAIN_LEFT, "0").await;
    let keys = Keyring::new(vec![key(TWO), key(ONE)]);
    assert_eq!(opened(&database, &keys).await, expected);
    let state = "SELECT state FROM outbox.endpoints";
    assert_eq!(database.text(state).await, "active");
    for daemon in [one, two] {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_without_a_key_is_refused_to_all_who_need_it() {
    let database = Database::new().await;
    let settings = [("secrets.storage", "encrypted")];
    let add = ["endpoints", "add", "https://example.com/"];
    for args in [
        &["run"][..],
        &["config", "check"],
        &add,
        &["secrets", "rewrap"],
        &["secrets", "set-tenant", "a"],
    ] {
        let said = outboxd(&database, &settings, args, "");
        assert_eq!(said.code, Some(78), "{args:?}: {}", said.err);
        assert!(said.err.contains("secrets.master_key_file"), "{args:?}: {}", said.err);
    }
    assert_eq!(database.text("SELECT count(*) FROM outbox.secrets").await, "0");
    // Who only looks, or changes something else, may leave the key where it is.
    for args in [&["endpoints", "list"][..], &["secrets", "list"], &["stats"]] {
        let said = outboxd(&database, &settings, args, "");
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
    }
}

/// What a daemon says until it has started.
fn opening_lines(command: &mut Command) -> String {
    let mut child = command.arg("run").stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        said.push_str(&line);
        if line.contains("outboxd starts") {
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("its end");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_url_alone_runs_and_warns_once_of_plain_secrets() {
    let database = Database::new().await;
    let said = opening_lines(&mut harness::outboxd(&database.url, &[]));
    assert_eq!(said.matches("stored in plain text").count(), 1, "{said}");
    assert!(said.contains("generate-master-key") && said.contains("outboxd starts"), "{said}");
    for settings in [[("secrets.storage", "plain")], [("secrets.master_key", ONE)]] {
        let said = opening_lines(&mut harness::outboxd(&database.url, &settings));
        assert!(said.contains("outboxd starts") && !said.contains("plain text"), "{said}");
    }
}

#[test]
fn a_generated_master_key_is_one_line_that_is_accepted() {
    let output = harness::outboxd("", &[]).args(["secrets", "generate-master-key"]).output();
    let output = output.expect("it runs");
    let made = String::from_utf8(output.stdout).expect("text");
    assert_eq!((output.status.code(), made.lines().count()), (Some(0), 1), "{made}");
    MasterKey::parse(&made).expect("a key");
    assert!(String::from_utf8_lossy(&output.stderr).contains("0600"));
}
