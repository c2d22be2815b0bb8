//! What the official Standard Webhooks libraries say of real deliveries.
//!
//! `make test` installs them below `target/verifiers`.

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
    json!({ "secret": SECRET, "body": body, "headers": headers, "type": event_type }).to_string()
}

fn verify_with(mut verifier: Command, requests: &[String]) {
    let mut child = verifier
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{verifier:?}: {error}; 'make test' installs it"));
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(requests.join("\n").as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{verifier:?} refused");
    let verified = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(verified, requests.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_libraries_accept_every_sample_event() {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/verifiers");
    let mut python = Command::new(installed.join("python/bin/python"));
    python.arg(root.join("tests/verifiers/verify.py"));
    verify_with(python, &captured);
    let mut node = Command::new("node");
    node.arg(root.join("tests/verifiers/verify.mjs")).arg(installed.join("javascript"));
    verify_with(node, &captured);
}
