//! What is measured: one scenario, one file.

mod backlog;
mod drain;

use std::fmt;

use super::BenchError;
use super::figures::Figures;
use super::stage::Stage;

/// The runs of a scenario's variants, by their names.
pub type Variants = Vec<(String, Figures)>;

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A backlog for one endpoint.
    Drain,
    /// A backlog of which each event goes to ten endpoints.
    FanOut,
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
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

impl Scenario {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 2] = [Self::Drain, Self::FanOut];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::FanOut => "fan-out",
        }
    }

    /// One line about it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Drain => "100,000 events wait for one endpoint",
            Self::FanOut => "30,000 events wait for ten endpoints each",
        }
    }

    /// What is asked of it.
    pub fn targets(self) -> &'static [Target] {
        match self {
            Self::Drain => &drain::TARGETS,
            Self::FanOut => &drain::FAN_OUT_TARGETS,
        }
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
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
