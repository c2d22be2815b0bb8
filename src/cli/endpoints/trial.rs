//! `outboxd endpoints test`: does this receiver take what is sent to it, and if not, why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::desk::Desk;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format, Row};
use crate::config::duration;
use crate::profile::UNSENT;
use crate::store::manage::{
    ATTEMPT_LIST, DAEMONS_ALIVE, DELIVERY_SHOW, ENDPOINT_SHOW, ENDPOINT_TEST,
};

/// Between two looks for the result; SQL offers nothing to wait on.
const LOOK: Duration = Duration::from_millis(250);

/// Options of `endpoints test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The endpoint's id or name
    endpoint: String,
    /// Send the example that the catalogue has of this event type, instead of a test event; see
    /// 'outboxd event-types list'
    #[arg(long, value_name = "TYPE")]
    sample: Option<String>,
    /// How long to wait for the result
    #[arg(long, default_value = "30s", value_parser = duration::parse)]
    wait: Duration,
    #[command(flatten)]
    format: Format,
}

/// Sends a test event and reports its first attempt.
///
/// # Errors
/// Of the database; or there is no such endpoint, it is not active, the attempt failed, or none was
/// made in time.
pub async fn run(desk: &Desk, args: &Args) -> Result<(), Failure> {
    let endpoint = Some(args.endpoint.as_str());
    require_active(&desk.row(ENDPOINT_SHOW, &[endpoint]).await?, "nothing was sent")?;
    let running = desk.value(DAEMONS_ALIVE, &[]).await? != 0;
    if !running {
        eprintln!("no daemon seems to be running; start one with: outboxd run");
    }
    let event = desk.value(ENDPOINT_TEST, &[endpoint, args.sample.as_deref()]).await?;
    let event = event.as_str().unwrap_or_default();
    let Some(attempt) = wait(desk, event, args.wait).await? else {
        require_active(&desk.row(ENDPOINT_SHOW, &[endpoint]).await?, "the test event waits")?;
        let waited = duration::short(args.wait);
        let why = if running {
            "other deliveries to it may be ahead of it"
        } else {
            "no daemon seems to be running"
        };
        return Err(Failure::failed(format!(
            "no attempt was made in {waited}: {why}; the result will be in: \
             outboxd events show {event}"
        )));
    };
    let mut report = Row::new();
    report.insert("event_id".to_owned(), json!(event));
    for column in ["outcome", "http_status", "duration_ms", "remote_addr", "error"] {
        report.insert(column.to_owned(), attempt.get(column).cloned().unwrap_or_default());
    }
    output::print_one(args.format, &report)?;
    let outcome = report.get("outcome").and_then(Value::as_str).unwrap_or_default();
    if outcome == "success" {
        return Ok(());
    }
    let status = report.get("http_status").and_then(Value::as_u64);
    let name = &args.endpoint;
    let error = report.get("error").and_then(Value::as_str).unwrap_or_default();
    let hint = if error.starts_with(UNSENT) {
        "its profile cannot make a request of this event; the error says what is missing"
    } else {
        hint(outcome, status, args.sample.is_some())
    };
    let mut message = format!("{name} did not take the test event: {hint}");
    let delivery = desk.row(DELIVERY_SHOW, &[Some(event), endpoint]).await?;
    if delivery.get("finished_at").is_none_or(Value::is_null) {
        message.push_str(&format!(
            "\nit is sent again as scheduled; to stop that: \
             outboxd deliveries cancel {event} {name}"
        ));
    }
    Err(Failure::failed(message))
}

/// Deliveries to an endpoint that is not active are not sent.
fn require_active(shown: &Row, consequence: &str) -> Result<(), Failure> {
    let text = |name| shown.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("state") == "active" {
        return Ok(());
    }
    let mend = match text("state") {
        "invalid" if text("state_reason").starts_with("secret:") => {
            // With an overlap the old secret would keep it invalid.
            "give it another secret with: outboxd endpoints rotate-secret --overlap 0s"
        }
        "invalid" => "mend it with: outboxd endpoints update",
        _ => "let it go on with: outboxd endpoints resume",
    };
    let (name, state) = (text("name"), text("state"));
    let reason = output::escaped(text("state_reason"));
    Err(Failure::failed(format!("{name} is {state} ({reason}), so {consequence}; {mend} {name}")))
}

/// The first attempt of the event, once it is there.
async fn wait(desk: &Desk, event: &str, patience: Duration) -> Result<Option<Row>, Failure> {
    let started = Instant::now();
    loop {
        let first = desk.rows(ATTEMPT_LIST, &[Some(event), None]).await?.into_iter().next();
        if first.is_some() || started.elapsed() >= patience {
            return Ok(first);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What to look at first, for an attempt that did not succeed.
fn hint(outcome: &str, status: Option<u64>, is_sample: bool) -> &'static str {
    match (outcome, status) {
        ("blocked", _) => {
            "its address is refused; if it is meant, add it to delivery.allow of the daemon"
        }
        ("tls", _) => {
            "TLS with it does not come about; check that the port speaks TLS, and that the \
             certificate is valid for this host and complete with its chain, or name the issuer's \
             PEM file in delivery.ca_file"
        }
        ("dns", _) => "its name does not resolve on the daemon's host; check the URL",
        ("tcp", _) => {
            "it refuses or drops connections; check that it runs, the port in the URL, and \
             firewalls"
        }
        ("timeout_connect", _) => {
            "no connection came about in time; check the URL and firewalls between it and the \
             daemon"
        }
        ("timeout_response", _) => {
            "it took the request and did not answer in time; it should answer before it does its \
             work, or needs a longer --timeout"
        }
        ("http_2xx", _) => {
            "it answers with a status that its profile does not count as success; see outboxd \
             profiles show, or set --success"
        }
        ("http_3xx", _) => "it redirects, which is not followed; update the URL to where it points",
        ("http_4xx", Some(401 | 403)) => {
            "it rejects the signature or credentials; check that it has this endpoint's secret, \
             and that --header brings what else it asks for"
        }
        ("http_4xx", Some(404 | 405)) => {
            "there is nothing that takes a POST at this path; check the URL"
        }
        ("http_4xx", Some(400 | 422)) if is_sample => {
            "it does not like the request; the example in the catalogue may not be what it expects \
             of this event type"
        }
        ("http_4xx", Some(400 | 422)) => {
            "it does not like the request; test events have the type 'test', and it may know only \
             its own: try one of those with --sample"
        }
        ("http_4xx", _) => "it refuses the request; its log should say why",
        ("http_410", _) => "it says that it is gone for good, which disables the endpoint",
        ("http_429", _) => "it gets more than it wants; lower --rate or --max-in-flight",
        ("http_5xx", _) => "it failed on its side; its log should say why",
        ("protocol", _) => "what it answers is not HTTP; check scheme and port of the URL",
        ("interrupted", _) => "the daemon was interrupted before it knew; try again",
        _ => "see the error above",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn every_failure_has_a_hint_of_its_own() {
        for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Success) {
            assert_ne!(hint(outcome.as_str(), None, false), "see the error above", "{outcome:?}");
        }
        assert!(hint("http_4xx", Some(401), false).contains("secret"));
        assert!(hint("http_4xx", Some(400), false).contains("--sample"));
        assert!(hint("http_4xx", Some(400), true).contains("catalogue"));
    }

    #[test]
    fn only_an_active_endpoint_is_tested() {
        let endpoint = |state: &str| -> Row {
            let json = format!(r#"{{"name":"acme","state":"{state}","state_reason":"why"}}"#);
            serde_json::from_str(&json).expect("a JSON object")
        };
        assert!(require_active(&endpoint("active"), "").is_ok());
        let failure = require_active(&endpoint("paused"), "nothing was sent").expect_err("paused");
        assert_eq!(
            failure.message,
            "acme is paused (why), so nothing was sent; let it go on with: \
             outboxd endpoints resume acme"
        );
        let invalid = |reason: &str| {
            let mut row = endpoint("invalid");
            row.insert("state_reason".to_owned(), json!(reason));
            require_active(&row, "nothing was sent").expect_err("invalid").message
        };
        let message = invalid("secret: sealed under master key 00000000");
        assert!(
            message.ends_with(": outboxd endpoints rotate-secret --overlap 0s acme"),
            "{message}"
        );
        let message = invalid("url: no https");
        assert!(message.ends_with(": outboxd endpoints update acme"), "{message}");
    }
}
