//! What was measured, as JSON and as rows of a table, and how it stands to its targets.

use serde_json::{Map, Value, json};

use super::Plan;
use super::figures::{FAULTS, Figures, spread, to_json};
use super::machine::Machine;
use super::scenario::{Scenario, Target};

/// Columns of the table: a title, a figure, what it is divided by, and digits behind the point.
const COLUMNS: [(&str, &str, f64, usize); 16] = [
    ("rate/s", "rate_per_second", 1.0, 0),
    ("bare/s", "bare_per_second", 1.0, 0),
    ("ratio", "ratio", 1.0, 2),
    ("p50 ms", "p50_ms", 1.0, 1),
    ("p90 ms", "p90_ms", 1.0, 1),
    ("p99 ms", "p99_ms", 1.0, 1),
    ("max ms", "max_ms", 1.0, 1),
    ("lost", "lost", 1.0, 0),
    ("dup.", "duplicates", 1.0, 0),
    ("stmts", "statements_per_delivery", 1.0, 3),
    ("WAL B", "wal_bytes_per_delivery", 1.0, 0),
    ("CPU daemon", "daemon_cpu_s_per_1000", 1.0, 3),
    ("Postgres", "postgres_cpu_s_per_1000", 1.0, 3),
    ("receiver", "receiver_cpu_s_per_1000", 1.0, 3),
    ("peak MiB", "daemon_peak_bytes", 1_048_576.0, 0),
    ("dead rows", "dead_tuples", 1.0, 0),
];
/// How many of them one line takes.
const BRIEF: usize = 6;
/// What a reader has to know to read the table.
const LEGEND: &str = "\
Medians of the runs. rate/s: deliveries a second, from just before the COMMIT that makes a backlog visible to
the last arrival. bare/s: requests a second of the HTTP library alone, signing the same bodies for the same
receivers in the same run; ratio: of the two. ms: from just before an event's COMMIT to its arrival. stmts, WAL B:
SQL statements of the daemon (without BEGIN, SET and COMMIT) and bytes of WAL per delivery. CPU: seconds per
1,000 deliveries; Postgres without the sessions of the application.
";

/// One variant of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// The variant's name.
    pub variant: String,
    /// Each run.
    pub runs: Vec<Figures>,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub plan: Plan,
    /// What came of it.
    pub outcomes: Vec<Outcome>,
}

/// How a variant stands to a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The target.
    pub target: Target,
    /// The median; none if it could not be measured.
    pub median: Option<f64>,
}

impl Verdict {
    /// Whether the target is met; what was not measured is not met.
    pub fn is_met(&self) -> bool {
        self.median.is_some_and(|median| self.target.bound.admits(median))
    }
}

impl Outcome {
    /// The targets of this variant.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let targets = self.scenario.targets().iter();
        targets.filter(|target| target.variant == self.variant).map(|target| {
            let median = spread(&self.runs, target.figure).map(|spread| spread.median);
            Verdict { target: *target, median }
        })
    }

    fn to_json(&self) -> Value {
        let verdict = |verdict: Verdict| {
            json!({
                "figure": verdict.target.figure,
                "target": verdict.target.bound.to_string(),
                "median": verdict.median,
                "met": verdict.is_met(),
            })
        };
        json!({
            "scenario": self.scenario.name(),
            "variant": self.variant,
            "runs": self.runs.len(),
            "figures": to_json(&self.runs),
            "targets": self.verdicts().map(verdict).collect::<Vec<_>>(),
        })
    }

    fn row(&self) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("scenario".to_owned(), json!(self.variant));
        for (title, figure, unit, digits) in COLUMNS {
            let value = spread(&self.runs, figure)
                .map_or(Value::Null, |spread| rounded(spread.median / unit, digits));
            row.insert(title.to_owned(), value);
        }
        row
    }
}

/// The figures that say most, in one line: a benchmark that is stopped has shown something.
pub fn brief(figures: &Figures) -> String {
    let told = |(title, figure, unit, digits): (&str, &str, f64, usize)| {
        let value = figures.get(figure)? / unit;
        Some(format!("{title} {value:.digits$}"))
    };
    COLUMNS.into_iter().filter_map(told).take(BRIEF).collect::<Vec<_>>().join(", ")
}

/// A figure as people read it.
fn told(figure: &str, value: f64) -> String {
    match figure.strip_suffix("_bytes") {
        Some(_) => format!("{:.0} MiB", value / f64::from(1 << 20)),
        None => format!("{value:.3}"),
    }
}

/// A number that is written with no more digits than these.
fn rounded(value: f64, digits: usize) -> Value {
    format!("{value:.digits$}").parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}

impl Report {
    /// What was lost, arrived twice or was not recorded, in words; none if nothing did.
    pub fn broken(&self) -> Option<String> {
        let wrong = |outcome: &Outcome| {
            let sum = |name| outcome.runs.iter().filter_map(|run| run.get(name)).sum::<f64>();
            let faults =
                FAULTS.map(|name| (name, sum(name))).into_iter().filter(|(_, sum)| *sum > 0.0);
            let faults: Vec<String> = faults.map(|(name, sum)| format!("{sum} {name}")).collect();
            (!faults.is_empty()).then(|| format!("{}: {}", outcome.variant, faults.join(", ")))
        };
        let wrong: Vec<String> = self.outcomes.iter().filter_map(wrong).collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// Every target that was looked at.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.outcomes.iter().flat_map(Outcome::verdicts)
    }

    /// As JSON, with everything that is known.
    pub fn to_json(&self) -> Value {
        let keys = |pairs: &[(String, String)]| {
            let entry = |(key, value): &(String, String)| (key.clone(), json!(value));
            pairs.iter().map(entry).collect::<Map<_, _>>()
        };
        json!({
            "machine": self.machine.to_json(),
            "plan": {
                "runs": self.plan.runs,
                "quick": self.plan.quick,
                "events": self.plan.events,
                "body_bytes": self.plan.body_bytes,
                "keys": keys(&self.plan.keys),
            },
            "scenarios": self.outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        })
    }

    /// What stands above the table.
    pub fn heading(&self) -> String {
        let Plan { runs, quick, body_bytes, keys, .. } = &self.plan;
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let keys = if keys.is_empty() { "defaults".to_owned() } else { keys.join(" ") };
        let size = if *quick { "quick: to see that it works, not to measure; " } else { "" };
        format!(
            "{}daemon     {keys}\nruns       {size}{runs} of each, bodies of {body_bytes} bytes\n\n",
            self.machine.lines()
        )
    }

    /// The columns of the table.
    pub fn columns() -> Vec<&'static str> {
        std::iter::once("scenario").chain(COLUMNS.map(|(title, ..)| title)).collect()
    }

    /// The rows of the table.
    pub fn rows(&self) -> Vec<Map<String, Value>> {
        self.outcomes.iter().map(Outcome::row).collect()
    }

    /// What stands below the table.
    pub fn footing(&self) -> String {
        let mut text = format!("\n{LEGEND}");
        for outcome in &self.outcomes {
            for verdict in outcome.verdicts() {
                let Target { variant, figure, bound } = verdict.target;
                let word = if verdict.is_met() { "met    " } else { "NOT MET" };
                let found = match spread(&outcome.runs, figure) {
                    Some(found) => format!(
                        "{} ({} to {})",
                        told(figure, found.median),
                        told(figure, found.min),
                        told(figure, found.max)
                    ),
                    None => "not measured".to_owned(),
                };
                let (words, bound) = bound.words();
                let bound = told(figure, bound);
                text.push_str(&format!("{word}  {variant}: {figure} {found}, {words} {bound}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ratios: &[f64], lost: f64) -> Outcome {
        let run = |ratio: &f64| {
            let mut figures = Figures::default();
            figures.set("rate_per_second", 12_345.67);
            figures.set("ratio", *ratio);
            figures.set("lost", lost);
            figures
        };
        let runs = ratios.iter().map(run).collect();
        Outcome { scenario: Scenario::Drain, variant: "drain".to_owned(), runs }
    }

    fn report(outcomes: Vec<Outcome>) -> Report {
        let plan = Plan {
            scenarios: vec![Scenario::Drain],
            runs: 3,
            quick: false,
            events: None,
            body_bytes: 499,
            database: None,
            keys: Vec::new(),
            server: Vec::new(),
        };
        Report { machine: Machine::default(), plan, outcomes }
    }

    #[test]
    fn the_median_is_held_to_the_target() {
        let met = |ratios: &[f64]| {
            outcome(ratios, 0.0).verdicts().map(|verdict| verdict.is_met()).collect::<Vec<_>>()
        };
        assert_eq!(met(&[0.1, 0.7, 0.65]), [true]);
        assert_eq!(met(&[0.1, 0.7, 0.64]), [false]);
        assert_eq!(met(&[]), [false], "what was not measured is not met");
    }

    #[test]
    fn what_is_lost_in_any_run_is_told() {
        assert_eq!(report(vec![outcome(&[0.7], 0.0)]).broken(), None);
        let broken = report(vec![outcome(&[0.7, 0.7], 1.0)]).broken();
        assert_eq!(broken.as_deref(), Some("drain: 2 lost"));
    }

    #[test]
    fn people_read_rounded_numbers_and_whether_targets_are_met() {
        let report = report(vec![outcome(&[0.7, 0.6, 0.68], 0.0)]);
        let row = &report.rows()[0];
        assert_eq!(
            (row["rate/s"].to_string(), row["ratio"].to_string()),
            ("12346".into(), "0.68".into())
        );
        assert_eq!(row["p99 ms"], Value::Null);
        let line = brief(&report.outcomes[0].runs[0]);
        assert_eq!(line, "rate/s 12346, ratio 0.70, lost 0");
        let text = report.footing();
        assert!(
            text.contains("met      drain: ratio 0.680 (0.600 to 0.700), at least 0.650"),
            "{text}"
        );
        assert_eq!(told("daemon_peak_bytes", 268_435_456.0), "256 MiB");
    }
}
