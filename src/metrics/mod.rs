//! What is counted: the only module that knows prometheus. One file a subject.
//!
//! The help text of a family is what documentation and dashboards rely on; labels are closed sets and
//! endpoint names.

pub mod attempts;
pub mod database;
mod document;
pub mod endpoints;
mod family;
pub mod pipeline;
pub mod process;
pub mod sampled;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Encoder, Registry, TextEncoder};

use crate::endpoint::EndpointKey;
use attempts::Attempts;
use database::Database;
use endpoints::{Book, EndpointMetrics};
pub use family::Total;
use family::{Family, Maker};
use pipeline::Pipeline;
use process::Process;
use sampled::Sampled;

/// The content type of the text format; Prometheus refuses a scrape without it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of the daemon.
pub struct Metrics {
    registries: Vec<Registry>,
    /// Of attempts and deliveries.
    pub attempts: Attempts,
    /// Of endpoints.
    pub endpoints: Book,
    /// Of the loops.
    pub pipeline: Pipeline,
    /// Of the daemon's way to the database.
    pub database: Database,
    /// Of what is in the database.
    pub sampled: Sampled,
    /// Of the process.
    pub process: Process,
    subjects: Vec<(&'static str, Vec<Family>)>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Every family, at zero.
    pub fn new() -> Self {
        let (mut registries, mut subjects) = (Vec::new(), Vec::new());
        let mut take = |title, make: Maker| {
            let (registry, families) = make.done();
            registries.push(registry);
            subjects.push((title, families));
        };
        let mut make = Maker::new();
        let attempts = Attempts::new(&mut make);
        take("Attempts and deliveries", make);
        let mut make = Maker::new();
        let pipeline = Pipeline::new(&mut make);
        take("Loops", make);
        let mut make = Maker::new();
        let endpoints = Book::new(&mut make);
        take("Endpoints", make);
        let mut make = Maker::new();
        let database = Database::new(&mut make);
        take("Connections to the database", make);
        let mut make = Maker::new();
        let process = Process::new(&mut make);
        take("Process", make);
        let mut families = Vec::new();
        let sampled = Sampled::new(&mut families);
        subjects.push(("Sampled from the database", families));
        Self { registries, attempts, endpoints, pipeline, database, sampled, process, subjects }
    }

    /// The counters of an endpoint; none for one that there is not.
    pub fn endpoint(&self, key: EndpointKey) -> Option<Arc<EndpointMetrics>> {
        self.endpoints.of(key)
    }

    /// The text of a scrape.
    pub fn render(&self) -> Vec<u8> {
        let own = self.registries.iter().flat_map(Registry::gather);
        let mut families: Vec<_> = own.chain(self.sampled.gather()).collect();
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = Vec::new();
        // Writing to memory does not fail; a family without children is left out.
        TextEncoder::new().encode(&families, &mut text).ok();
        text
    }

    /// The names of all families.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.subjects.iter().flat_map(|(_, families)| families.iter().map(|family| family.name))
    }

    /// What `docs/metrics.md` says.
    pub fn document(&self) -> String {
        let subjects: Vec<(&str, &[Family])> =
            self.subjects.iter().map(|(title, families)| (*title, &families[..])).collect();
        document::document(&subjects)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The time, in unix seconds.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
