//! One endpoint with a large backlog, and a hundred others with a trickle: what it costs the others.

use super::backlog::Backlog;
use super::steady::{latencies, pace};
use super::{Bound, Target, Variants, relate};
use crate::bench::BenchError;
use crate::bench::crew::Crew;
use crate::bench::figures::Figures;
use crate::bench::producer::{Pace, Producers};
use crate::bench::receiver::{Arrival, tally};
use crate::bench::stage::Stage;

/// Of `neighbour`.
pub const TARGETS: [Target; 1] =
    [Target { variant: "neighbour-loud", figure: "p99_of_alone", bound: Bound::AtMost(2.0) }];

/// Endpoints that have a trickle; number 0 has the backlog.
const OTHERS: u32 = 100;
/// Events a second for all of them.
const TRICKLE: u32 = 200;
const COLUMNS: (&str, &str) = ("tenant", "'tenant-' || n");

/// The others alone, and beside a backlog of 900,000 for one endpoint. Of their events those count
/// that were committed while the backlog lasted.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let mut variants = Vec::new();
    for (name, loud) in [("neighbour-alone", false), ("neighbour-loud", true)] {
        let events = if loud { stage.events(900_000, 5_000) } else { 0 };
        let backlog = Backlog {
            events,
            endpoints: OTHERS + 1,
            columns: COLUMNS,
            tenant: "'tenant-0'".to_owned(),
            ..Backlog::default()
        };
        variants.push((name.to_owned(), beside(stage, &backlog).await?));
    }
    relate(&mut variants, "p99_ms", "p99_of_alone");
    Ok(variants)
}

async fn beside(stage: &mut Stage, backlog: &Backlog) -> Result<Figures, BenchError> {
    stage.place.clear().await?;
    stage.subscribe(backlog.endpoints, backlog.columns).await?;
    let mut crew = Crew::start(stage, 1).await?;
    let producers = Producers::connect(&stage.place, false).await?;
    let pace = Pace { first: backlog.events, tenants: Some(OTHERS), ..pace(stage, TRICKLE) };
    stage.place.run(&backlog.insert(stage.plan.body_bytes)).await?;
    stage.place.settle().await?;
    let start = crew.begin(&stage.place).await;
    stage.place.run("COMMIT").await?;
    let commits = producers.produce(pace).await?;
    let deliveries = backlog.deliveries() + commits.len() as u64;
    let mut costs = Figures::default();
    let arrivals = crew.deliver(stage, start, deliveries, &mut costs).await?;
    let (loud, others): (Vec<Arrival>, Vec<Arrival>) =
        arrivals.iter().partition(|arrival| arrival.endpoint == 0);
    // Alone, all of them count.
    let until = loud.iter().map(|one| one.at).max().unwrap_or(u64::MAX);
    let counted: Vec<_> = commits.iter().filter(|one| one.sent < until).copied().collect();
    let mut figures = latencies(&counted, &others);
    figures.set("counted", counted.len() as f64);
    let tally = tally(&arrivals);
    figures.set("deliveries", deliveries as f64);
    figures.set("lost", deliveries.saturating_sub(tally.distinct) as f64);
    figures.set("duplicates", tally.duplicates as f64);
    let end = arrivals.iter().map(|one| one.at).max().unwrap_or(start.at);
    let seconds = end.saturating_sub(start.at).max(1) as f64 / 1e6;
    figures.set("rate_per_second", tally.distinct as f64 / seconds);
    figures.append(costs);
    crew.stop(stage, &mut figures).await?;
    stage.beside(&mut figures, deliveries, backlog.endpoints, stage.plan.body_bytes).await?;
    if loud.is_empty() {
        figures.remove("ratio");
    }
    Ok(figures)
}
