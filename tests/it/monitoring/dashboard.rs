//! The dashboard by the rules of Grafana's own linter: variables, data sources, titles, units,
//! intervals. That its queries are PromQL is seen where Prometheus answers them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::DASHBOARD;

/// The rows, in this order.
const ROWS: [&str; 8] = [
    "At a glance",
    "Lag",
    "Success",
    "Latency",
    "Endpoints",
    "Backlog and retry wave",
    "Database",
    "Process",
];

pub fn model() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

/// All panels but the rows.
pub fn panels() -> Vec<Value> {
    let model = model();
    let all = model["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

/// The queries of a panel.
pub fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets").iter();
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

#[test]
fn it_imports_as_what_it_is_and_nobody_edits_it_by_accident() {
    let model = model();
    assert_eq!(model["uid"], "outboxd");
    assert!(model["id"].is_null());
    assert_eq!(model["editable"], false);
    // That of Grafana 9; later ones bring it up to date as they load it.
    assert_eq!(model["schemaVersion"], 37);
    let rows = model["panels"].as_array().expect("panels").iter();
    let rows: Vec<_> = rows.filter(|it| it["type"] == "row").map(|it| &it["title"]).collect();
    assert_eq!(rows, ROWS);
}

#[test]
fn its_variables_choose_data_source_job_instance_and_endpoint() {
    let model = model();
    let list = model["templating"]["list"].as_array().expect("variables");
    let variable = |name: &str| list.iter().find(|it| it["name"] == name).expect("a variable");
    let datasource = variable("datasource");
    assert_eq!(
        (&datasource["type"], &datasource["query"]),
        (&"datasource".into(), &"prometheus".into())
    );
    for name in ["job", "instance", "endpoint"] {
        let it = variable(name);
        assert_eq!(it["type"], "query", "{name}");
        assert_eq!(it["datasource"]["uid"], "${datasource}", "{name}");
        assert_eq!((&it["multi"], &it["includeAll"]), (&true.into(), &true.into()), "{name}");
        assert_eq!(it["allValue"], ".+", "{name}");
    }
    let runbook = variable("runbook")["query"].as_str().expect("a URL");
    assert!(super::ALERTS.contains(&format!("runbook_url: {runbook}#")), "{runbook}");
}

#[test]
fn every_panel_has_a_title_a_description_a_unit_and_a_place_of_its_own() {
    let (mut titles, mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let model = model();
    for panel in model["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty() && titles.insert(title), "{title:?} is there twice");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        let (left, top) = (place("x"), place("y"));
        assert!(left + place("w") <= 24, "{title} is too wide");
        for cell in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((left + cell.0, top + cell.1)), "{title} covers another");
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{title} has no description");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        assert!(!unit.is_empty(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

/// The ranges and selectors of a query: what is in brackets and in braces.
fn within(query: &str, open: char, close: char) -> Vec<&str> {
    query.split(open).skip(1).map(|rest| rest.split(close).next().unwrap_or_default()).collect()
}

#[test]
fn every_query_follows_the_variables_and_the_interval() {
    for panel in panels() {
        for query in queries(&panel) {
            let title = &panel["title"];
            let ranges = within(&query, '[', ']');
            assert!(ranges.iter().all(|it| *it == "$__rate_interval"), "{title}: {query}");
            let rates = query.matches("rate(").count() + query.matches("increase(").count();
            assert_eq!(ranges.len(), rates, "{title}: {query}");
            let selectors = within(&query, '{', '}');
            assert!(!selectors.is_empty(), "{title}: {query}");
            // Recorded figures are of a job.
            let by_job = query.contains("outboxd:");
            for selector in selectors {
                assert!(selector.contains(r#"job=~"$job""#), "{title}: {query}");
                let instance = selector.contains(r#"instance=~"$instance""#);
                assert!(instance != by_job, "{title}: {query}");
            }
        }
    }
}
