//! `outboxd bench`: how fast it is on this machine.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use clap::value_parser;
use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use super::failure::{Code, Failure};
use super::output::{table, write_out};
use crate::bench::bare::{self, Job, Shape};
use crate::bench::report::Report;
use crate::bench::scenario::Scenario;
use crate::bench::{self, BenchError, Plan, body};

/// Bodies of the size that most events have.
const BODY: usize = 499;
/// Runs, of which the median counts.
const RUNS: u16 = 3;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure [default: everything]
    #[arg(value_name = "SCENARIO", value_parser = names())]
    scenarios: Vec<String>,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Small numbers: seconds for each scenario, to see that it works
    #[arg(long)]
    quick: bool,
    /// How many events a backlog has, in place of the scenario's own number
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100_000_000))]
    events: Option<u32>,
    /// Runs of each scenario [default: 3, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=100))]
    runs: Option<u16>,
    /// Bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = BODY as u64, value_parser = sizes())]
    body: u64,
    /// An empty database to use [default: a throwaway one]
    #[arg(long, value_name = "URL", env = "OUTBOXD_BENCH_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// A setting of the throwaway server; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting, conflicts_with = "database")]
    postgres: Vec<(String, String)>,
    /// Write everything that was measured to this file as JSON; - is stdout, without the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a target is not met
    #[arg(long)]
    check: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(Scenario::ALL.map(Scenario::name))
}

fn sizes() -> RangedU64ValueParser {
    value_parser!(u64).range(body::SMALLEST as u64..=1_048_576)
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When it cannot measure, when an event was lost or arrived twice, and with `--check` when a target
/// is not met.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    if args.list {
        let line = |one: Scenario| format!("{:14}{}\n", one.name(), one.about());
        return write_out(&Scenario::ALL.map(line).concat());
    }
    let to_stdout = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let report = tokio::select! {
        report = bench::run(plan(global, &args)) => report.map_err(failure)?,
        // What was started ends with the future that holds it.
        stopped = stopped() => {
            return Err(Failure::failed(stopped.map_or_else(|error| error.to_string(), str::to_owned)));
        }
    };
    let json = format!("{:#}\n", report.to_json());
    match &args.json {
        Some(_) if to_stdout => write_out(&json)?,
        Some(path) => std::fs::write(path, &json).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?,
        None => {}
    }
    if !to_stdout {
        let table = table(&report.rows(), &Report::columns());
        write_out(&format!("{}{table}{}", report.heading(), report.footing()))?;
    }
    if let Some(broken) = report.broken() {
        return Err(Failure::failed(broken));
    }
    let missed = report.verdicts().filter(|verdict| !verdict.is_met()).count();
    if args.check && missed > 0 {
        return Err(Failure::failed(format!("targets that are not met: {missed}")));
    }
    Ok(())
}

/// Waits for a signal to stop.
async fn stopped() -> io::Result<&'static str> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok("stopped before the end; nothing was reported")
}

fn plan(global: &Global, args: &Args) -> Plan {
    let mut scenarios: Vec<Scenario> =
        args.scenarios.iter().filter_map(|name| Scenario::named(name)).collect();
    if scenarios.is_empty() {
        let possible = |one: &Scenario| args.database.is_none() || !one.needs_own_server();
        scenarios = Scenario::ALL.into_iter().filter(possible).collect();
    }
    Plan {
        scenarios,
        runs: args.runs.unwrap_or(if args.quick { 1 } else { RUNS }).into(),
        quick: args.quick,
        events: args.events,
        body_bytes: args.body as usize,
        database: args.database.clone(),
        keys: global.set.clone(),
        server: args.postgres.clone(),
    }
}

fn failure(error: BenchError) -> Failure {
    let code = match error {
        BenchError::Database(..) => Code::Database,
        BenchError::Connection(_) => Code::Configuration,
        _ => Code::Failed,
    };
    Failure { code, message: error.to_string() }
}

/// The other processes of a benchmark.
#[derive(Debug, clap::Subcommand)]
pub enum Part {
    /// Receives
    Receiver {
        /// Addresses
        #[arg(long)]
        hosts: u8,
        /// Whether it speaks TLS
        #[arg(long)]
        tls: bool,
    },
    /// Sends without a database
    Client {
        /// Start of the receivers' URLs
        bases: Vec<String>,
        /// Endpoints
        #[arg(long)]
        endpoints: u32,
        /// Requests in all
        #[arg(long)]
        requests: u32,
        /// Bytes of each body
        #[arg(long)]
        body: usize,
        /// Requests at once
        #[arg(long)]
        tasks: usize,
        /// Threads
        #[arg(long)]
        threads: usize,
        /// What to verify receivers with
        #[arg(long)]
        ca_file: Option<PathBuf>,
    },
}

/// Plays a part, on a runtime that it chooses itself.
pub fn play(part: Part) -> ExitCode {
    match play_part(part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Failure::failed(format!("bench: {error}")).report();
            Code::Failed.into()
        }
    }
}

fn play_part(part: Part) -> io::Result<()> {
    match part {
        Part::Receiver { hosts, tls } => bench::receiver::server::main(hosts, tls),
        Part::Client { bases, endpoints, requests, body, tasks, threads, ca_file } => {
            let job = Job { bases, endpoints, requests, body_bytes: body, ca_file };
            bare::main(&job, Shape { tasks, threads })
        }
    }
}
