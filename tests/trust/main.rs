//! The trust runs: what is behind the figures of docs/guarantees.md. `make trust` runs them all.
//!
//! `trust [SCENARIO...] [--slice] [--seed N] [--json FILE]`. Each scenario has a cluster, receivers
//! and daemons of its own; it returns figures, and what was not as promised.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use report::{Line, Report, Run};

/// One clock for all histories.
mod clock;
/// What producer, receivers and database remember.
mod history;
/// What of it is against the promises.
mod checker;
/// Whether the checker would see it.
mod self_test;
/// What scenarios return, and how it is told.
mod report;
/// A cluster, a database, endpoints.
mod place;
/// The application.
mod producer;
/// The endpoints.
mod receivers;
/// The daemons.
mod daemon;
/// The harness of the integration tests: how to reach and migrate a database.
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod harness;

/// What networks do, between daemon and database.
#[path = "../it/proxy/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the integration tests use the rest")]
mod proxy;
/// A small volume for a database.
#[path = "../it/volume.rs"]
mod volume;
/// A daemon whose database fails again and again.
mod ordeal;

/// SIGKILL under load, at failpoints and at random.
mod kills;
/// Crashes, exhaustion and full disks of the database.
mod databases;
/// Crashes of a primary whose standby takes its place.
mod promotions;
/// Partitions between daemon and database.
mod partitions;
/// SIGTERM under load.
mod drains;
/// Faults of our own.
mod panics;
/// SIGSTOP for longer than a lease.
mod freezes;
/// Delays and memory.
mod latency;
/// Hostile endpoints among healthy ones.
mod neighbours;
/// A million events at once.
mod bulk;

/// A scenario's future; it stays on the main thread, which daemons die with.
type Running = Pin<Box<dyn Future<Output = Report>>>;

/// A scenario: a name, what it takes in full and as a slice, and how to run it.
struct Scenario {
    name: &'static str,
    full: Duration,
    slice: Duration,
    run: fn(Run) -> Running,
}

const fn scenario(name: &'static str, full: u64, slice: u64, run: fn(Run) -> Running) -> Scenario {
    let (full, slice) = (Duration::from_secs(full), Duration::from_secs(slice));
    Scenario { name, full, slice, run }
}

/// All scenarios, in the order they run in; the seconds are what they take on two cores.
const SCENARIOS: &[Scenario] = &[
    scenario("checker", 1, 1, |_| Box::pin(async { check_checker() })),
    scenario("crashes", 180, 20, |run| Box::pin(databases::crashes(run))),
    scenario("promotions", 150, 20, |run| Box::pin(promotions::run(run))),
    scenario("partitions", 720, 40, |run| Box::pin(partitions::run(run))),
    scenario("connections", 60, 15, |run| Box::pin(databases::connections(run))),
    scenario("disk", 70, 15, |run| Box::pin(databases::disk(run))),
    scenario("kills", 720, 60, |run| Box::pin(kills::run(run))),
    scenario("drains", 240, 30, |run| Box::pin(drains::run(run))),
    scenario("panics", 40, 15, |run| Box::pin(panics::run(run))),
    scenario("freezes", 690, 60, |run| Box::pin(freezes::run(run))),
    scenario("neighbours", 780, 90, |run| Box::pin(neighbours::run(run))),
    scenario("bulk", 480, 40, |run| Box::pin(bulk::run(run))),
];

fn check_checker() -> Report {
    let mut report =
        Report::new("the checker judges a good history, and ones that faults were put into");
    match self_test::run() {
        Ok(found) => report.figure("faults found", format!("{found} of {found}")),
        Err(missed) => report.expect(false, missed),
    }
    report
}

/// What the command line says.
struct Arguments {
    names: Vec<String>,
    run: Run,
    json: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        names: Vec::new(),
        run: Run { slice: false, seed: fastrand::u64(..1_000_000) },
        json: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--slice" => found.run.slice = true,
            "--seed" => {
                let seed = words.next().and_then(|seed| seed.parse().ok());
                found.run.seed = seed.ok_or("--seed needs a number")?;
            }
            "--json" => found.json = Some(words.next().ok_or("--json needs a file")?),
            name if SCENARIOS.iter().any(|one| one.name == name) => {
                found.names.push(name.to_owned());
            }
            other => {
                let names: Vec<&str> = SCENARIOS.iter().map(|one| one.name).collect();
                return Err(format!(
                    "no scenario {other}; there are {}, and --slice, --seed N, --json FILE",
                    names.join(", ")
                ));
            }
        }
    }
    Ok(found)
}

async fn run_all(arguments: &Arguments) -> Vec<Line> {
    let Arguments { names, run, .. } = arguments;
    let wanted = |one: &&Scenario| names.is_empty() || names.iter().any(|name| name == one.name);
    let wanted: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    let total: Duration = wanted.iter().map(|one| run.size(one.full, one.slice)).sum();
    daemon::say(&format!("seed {}; about {} minutes", run.seed, total.as_secs() / 60 + 1));
    let mut lines = Vec::new();
    for scenario in wanted {
        let expected = run.size(scenario.full, scenario.slice);
        daemon::say(&format!("{}: about {} s", scenario.name, expected.as_secs()));
        let started = Instant::now();
        let report = run_one(scenario, *run, expected).await;
        let line = Line { name: scenario.name, took: started.elapsed(), report };
        daemon::say(&report::table(std::slice::from_ref(&line)));
        lines.push(line);
    }
    lines
}

/// Runs a scenario; what panics or takes far too long has failed.
async fn run_one(scenario: &Scenario, run: Run, expected: Duration) -> Report {
    let limit = expected * 3 + Duration::from_secs(120);
    let running = AssertUnwindSafe((scenario.run)(run)).catch_unwind();
    let failed = |why: String| Report { faults: vec![why], ..Report::default() };
    match tokio::time::timeout(limit, running).await {
        Ok(Ok(report)) => report,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failed(text.unwrap_or_else(|| "a panic".to_owned()))
        }
        Err(_) => failed(format!("not done after {} s", limit.as_secs())),
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            daemon::say(&problem);
            return ExitCode::from(2);
        }
    };
    clock::now();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let lines = runtime.expect("a runtime").block_on(run_all(&arguments));
    println!("{}", report::table(&lines));
    let passed = lines.iter().all(|line| line.report.faults.is_empty());
    let (seed, result) = (arguments.run.seed, if passed { "pass" } else { "FAIL" });
    println!("trust: {result}, seed {seed}");
    if let Some(file) = &arguments.json {
        let text = format!("{:#}\n", report::json(&lines, arguments.run));
        if let Err(error) = std::fs::write(file, text) {
            daemon::say(&format!("{file}: {error}"));
            return ExitCode::FAILURE;
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
