//! What a scenario comes to, and how runs are told.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::checker::{Fault, Verdict};
use crate::clock;

/// What every scenario is told.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Reduced, for continuous integration.
    pub slice: bool,
    pub seed: u64,
}

impl Run {
    /// The size for this run.
    pub fn size<T>(&self, full: T, slice: T) -> T {
        if self.slice { slice } else { full }
    }
}

/// What a scenario did and found.
#[derive(Debug, Default)]
pub struct Report {
    /// One line on what was done.
    pub done: String,
    /// Names and values, in order.
    pub figures: Vec<(String, String)>,
    /// What it should not have come to; none: passed.
    pub faults: Vec<String>,
}

impl Report {
    pub fn new(done: impl Into<String>) -> Self {
        Self { done: done.into(), ..Self::default() }
    }

    pub fn figure(&mut self, name: &str, value: impl Display) {
        self.figures.push((name.to_owned(), value.to_string()));
    }

    pub fn expect(&mut self, holds: bool, otherwise: impl Display) {
        if !holds {
            self.faults.push(otherwise.to_string());
        }
    }

    /// Takes over the verdict on a run's histories.
    pub fn judge(&mut self, verdict: &Verdict) {
        self.figure("deliveries", verdict.expected);
        for fault in [Fault::Lost, Fault::Ghost, Fault::Unrecorded] {
            self.figure(&fault.to_string(), verdict.count(fault));
        }
        self.figure("duplicates", verdict.duplicates);
        for (fault, found) in &verdict.faults {
            let examples = found.examples.join("; ");
            self.faults.push(format!("{} {fault}, such as {examples}", found.count));
        }
    }
}

/// A finished scenario.
pub struct Line {
    pub name: &'static str,
    pub took: Duration,
    pub report: Report,
}

impl Line {
    fn figures(&self) -> String {
        let figure = |(name, value): &(String, String)| format!("{name} {value}");
        self.report.figures.iter().map(figure).collect::<Vec<_>>().join(", ")
    }
}

/// The table at the end, in Markdown.
pub fn table(lines: &[Line]) -> String {
    let mut text =
        "| scenario | what was done | figures | took | result |\n|---|---|---|---|---|\n"
            .to_owned();
    for line in lines {
        let result = if line.report.faults.is_empty() { "pass" } else { "FAIL" };
        let (took, done) = (clock::shown(clock::micros(line.took)), &line.report.done);
        let _ =
            writeln!(text, "| {} | {done} | {} | {took} | {result} |", line.name, line.figures());
    }
    for line in lines {
        for fault in &line.report.faults {
            let _ = writeln!(text, "{}: {fault}", line.name);
        }
    }
    text
}

/// The same for programs.
pub fn json(lines: &[Line], run: Run) -> serde_json::Value {
    let scenario = |line: &Line| {
        serde_json::json!({
            "name": line.name,
            "done": line.report.done,
            "figures": line.report.figures.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "faults": line.report.faults,
            "seconds": line.took.as_secs(),
            "passed": line.report.faults.is_empty(),
        })
    };
    serde_json::json!({
        "seed": run.seed,
        "slice": run.slice,
        "version": env!("CARGO_PKG_VERSION"),
        "scenarios": lines.iter().map(scenario).collect::<Vec<_>>(),
    })
}
