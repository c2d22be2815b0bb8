//! The sweep loop: housekeeping, and the gauges of the database.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::store::Store;
use crate::store::error::StoreError;

/// Between two samples of the gauges.
const SAMPLE: Duration = Duration::from_secs(5);
/// Between two rounds of housekeeping.
const ROUND: Duration = Duration::from_secs(60);
/// Events deleted, or looked at, in one transaction.
const BATCH: i64 = 500;
/// Batches of one round, so that a large backlog is spread.
const BATCHES: usize = 200;

/// What sweeping works with.
pub struct Sweep {
    /// The database.
    pub store: Store,
    /// For the configuration and the metrics.
    pub deliverer: Arc<Deliverer>,
}

impl Sweep {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut swept: Option<Instant> = None;
        loop {
            if self.deliverer.holder.borrow().is_some() {
                match self.turn(&mut swept).await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        self.deliverer.metrics.db_errors.inc();
                        backoff.log("sweep", &error);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(SAMPLE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn turn(&self, swept: &mut Option<Instant>) -> Result<(), StoreError> {
        let sample = self.store.sample().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.deliverer.metrics.sampled(&sample, now.as_secs_f64());
        if swept.is_none_or(|at| at.elapsed() >= ROUND) {
            self.round().await?;
            *swept = Some(Instant::now());
        }
        Ok(())
    }

    async fn round(&self) -> Result<(), StoreError> {
        let keep = self.deliverer.config().retention.clone();
        self.store.maintain_history(keep.attempts).await?;
        self.store.sweep_orphans().await?;
        let mut after = 0;
        for _ in 0..BATCHES {
            let swept = self.store.sweep_events(after, keep.events, BATCH).await?;
            if swept.seen < BATCH {
                break;
            }
            after = swept.last_seq;
        }
        Ok(())
    }
}
