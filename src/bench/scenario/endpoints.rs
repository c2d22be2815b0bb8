//! Many endpoints, of which each event concerns a few: what it costs to find them.

use super::backlog::Backlog;
use super::{Bound, Target, Variants, relate};
use crate::bench::BenchError;
use crate::bench::crew::Crew;
use crate::bench::figures::Figures;
use crate::bench::stage::Stage;

/// Of `endpoints`.
pub const TARGETS: [Target; 2] = [
    Target { variant: "endpoints-1000", figure: "cost_of_10", bound: Bound::AtMost(2.0) },
    Target { variant: "endpoints-10000", figure: "cost_of_10", bound: Bound::AtMost(2.0) },
];

/// Endpoints of a tenant.
const EACH: u32 = 10;
/// Those of them that match: three patterns of five do.
const MATCHING: u32 = 6;
const COLUMNS: (&str, &str) = (
    "tenant, events",
    "'tenant-' || n / 10, (ARRAY['{*}', '{conversion.*}', '{conversion.created,payout.sent}',
                                 '{payout.*}', '{click.created}'])[n % 5 + 1]::text[]",
);

/// 10, 1,000 and 10,000 endpoints. First they are paused, so that deliveries are made and not sent:
/// that is the cost of fan-out. Then the same backlog is delivered.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let mut variants = Vec::new();
    for (name, endpoints) in
        [("endpoints-10", 10), ("endpoints-1000", 1_000), ("endpoints-10000", 10_000)]
    {
        let backlog = Backlog {
            events: stage.events(30_000, 300),
            endpoints,
            fan_out: MATCHING,
            columns: COLUMNS,
            tenant: format!("'tenant-' || n % {}", endpoints / EACH),
            ..Backlog::default()
        };
        let micros = fan_out(stage, &backlog).await?;
        let mut figures = backlog.run(stage).await?;
        figures.set("fan_out_us_per_event", micros);
        variants.push((name.to_owned(), figures));
    }
    relate(&mut variants, "fan_out_us_per_event", "cost_of_10");
    Ok(variants)
}

/// Microseconds of processor time, of daemon and Postgres where both are known, or else of the clock,
/// that each event takes until its deliveries are made.
async fn fan_out(stage: &mut Stage, backlog: &Backlog) -> Result<f64, BenchError> {
    stage.place.clear().await?;
    let (names, values) = backlog.columns;
    let paused = (format!("{names}, state"), format!("{values}, 'paused'"));
    stage.subscribe(backlog.endpoints, (&paused.0, &paused.1)).await?;
    let crew = Crew::start(stage, 1).await?;
    // Endpoints are loaded when the first event is seen; here it is the matching that counts.
    let first = Backlog { events: 1, first: backlog.events, ..backlog.clone() };
    stage.place.run(&first.insert(stage.plan.body_bytes)).await?;
    stage.place.run("COMMIT").await?;
    stage.place.until_fanned_out().await?;
    stage.place.run(&backlog.insert(stage.plan.body_bytes)).await?;
    let start = crew.begin(&stage.place).await;
    stage.place.run("COMMIT").await?;
    stage.place.until_fanned_out().await?;
    let mut figures = Figures::default();
    let seconds = crew.spent(stage, start, backlog.events.into(), &mut figures).await;
    crew.stop(stage, &mut figures).await?;
    let made = stage.place.number("SELECT count(*) FROM outbox.work").await;
    let expected = backlog.deliveries() + first.deliveries();
    if made != Some(expected as f64) {
        return Err(BenchError::Matching(expected, made.unwrap_or(0.0) as u64));
    }
    let cpu = figures.get("daemon_cpu_s_per_1000").zip(figures.get("postgres_cpu_s_per_1000"));
    let clock = seconds * 1e6 / f64::from(backlog.events);
    Ok(cpu.map_or(clock, |(daemon, postgres)| (daemon + postgres) * 1e3))
}
