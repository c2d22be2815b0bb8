//! What is measured: one scenario, one file.

mod backlog;
mod burden;
mod drain;
mod endpoints;
mod neighbour;
mod producer;
mod steady;

use std::fmt;

use super::BenchError;
use super::figures::Figures;
use super::stage::Stage;

/// The runs of a scenario's variants, by their names.
pub type Variants = Vec<(String, Figures)>;

/// Adds to every variant what a figure is of that of the first.
fn relate(variants: &mut Variants, figure: &str, name: &'static str) {
    let first = variants.first().and_then(|(_, figures)| figures.get(figure));
    for (_, figures) in variants {
        let share = figures.get(figure).zip(first).map(|(own, first)| own / first);
        figures.set_some(name, share);
    }
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A backlog for one endpoint.
    Drain,
    /// A backlog of which each event goes to ten endpoints.
    FanOut,
    /// Events one by one.
    Steady,
    /// The same with transactions that stay open.
    LateCommits,
    /// Backlogs of three sizes.
    Depth,
    /// A backlog beside much history.
    History,
    /// A backlog under a snapshot that stays open.
    Snapshot,
    /// Endpoints beside one with a large backlog.
    Neighbour,
    /// Many endpoints to choose from.
    Endpoints,
    /// Several daemons on one database.
    Instances,
    /// What the outbox costs the application.
    Producer,
    /// Bodies of several sizes.
    Payload,
    /// Receivers that speak TLS.
    Tls,
}

/// A bound that a figure's median is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The variant.
    pub variant: &'static str,
    /// The figure.
    pub figure: &'static str,
    /// The bound.
    pub bound: Bound,
}

/// Which side of a number is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Bound {
    /// The number, and how it reads before it.
    pub fn words(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(bound) => ("at least", bound),
            Self::AtMost(bound) => ("at most", bound),
        }
    }

    /// Whether a value is on the good side.
    pub fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, bound) = self.words();
        write!(f, "{words} {bound}")
    }
}

impl Scenario {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 13] = [
        Self::Drain,
        Self::FanOut,
        Self::Steady,
        Self::LateCommits,
        Self::Depth,
        Self::History,
        Self::Snapshot,
        Self::Neighbour,
        Self::Endpoints,
        Self::Instances,
        Self::Producer,
        Self::Payload,
        Self::Tls,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::FanOut => "fan-out",
            Self::Steady => "steady",
            Self::LateCommits => "late-commits",
            Self::Depth => "depth",
            Self::History => "history",
            Self::Snapshot => "snapshot",
            Self::Neighbour => "neighbour",
            Self::Endpoints => "endpoints",
            Self::Instances => "instances",
            Self::Producer => "producer",
            Self::Payload => "payload",
            Self::Tls => "tls",
        }
    }

    /// One line about it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Drain => "100,000 events wait for one endpoint",
            Self::FanOut => "30,000 events wait for ten endpoints each",
            Self::Steady => {
                "200 and 1,000 events a second, each in a transaction of its own, for 30 s"
            }
            Self::LateCommits => {
                "the same, half of them in transactions that stay open for 1 to 3 s"
            }
            Self::Depth => "10 thousand, 1 million and 10 million events wait",
            Self::History => "drain, with 10 million finished events and 50 million attempts kept",
            Self::Snapshot => "400,000 deliveries, then 200 a second, while a snapshot stays open",
            Self::Neighbour => {
                "one endpoint with a backlog of 900,000, and 100 others with a trickle"
            }
            Self::Endpoints => "10, 1,000 and 10,000 endpoints, patterns and tenants mixed",
            Self::Instances => "drain by one, two and four daemons",
            Self::Producer => "what the outbox costs the inserting application, by pgbench",
            Self::Payload => "drain with bodies of 200 B, 2 kB, 20 kB and 200 kB",
            Self::Tls => "drain to 100 hosts that speak TLS",
        }
    }

    /// What is asked of it.
    pub fn targets(self) -> &'static [Target] {
        match self {
            Self::Drain => &drain::TARGETS,
            Self::FanOut => &drain::FAN_OUT_TARGETS,
            Self::Steady => &steady::TARGETS,
            Self::LateCommits => &steady::LATE_TARGETS,
            Self::Depth => &drain::DEPTH_TARGETS,
            Self::History => &burden::HISTORY_TARGETS,
            Self::Snapshot => &burden::SNAPSHOT_TARGETS,
            Self::Neighbour => &neighbour::TARGETS,
            Self::Endpoints => &endpoints::TARGETS,
            Self::Instances => &drain::INSTANCES_TARGETS,
            Self::Producer => &producer::TARGETS,
            Self::Payload => &drain::PAYLOAD_TARGETS,
            Self::Tls => &drain::TLS_TARGETS,
        }
    }

    /// Whether it cannot use a database that somebody named.
    pub fn needs_own_server(self) -> bool {
        self == Self::Producer
    }

    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Measures it once.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn run(self, stage: &mut Stage) -> Result<Variants, BenchError> {
        match self {
            Self::Drain => drain::run(stage).await,
            Self::FanOut => drain::fan_out(stage).await,
            Self::Steady => steady::run(stage).await,
            Self::LateCommits => steady::late_commits(stage).await,
            Self::Depth => drain::depth(stage).await,
            Self::History => burden::history(stage).await,
            Self::Snapshot => burden::snapshot(stage).await,
            Self::Neighbour => neighbour::run(stage).await,
            Self::Endpoints => endpoints::run(stage).await,
            Self::Instances => drain::instances(stage).await,
            Self::Producer => producer::run(stage).await,
            Self::Payload => drain::payload(stage).await,
            Self::Tls => drain::over_tls(stage).await,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
