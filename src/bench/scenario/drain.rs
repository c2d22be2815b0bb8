//! A backlog, and nothing else: how fast it goes.

use super::backlog::Backlog;
use super::{Bound, Target, Variants, relate};
use crate::bench::BenchError;
use crate::bench::crew::Crew;
use crate::bench::figures::Figures;
use crate::bench::receiver::{Kind, PLAIN};
use crate::bench::stage::Stage;
use crate::bench::tls;

/// Of `drain`.
pub const TARGETS: [Target; 1] =
    [Target { variant: "drain", figure: "ratio", bound: Bound::AtLeast(0.65) }];
/// Of `fan-out`.
pub const FAN_OUT_TARGETS: [Target; 1] =
    [Target { variant: "fan-out", figure: "ratio", bound: Bound::AtLeast(0.85) }];
/// Of `tls`.
pub const TLS_TARGETS: [Target; 1] =
    [Target { variant: "tls", figure: "ratio", bound: Bound::AtLeast(0.7) }];
/// Of `payload`: the memory of each size, and that the largest are sent as fast as by the bare client.
pub const PAYLOAD_TARGETS: [Target; 5] = [
    Target { variant: "payload-200", figure: "daemon_peak_bytes", bound: MEMORY },
    Target { variant: "payload-2k", figure: "daemon_peak_bytes", bound: MEMORY },
    Target { variant: "payload-20k", figure: "daemon_peak_bytes", bound: MEMORY },
    Target { variant: "payload-200k", figure: "daemon_peak_bytes", bound: MEMORY },
    Target { variant: "payload-200k", figure: "ratio", bound: Bound::AtLeast(0.9) },
];
const MEMORY: Bound = Bound::AtMost(268_435_456.0);
/// Of `depth`.
pub const DEPTH_TARGETS: [Target; 4] = [
    Target { variant: "depth-middle", figure: "flow_of_shallow", bound: Bound::AtLeast(0.9) },
    Target { variant: "depth-deep", figure: "flow_of_shallow", bound: Bound::AtLeast(0.9) },
    Target { variant: "depth-middle", figure: "memory_of_shallow", bound: Bound::AtMost(1.25) },
    Target { variant: "depth-deep", figure: "memory_of_shallow", bound: Bound::AtMost(1.25) },
];
/// Of `instances`: what is lost to noise is not lost.
pub const INSTANCES_TARGETS: [Target; 2] = [
    Target { variant: "instances-2", figure: "rate_of_one", bound: Bound::AtLeast(0.95) },
    Target { variant: "instances-4", figure: "rate_of_one", bound: Bound::AtLeast(0.95) },
];

/// Each event goes to the endpoint of its tenant.
const OF_TENANTS: (&str, &str) = ("tenant", "'tenant-' || n");

/// One endpoint.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let backlog = Backlog { events: stage.events(100_000, 2_000), ..Backlog::default() };
    Ok(vec![("drain".to_owned(), backlog.run(stage).await?)])
}

/// Ten endpoints for every event.
pub async fn fan_out(stage: &mut Stage) -> Result<Variants, BenchError> {
    let events = stage.events(30_000, 200);
    let backlog = Backlog { events, endpoints: 10, fan_out: 10, ..Backlog::default() };
    Ok(vec![("fan-out".to_owned(), backlog.run(stage).await?)])
}

/// A hundred hosts that speak TLS.
pub async fn over_tls(stage: &mut Stage) -> Result<Variants, BenchError> {
    stage.receive(Kind { hosts: tls::HOSTS, tls: true }).await?;
    let endpoints = u32::from(tls::HOSTS);
    let backlog = Backlog {
        events: stage.events(100_000, 2_000),
        endpoints,
        columns: OF_TENANTS,
        tenant: format!("'tenant-' || n % {endpoints}"),
        ..Backlog::default()
    };
    let figures = backlog.run(stage).await;
    stage.receive(PLAIN).await?;
    Ok(vec![("tls".to_owned(), figures?)])
}

/// Bodies from small to large.
pub async fn payload(stage: &mut Stage) -> Result<Variants, BenchError> {
    let mut variants = Vec::new();
    for (name, body_bytes, full, quick) in [
        ("payload-200", 200, 100_000, 1_000),
        ("payload-2k", 2_000, 50_000, 1_000),
        ("payload-20k", 20_000, 20_000, 500),
        ("payload-200k", 200_000, 5_000, 100),
    ] {
        let events = stage.events(full, quick);
        let body_bytes = Some(body_bytes);
        let mut figures = Backlog { events, body_bytes, ..Backlog::default() }.run(stage).await?;
        let bytes = figures.get("rate_per_second").zip(body_bytes);
        figures.set_some("bytes_per_second", bytes.map(|(rate, bytes)| rate * bytes as f64));
        variants.push((name.to_owned(), figures));
    }
    Ok(variants)
}

/// A thousandth, a tenth and all of ten million. The shallow one is released again and again, as
/// one alone is over before it can be measured.
pub async fn depth(stage: &mut Stage) -> Result<Variants, BenchError> {
    let deep = stage.events(10_000_000, 20_000);
    let mut variants = Vec::new();
    for (name, events, rounds) in [
        ("depth-shallow", deep / 1_000, 20),
        ("depth-middle", deep / 10, 1),
        ("depth-deep", deep, 1),
    ] {
        let backlog = Backlog { events: events.max(100), ..Backlog::default() };
        stage.place.clear().await?;
        stage.subscribe(1, ("", "")).await?;
        let mut crew = Crew::start(stage, 1).await?;
        let mut runs = Vec::new();
        for round in 0..rounds {
            let backlog = Backlog { first: round * backlog.events, ..backlog.clone() };
            runs.push(backlog.release(stage, &mut crew).await?);
        }
        let mut figures = Figures::medians(&runs);
        crew.stop(stage, &mut figures).await?;
        backlog.beside(stage, &mut figures).await?;
        variants.push((name.to_owned(), figures));
    }
    relate(&mut variants, "flow_per_second", "flow_of_shallow");
    relate(&mut variants, "daemon_peak_bytes", "memory_of_shallow");
    Ok(variants)
}

/// One, two and four daemons on one database.
pub async fn instances(stage: &mut Stage) -> Result<Variants, BenchError> {
    let backlog = Backlog { events: stage.events(100_000, 2_000), ..Backlog::default() };
    let mut variants = Vec::new();
    for (name, daemons) in [("instances-1", 1), ("instances-2", 2), ("instances-4", 4)] {
        stage.place.clear().await?;
        variants.push((name.to_owned(), backlog.run_prepared(stage, daemons).await?));
    }
    relate(&mut variants, "rate_per_second", "rate_of_one");
    Ok(variants)
}
