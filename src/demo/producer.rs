//! The application: inserts the sample events over and over, each in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::TENANT;
use super::ledger::Ledger;
use super::samples::Sample;
use crate::store::Store;
use crate::store::demo::NewEvent;
use crate::store::error::StoreError;

/// The pace of insertion, where it is slow enough for a person to follow.
const PACE: Duration = Duration::from_millis(50);
/// Longer than this nobody wants to watch insertions; many events come faster.
const WATCHED: Duration = Duration::from_secs(15);

/// Inserts events.
pub(super) struct Producer {
    pub(super) store: Store,
    pub(super) samples: Vec<Sample>,
    pub(super) ledger: Arc<Ledger>,
    /// How many; `None`: until it is stopped.
    pub(super) events: Option<u64>,
}

impl Producer {
    /// Until all are inserted, or it is stopped.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let events = self.events.unwrap_or(u64::MAX);
        let mut ticks = interval(self.events.map_or(PACE, pace));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (number, sample) in (0..events).zip(self.samples.iter().cycle()) {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let id = self.ledger.id(number);
            let Sample { event_type, payload } = sample;
            self.store
                .insert_event(NewEvent { id: &id, event_type, payload, tenant: TENANT })
                .await?;
            self.ledger.commit();
        }
        Ok(())
    }
}

fn pace(events: u64) -> Duration {
    let spread = WATCHED.as_secs_f64() / events.max(1) as f64;
    // A ticker does not take zero.
    Duration::from_secs_f64(spread).clamp(Duration::from_micros(1), PACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_come_slowly_and_many_within_the_time_to_watch() {
        assert_eq!(pace(0), PACE);
        assert_eq!(pace(300), PACE);
        assert_eq!(pace(3_000), Duration::from_millis(5));
        assert_eq!(pace(u64::MAX), Duration::from_micros(1));
    }
}
