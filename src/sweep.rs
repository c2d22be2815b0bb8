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
/// Events or secrets deleted, or looked at, in one transaction.
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
        let mut after = 0;
        loop {
            if self.deliverer.holder.borrow().is_some() {
                match self.turn(&mut swept, &mut after).await {
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

    async fn turn(&self, swept: &mut Option<Instant>, after: &mut i64) -> Result<(), StoreError> {
        let sample = self.store.sample().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.deliverer.metrics.sampled(&sample, now.as_secs_f64());
        if swept.is_none_or(|at| at.elapsed() >= ROUND) {
            *swept = Some(Instant::now());
            failpoint!("sweep.round"?);
            self.round(after).await?;
        }
        Ok(())
    }

    /// All parts, whatever becomes of the others; the first error is returned.
    async fn round(&self, after: &mut i64) -> Result<(), StoreError> {
        let keep = self.deliverer.config().retention.clone();
        let history = self.store.maintain_history(keep.attempts).await;
        let orphans = self.store.sweep_orphans().await;
        let secrets = self.store.sweep_secrets(BATCH).await;
        let events = self.sweep_events(keep.events, after).await;
        history.map(drop).and(orphans.map(drop)).and(secrets.map(drop)).and(events)
    }

    /// Goes on where the last round ended: old events that are still owed to somebody stay, and
    /// must not hide those behind them.
    async fn sweep_events(&self, keep: Duration, after: &mut i64) -> Result<(), StoreError> {
        for _ in 0..BATCHES {
            let swept = self.store.sweep_events(*after, keep, BATCH).await?;
            failpoint!("sweep.after_batch"?);
            if swept.looked < BATCH || swept.old == 0 {
                *after = 0;
                break;
            }
            *after = swept.last_seq;
        }
        Ok(())
    }
}
