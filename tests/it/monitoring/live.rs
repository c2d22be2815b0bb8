//! Every query of the dashboard against a Prometheus that scraped a run in which things went right
//! and wrong.

use std::time::{Duration, Instant};

use super::dashboard::{model, panels, queries};
use super::prometheus::{Prometheus, rules};
use crate::harness::{Database, PATIENCE, Process, free_port};
use crate::receiver::{Receiver, Reply};

/// Endpoints of all sorts, as their receiver answers.
async fn endpoints(database: &Database, receiver: &Receiver) {
    let gone = Reply::status(410);
    let large = Reply::status(500).body(vec![b'x'; 20_000]);
    for (name, reply) in [
        ("well", Reply::status(200)),
        ("failing", large),
        ("refusing", Reply::status(400)),
        ("gone", gone),
        ("hanging", Reply::hang()),
        ("paused", Reply::status(200)),
        ("limited", Reply::status(200)),
    ] {
        let path = format!("/{name}");
        receiver.on(&path, reply);
        database.subscribe(name, &receiver.url(&path)).await;
    }
    // A port that nobody listens on, a secret with an end, a limit, a type with a schema.
    database.subscribe("dead", &format!("http://127.0.0.1:{}/", free_port())).await;
    database
        .execute(
            "SELECT outbox.pause('paused');
             UPDATE outbox.secrets s SET expires_at = now() + interval '3 days'
             FROM outbox.endpoints e WHERE e.id = s.endpoint_id AND e.name = 'well';
             UPDATE outbox.endpoints SET rate_per_second = 1 WHERE name = 'limited';
             INSERT INTO outbox.event_types (type, schema) VALUES ('strict', '{\"type\": \"string\"}')",
        )
        .await;
}

/// A query as Grafana would send it, for everything.
fn filled(query: &str) -> String {
    let query = query.replace("$__rate_interval", "20s");
    ["$job", "$instance", "$endpoint"].iter().fold(query, |query, name| query.replace(name, ".+"))
}

/// Panels and their queries, and what the variables ask for.
fn all_queries() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in panels() {
        let title = panel["title"].as_str().expect("a title").to_owned();
        all.extend(queries(&panel).into_iter().map(|query| (title.clone(), filled(&query))));
    }
    let model = model();
    for variable in model["templating"]["list"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name").to_owned();
        // label_values(SELECTOR, LABEL)
        let query =
            variable["query"]["query"].as_str().and_then(|it| it.strip_prefix("label_values("));
        if let Some((selector, label)) =
            query.and_then(|it| it.trim_end_matches(')').rsplit_once(", "))
        {
            all.push((name, filled(&format!("group by ({label}) ({selector})"))));
        }
    }
    for annotation in model["annotations"]["list"].as_array().expect("annotations") {
        // There are no alerts in this run.
        if let Some(query) = annotation["expr"].as_str().filter(|it| !it.contains("ALERTS")) {
            all.push(("annotation".to_owned(), filled(query)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_of_a_run_in_which_things_go_right_and_wrong() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    endpoints(&database, &receiver).await;
    let settings = [
        ("delivery.timeout", "1s"),
        ("delivery.connect_timeout", "1s"),
        ("delivery.retry", "1s 1h"),
        ("events.validate", "reject"),
    ];
    let daemon = Process::start(&database.url, &settings);
    let every_second = |text: &str| {
        ["interval: 30s", "interval: 2m"]
            .iter()
            .fold(text.to_owned(), |text, it| text.replace(it, "interval: 1s"))
    };
    let Some(prometheus) = Prometheus::start(&[daemon.admin], &rules(every_second)) else { return };
    daemon.wait_until_ready().await;
    database.emit("strict", "1").await;
    let mut left = all_queries();
    assert!(left.len() > 80, "{} queries", left.len());
    let started = Instant::now();
    while !left.is_empty() {
        database.insert_many("a", 20).await;
        let mut silent = Vec::new();
        for (title, query) in left {
            match prometheus.query(&query).await {
                Ok(samples) if samples.iter().any(|(_, value)| !value.is_nan()) => {}
                Ok(_) => silent.push((title, query)),
                Err(error) => panic!("{title}: {query}: {error}"),
            }
        }
        left = silent;
        assert!(started.elapsed() < PATIENCE, "no data for {left:#?}");
        // The next scrape.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eprintln!("every panel after {:?}", started.elapsed());
    // Not just anything: the fates above are told apart.
    let one = async |query: &str| {
        let samples = prometheus.query(query).await.expect("PromQL");
        samples.first().map(|(_, value)| *value)
    };
    let state =
        |name, state| format!("outboxd_endpoint_state{{endpoint=\"{name}\", state=\"{state}\"}}");
    assert_eq!(one(&state("gone", "disabled")).await, Some(1.0));
    assert_eq!(one(&state("paused", "paused")).await, Some(1.0));
    for (name, outcome) in [
        ("well", "success"),
        ("failing", "http_5xx"),
        ("refusing", "http_4xx"),
        ("dead", "tcp"),
        ("hanging", "timeout_response"),
    ] {
        let count = format!(
            "outboxd_delivery_attempts_total{{endpoint=\"{name}\", outcome=\"{outcome}\"}}"
        );
        assert!(one(&count).await > Some(0.0), "{count}");
    }
    drop(prometheus);
    assert_eq!(daemon.terminate().await, Some(0));
}
