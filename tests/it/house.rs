//! The rules of the house, as far as a machine can see them: doors, floors, sizes.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every file below a folder with this ending, with its text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                let text = fs::read_to_string(&path).expect("a text");
                let name = path.strip_prefix(ROOT).expect("below the root");
                found.push((name.display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

/// The lines of code: what is neither a comment nor a test.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]").next().unwrap_or("").lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//")
    })
}

#[test]
fn each_foreign_crate_has_one_door() {
    for (name, doors) in [
        ("tokio_postgres", &["src/store/", "src/config/"][..]),
        ("deadpool_postgres", &["src/store/"]),
        ("reqwest", &["src/send/"]),
        ("prometheus", &["src/metrics/"]),
        ("sd_notify", &["src/systemd.rs"]),
        ("ring", &["src/sign/", "src/seal.rs"]),
        ("clap", &["src/cli/", "src/demo/"]),
        ("tracing_subscriber", &["src/log/"]),
        ("hyper_util", &["src/admin/"]),
        ("jsonschema", &["src/event_types.rs"]),
    ] {
        let used = format!("{name}::");
        for (file, text) in files("src", "rs") {
            let through_door = doors.iter().any(|door| file.starts_with(door));
            let uses = code(&text).any(|line| {
                line.match_indices(&used).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c))
                })
            });
            assert!(through_door || !uses, "{file} names {name}");
        }
    }
}

#[test]
fn rules_know_nothing_of_hands_loops_or_clocks() {
    let rules = [
        "src/event.rs",
        "src/statuses.rs",
        "src/outcome.rs",
        "src/decide.rs",
        "src/breaker.rs",
        "src/retry.rs",
        "src/retry_after.rs",
        "src/matching.rs",
        "src/guard/",
        "src/sign/",
        "src/seal.rs",
        "src/profile/",
        "src/endpoint.rs",
        "src/event_types",
    ];
    let above = [
        "crate::store",
        "crate::send",
        "crate::metrics",
        "crate::deliver",
        "crate::fan_out",
        "crate::claim",
        "crate::daemon",
        "crate::cli",
        "tokio::",
        "std::fs",
        "std::env",
        "Instant::now",
        "SystemTime::now",
    ];
    for (file, text) in files("src", "rs") {
        let test = file.ends_with("/tests.rs");
        if rules.iter().any(|rule| file.starts_with(rule)) && !test {
            for name in above {
                assert!(!code(&text).any(|line| line.contains(name)), "{file} names {name}");
            }
        }
    }
}

#[test]
fn loops_do_not_name_one_another() {
    let loops = [
        "fan_out", "claim", "recorder", "presence", "sweep", "sampler", "fleet", "upkeep", "order",
        "admin",
    ];
    for (file, text) in files("src", "rs") {
        for one in loops {
            if file == format!("src/{one}.rs") {
                for other in loops.iter().filter(|other| **other != one) {
                    let name = format!("use crate::{other}");
                    assert!(!code(&text).any(|line| line.contains(&name)), "{file} uses {other}");
                }
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    for (file, text) in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        let lines = text.lines().count();
        assert!(lines <= 410, "{file} has {lines} lines: what is its second subject?");
    }
}

#[test]
fn every_statement_is_used_and_says_what_it_is() {
    let sources: String = files("src", "rs").into_iter().map(|(_, text)| text).collect();
    for (file, text) in files("sql", "sql") {
        let name = file.rsplit('/').next().expect("a name");
        assert!(sources.contains(name), "{file} is not used");
        if !file.contains("schema/") {
            let stem = name.trim_end_matches(".sql");
            let first = text.lines().next().unwrap_or_default();
            assert!(first.starts_with(&format!("-- {stem}:")), "{file} begins with: {first}");
        }
    }
}

#[test]
fn every_failpoint_is_listed_once_and_passed_once() {
    let sources = files("src", "rs");
    let mut passed: Vec<&str> = Vec::new();
    for (file, text) in &sources {
        if file != "src/failpoint.rs" {
            let rest = text.split("failpoint!(\"").skip(1);
            passed.extend(rest.map(|rest| rest.split('"').next().unwrap_or_default()));
        }
    }
    passed.sort_unstable();
    let mut listed = outboxd::failpoint::ALL.to_vec();
    listed.sort_unstable();
    assert_eq!(passed, listed);
}
