//! What operators are given: alerts, runbook, dashboard and metrics agree, and each panel shows
//! something of a real run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outboxd::metrics::Metrics;

use crate::harness::outboxd;

mod dashboard;
mod drill;
mod live;
/// A Prometheus of a test's own.
pub mod prometheus;

const ALERTS: &str = include_str!("../../../monitoring/prometheus/outboxd.alerts.yml");
const RULES: &str = include_str!("../../../monitoring/prometheus/outboxd.rules.yml");
const DASHBOARD: &str = include_str!("../../../monitoring/grafana/outboxd.json");
const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// What each section of the runbook says, in this order.
const LEADS: [&str; 4] =
    ["- **Likely causes:** ", "- **How to look:** ", "- **What to do:** ", "- **It resolves** "];

/// The alerts, each with the lines that belong to it.
fn alerts() -> Vec<(&'static str, &'static str)> {
    let blocks = ALERTS.split("- alert: ").skip(1);
    blocks.map(|block| block.split_once('\n').expect("more than a name")).collect()
}

/// The names alone.
fn alert_names() -> BTreeSet<&'static str> {
    alerts().into_iter().map(|(name, _)| name).collect()
}

/// A text with its line breaks as spaces.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_alert_says_what_it_is_and_where_to_read_on() {
    assert_eq!(alert_names().len(), alerts().len(), "a name is there twice");
    for (name, text) in alerts() {
        let severity = ["page", "ticket"].map(|it| text.contains(&format!("severity: {it}\n")));
        assert!(severity[0] != severity[1], "{name} is a page or a ticket");
        assert!(text.contains("          summary: '"), "{name} has no summary");
        let link = format!("/docs/runbook.md#{}\n", name.to_lowercase());
        assert!(text.contains(&link), "{name} does not lead to its section of the runbook");
        let description = unwrapped(text.split("description: >-").nth(1).expect(name));
        let next = description.split(" Next").nth(1).or(description.split("On its host").nth(1));
        assert!(next.is_some_and(|next| next.contains('`')), "{name} names no next command");
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert_and_no_other() {
    let sections: Vec<&str> = RUNBOOK.split("\n## ").skip(1).collect();
    let titles: Vec<&str> = sections.iter().filter_map(|it| it.lines().next()).collect();
    let named: Vec<&str> = alerts().into_iter().map(|(name, _)| name).collect();
    let sorted = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&titles), sorted(&named));
    assert_eq!(titles.len(), named.len());
    for (section, title) in sections.iter().zip(titles) {
        let places: Vec<_> = LEADS.iter().map(|lead| section.find(lead)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{title}: {places:?}");
        let (_, alert) = alerts().into_iter().find(|(name, _)| *name == title).expect("above");
        let severity = if alert.contains("severity: page") { "Page. " } else { "Ticket. " };
        assert!(section.contains(severity), "{title} is no {severity}");
    }
}

/// Commands of outboxd between backticks, as words.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    let text = unwrapped(text);
    let quoted = text.split('`').skip(1).step_by(2);
    let own = quoted.filter_map(|it| it.strip_prefix("outboxd "));
    own.map(|it| it.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_that_is_named_exists_with_its_options() {
    let all: BTreeSet<_> = [ALERTS, RUNBOOK].into_iter().flat_map(commands).collect();
    assert!(all.len() > 20, "{all:?}");
    for words in all {
        let is_name = |word: &&String| word.starts_with(|c: char| c.is_ascii_lowercase());
        let names: Vec<&String> = words.iter().take_while(is_name).collect();
        let help = outboxd("", &[]).args(&names).arg("--help").output().expect("outboxd runs");
        assert!(help.status.success(), "outboxd {words:?}: no such command");
        let help = String::from_utf8_lossy(&help.stdout);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option.as_str()), "outboxd {words:?}: no option {option}");
        }
    }
}

/// What each test of the rules expects to fire, by its name.
fn rule_tests() -> Vec<(String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/prometheus/tests");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        for test in text.split("  - name: '").skip(1) {
            let (name, rest) = test.split_once("'\n").expect("a name");
            let expected = rest.rsplit("exp_samples: ").next().expect("an expectation");
            let firing = expected.split("alertname=\"").skip(1);
            let firing = firing.map(|it| it.split('"').next().unwrap_or_default().to_owned());
            found.push((name.to_owned(), firing.collect()));
        }
    }
    found
}

#[test]
fn each_alert_is_tested_firing_quiet_and_without_data() {
    let tests = rule_tests();
    for name in alert_names() {
        // That there is nobody to be scraped is what this one is about.
        let absence = name == "OutboxdDown";
        for (kind, fires) in [("fires", true), ("does not fire", false), ("missing data", absence)]
        {
            let of_kind = format!("{name}: {kind}");
            let mut of_kind =
                tests.iter().filter(|(test, _)| test.starts_with(&of_kind)).peekable();
            assert!(of_kind.peek().is_some(), "{name} has no test: {kind}");
            for (test, firing) in of_kind {
                assert_eq!(firing.iter().any(|it| it == name), fires, "{test}");
            }
        }
    }
    for (test, firing) in tests {
        assert!(firing.len() <= 1, "{test}: one cause, one alert, not {firing:?}");
    }
}

#[test]
fn the_runbook_names_panels_that_there_are() {
    let panels = dashboard::panels();
    let titles: BTreeSet<_> = panels.iter().filter_map(|panel| panel["title"].as_str()).collect();
    let text = unwrapped(RUNBOOK);
    let quoted: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    assert!(quoted.len() > 10, "{quoted:?}");
    for title in quoted {
        assert!(titles.contains(title), "there is no panel {title:?}");
    }
}

#[test]
fn each_alert_has_a_panel_and_each_panel_links_to_alerts_that_there_are() {
    let mut linked = BTreeSet::new();
    for panel in dashboard::panels() {
        for link in panel["links"].as_array().into_iter().flatten() {
            let (title, url) = (link["title"].as_str(), link["url"].as_str());
            let title = title.expect("a title").to_owned();
            let section = format!("${{runbook}}#{}", title.to_lowercase());
            assert_eq!(url, Some(section.as_str()), "{}", panel["title"]);
            linked.insert(title);
        }
    }
    assert_eq!(linked.iter().map(String::as_str).collect::<BTreeSet<_>>(), alert_names());
}

/// The families of outboxd that a text names.
fn families(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("outboxd_"));
    let suffixes = ["_bucket", "_count", "_sum"];
    let family = |word| suffixes.iter().find_map(|it| str::strip_suffix(word, it)).unwrap_or(word);
    words.map(family).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let metrics = Metrics::new();
    let exported: BTreeSet<&str> = metrics.names().collect();
    for (what, text) in [("alerts", ALERTS), ("rules", RULES), ("dashboard", DASHBOARD)] {
        let unknown: Vec<_> = families(text).difference(&exported).copied().collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?} are not exported");
    }
    let recorded = |text: &'static str| -> BTreeSet<&str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = text.split(|c| !is_part(c));
        words
            .filter(|word| word.strip_prefix("outboxd:").is_some_and(|it| !it.is_empty()))
            .collect()
    };
    let defined: BTreeSet<&str> =
        RULES.lines().filter_map(|it| it.trim().strip_prefix("- record: ")).collect();
    let used: BTreeSet<&str> = [ALERTS, RULES, DASHBOARD].into_iter().flat_map(recorded).collect();
    assert_eq!(used.difference(&defined).count(), 0, "used and not recorded");
}
