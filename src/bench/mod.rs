//! `outboxd bench`: the load test that published figures come from.
//!
//! It measures the program that people run: the daemon, the receivers and the bare client are
//! processes of their own, and so is the server of the database. The application inserts from this
//! process. Receivers note what arrives, and that is held against what was committed; what is lost or
//! arrives twice fails the benchmark. Beside every scenario stands what the bare HTTP client reaches
//! on the same bodies, in the same minute, so that the ratio travels between machines.

pub mod bare;
pub mod body;
pub mod crew;
pub mod daemon;
pub mod figures;
pub mod machine;
pub mod meter;
pub mod place;
pub mod proc;
pub mod process;
pub mod producer;
pub mod receiver;
pub mod report;
pub mod scenario;
pub mod stage;
pub mod tls;

use std::io::Write;

use crate::config::ConnectionError;
use crate::store::error::StoreError;
use crate::throwaway::StartError;
use figures::Figures;
use machine::Machine;
use place::Place;
use report::{Outcome, Report};
use scenario::Scenario;
use stage::Stage;

/// What every endpoint of a benchmark signs with; it protects nothing.
const SECRET: &str = "whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO";

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// Runs of each; the median counts.
    pub runs: usize,
    /// Small enough for seconds: to see that it works, not to measure.
    pub quick: bool,
    /// Events of a backlog, in place of the scenario's own number.
    pub events: Option<u32>,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// An empty database, in place of a throwaway one.
    pub database: Option<String>,
    /// Keys of the daemon's configuration.
    pub keys: Vec<(String, String)>,
    /// Settings of the throwaway server.
    pub server: Vec<(String, String)>,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is no throwaway cluster.
    #[error(transparent)]
    Cluster(#[from] StartError),
    /// The database refused.
    #[error("{0}: {1}")]
    Database(String, StoreError),
    /// The connection string is wrong.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Somebody uses the database.
    #[error(
        "{0} has events, endpoints or a daemon already, and the benchmark empties its tables: name \
         an empty database, or leave --database out for a throwaway one"
    )]
    InUse(String),
    /// The daemon did not start, or ended.
    #[error("the daemon ended, or was not ready within a minute; the end of its log:\n{0}")]
    Daemon(String),
    /// The bare client failed.
    #[error("the bare client failed: {0}")]
    Client(String),
    /// pgbench failed, or is not there.
    #[error("cannot run pgbench, which comes with Postgres: {0}")]
    Pgbench(String),
    /// A daemon made other deliveries than it should.
    #[error("of the events {0} deliveries should have been made, and {1} were")]
    Matching(u64, u64),
    /// A process or a socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A part of it panicked.
    #[error("{0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// Measures all that is planned. What goes on is told on stderr.
///
/// # Errors
/// See [`BenchError`]; that a target is missed or an event lost is no error, but in the report.
pub async fn run(plan: Plan) -> Result<Report, BenchError> {
    let place = match &plan.database {
        None => Place::throwaway(plan.server.clone()).await?,
        Some(url) => Place::named(url).await?,
    };
    let machine = Machine::look(&place).await;
    let mut stage = Stage::new(plan, place).await?;
    let mut outcomes = Vec::new();
    for scenario in stage.plan.scenarios.clone() {
        let mut runs: Vec<(String, Vec<Figures>)> = Vec::new();
        for run in 1..=stage.plan.runs {
            say(&format!("{scenario}: run {run} of {}", stage.plan.runs));
            for (variant, figures) in scenario.run(&mut stage).await? {
                say(&format!("{variant}: {}", report::brief(&figures)));
                match runs.iter_mut().find(|(known, _)| *known == variant) {
                    Some((_, all)) => all.push(figures),
                    None => runs.push((variant, vec![figures])),
                }
            }
        }
        let outcome = |(variant, runs)| Outcome { scenario, variant, runs };
        outcomes.extend(runs.into_iter().map(outcome));
    }
    stage.place.clear().await?;
    Ok(Report { machine, plan: stage.plan, outcomes })
}

/// Tells how far it is; nobody minds if it cannot.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "outboxd bench: {text}");
}
