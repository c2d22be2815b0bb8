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

fn captured(request: &Request, event_type: &str) -> String {
    let headers: serde_json::Map<String, serde_json::Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let body = String::from_utf8_lossy(&request.body);
    assert!(body.starts_with(&format!(r#"{{"type":"{event_type}""#)), "{body}");
    json!({ "profile": "standard", "secret": SECRET, "body": body, "headers": headers }).to_string()
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
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    let samples: Vec<serde_json::Value> = serde_json::from_str(SAMPLES).expect("JSON");
    let mut types = std::collections::HashMap::new();
    for sample in &samples {
        let event_type = sample["type"].as_str().expect("a type");
        let sql = "SELECT outbox.emit($1, $2::text::json)";
        let rows = database.rows(sql, &[&event_type, &sample["payload"].to_string()]).await;
        types.insert(rows[0].get::<_, String>(0), event_type);
    }
    let requests = receiver.wait_for(samples.len()).await;
    let captured: Vec<String> = requests
        .iter()
        .map(|request| captured(request, types[request.header("webhook-id").expect("an id")]))
        .collect();
    daemon.stop().await.expect("an orderly end");
    check(&[], &captured.join("\n"));
}
