//! A backlog, and nothing else: how fast it goes.

use super::backlog::Backlog;
use super::{Bound, Target, Variants};
use crate::bench::BenchError;
use crate::bench::stage::Stage;

/// Of `drain`.
pub const TARGETS: [Target; 1] =
    [Target { variant: "drain", figure: "ratio", bound: Bound::AtLeast(0.65) }];
/// Of `fan-out`.
pub const FAN_OUT_TARGETS: [Target; 1] =
    [Target { variant: "fan-out", figure: "ratio", bound: Bound::AtLeast(0.85) }];

/// One endpoint.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let backlog = Backlog { events: stage.events(100_000, 5_000), ..Backlog::default() };
    Ok(vec![("drain".to_owned(), backlog.run(stage).await?)])
}

/// Ten endpoints for every event.
pub async fn fan_out(stage: &mut Stage) -> Result<Variants, BenchError> {
    let events = stage.events(30_000, 1_000);
    let backlog = Backlog { events, endpoints: 10, fan_out: 10, ..Backlog::default() };
    Ok(vec![("fan-out".to_owned(), backlog.run(stage).await?)])
}
