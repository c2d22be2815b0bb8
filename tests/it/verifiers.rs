//! What receivers say of real deliveries: the code of `docs/verifying.md` in each language, and the
//! platforms' own libraries. `tests/verifiers/check.py` asks them.
//!
//! `make test` installs what it needs below `target/verifiers`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Database, SECRET, TestDaemon};
use crate::receiver::{Receiver, Request};

/// The sample events of the platforms that outboxd stands in for.
const SAMPLES: &str = include_str!("../../src/demo/events.json");

/// An endpoint that the events of one tenant go to.
struct Platform {
    tenant: &'static str,
    profile: &'static str,
    secret: &'static str,
    public_key: Option<&'static str>,
}

const fn platform(tenant: &'static str, profile: &'static str, secret: &'static str) -> Platform {
    Platform { tenant, profile, secret, public_key: None }
}

/// The platforms of the samples, and the other profiles, each with a tenant of its own.
const PLATFORMS: [Platform; 11] = [
    platform("sprusify", "sprusify", "correct horse battery staple"),
    platform("rebusai", "rebusai", "correct horse battery staple"),
    platform("glossary", "standard", SECRET),
    platform("sparkloop", "sparkloop", "correct horse battery staple"),
    platform("aohgcctyskc0p", "saasquatch", "the tenant's key"),
    platform("a", "github", "It's a Secret to Everybody"),
    platform("b", "stripe", "whsec_5OgnYcGnqmVjqHiB9bPcmZxJqx6Zb0QZ"),
    platform("c", "shopify", "hush"),
    platform("d", "svix", SECRET),
    platform("e", "cloudevents", SECRET),
    // The first key of RFC 8032, section 7.1.
    Platform {
        tenant: "f",
        profile: "standard",
        secret: "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=",
        public_key: Some("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    },
];

/// Payloads for the profiles that have no samples.
const SHAPES: [&str; 7] = [
    "{}",
    "[]",
    " [1, 2.50,\t3e400]",
    "{\"a\": {\"signature\": \"x\"}, \"amount\": 85.50, \"who\":\"caf\\u00e9 \u{2615}\"}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"deep\":null}]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "\"\u{1F600} \u{20000} \u{30000} \u{E0041} \u{F0000} \u{10FFFD} \\ud83d\\ude00 \\\" \\\\\"",
    "null",
];

fn captured(request: &Request) -> String {
    let name = request.path.trim_start_matches('/');
    let platform = PLATFORMS.iter().find(|one| one.tenant == name).expect("a platform");
    let headers: serde_json::Map<String, serde_json::Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let body = String::from_utf8_lossy(&request.body);
    let Platform { profile, secret, public_key, .. } = platform;
    json!({
        "profile": profile, "secret": secret, "public_key": public_key, "body": body,
        "headers": headers,
    })
    .to_string()
}

/// Runs `check.py` with these arguments and this text, and fails when it does.
fn check(arguments: &[&str], deliveries: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/verifiers/python/bin/python");
    let mut child = Command::new(&python)
        .arg(root.join("tests/verifiers/check.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; 'make test' installs it", python.display()));
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(deliveries.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("its end");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "surprises, see above:\n{table}");
    assert!(table.contains("Python"), "a table: {table:?}");
}

#[test]
fn receivers_judge_the_vectors_and_awkward_payloads_rightly() {
    check(&["--vectors"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_accept_every_sample_event_and_nothing_made_of_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    for Platform { tenant, profile, secret, .. } in &PLATFORMS {
        let sql = "SELECT outbox.subscribe($1, tenant => $2, profile => $3, secret => $4)";
        database.rows(sql, &[&receiver.url(&format!("/{tenant}")), tenant, profile, secret]).await;
    }
    let daemon = TestDaemon::start(&database).await;
    let emit = async |event_type: &str, payload: &str, tenant: &str| {
        let sql = "SELECT outbox.emit($1, $2::text::json, tenant => $3)";
        database.rows(sql, &[&event_type, &payload, &tenant]).await;
    };
    let samples: Vec<serde_json::Value> = serde_json::from_str(SAMPLES).expect("JSON");
    for sample in &samples {
        let text = |name: &str| sample[name].as_str();
        let tenant = text("tenant").or(text("platform")).expect("a platform");
        let event_type = text("type").expect("a type");
        emit(event_type, &sample["payload"].to_string(), tenant).await;
    }
    let others = &PLATFORMS[5..];
    for (platform, shape) in others.iter().flat_map(|one| SHAPES.map(|shape| (one, shape))) {
        emit("a.b", shape, platform.tenant).await;
    }
    let requests = receiver.wait_for(samples.len() + others.len() * SHAPES.len()).await;
    for sample in &samples {
        let payload = sample["payload"].to_string();
        let members = payload.trim_start_matches('{').trim_end_matches('}');
        let whole = |request: &Request| String::from_utf8_lossy(&request.body).contains(members);
        assert!(requests.iter().any(whole), "{payload} arrived changed");
    }
    let captured: Vec<String> = requests.iter().map(captured).collect();
    daemon.stop().await.expect("an orderly end");
    check(&[], &captured.join("\n"));
}
