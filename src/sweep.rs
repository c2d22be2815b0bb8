//! The sweep loop: housekeeping.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::metrics::pipeline::Deleted;
use crate::store::Store;
use crate::store::error::StoreError;

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
        let mut after = 0;
        let mut holder = self.deliverer.holder.clone();
        loop {
            tokio::select! {
                came = holder.wait_for(Option::is_some) => if came.is_err() { return },
                () = stop.cancelled() => return,
            }
            match self.round(&mut after).await {
                Ok(()) => {
                    backoff.reset();
                    self.deliverer.metrics.pipeline.swept();
                }
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("sweep", &error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// All parts, whatever becomes of the others; the first error is returned.
    async fn round(&self, after: &mut i64) -> Result<(), StoreError> {
        failpoint!("sweep.round"?);
        let keep = self.deliverer.config().retention.clone();
        let history = self.store.maintain_history(keep.attempts).await;
        let orphans = self.store.sweep_orphans().await.map(i64::unsigned_abs);
        let secrets = self.store.sweep_secrets(BATCH).await.map(|count| count as u64);
        let events = self.sweep_events(keep.events, after).await;
        let count = |what| move |count| self.deliverer.metrics.pipeline.deleted(what, count);
        let orphans = orphans.map(count(Deleted::Orphans));
        let secrets = secrets.map(count(Deleted::Secrets));
        history.map(drop).and(orphans).and(secrets).and(events)
    }

    /// Goes on where the last round ended: old events that are still owed to somebody stay, and
    /// must not hide those behind them.
    async fn sweep_events(&self, keep: Duration, after: &mut i64) -> Result<(), StoreError> {
        for _ in 0..BATCHES {
            let swept = self.store.sweep_events(*after, keep, BATCH).await?;
            self.deliverer.metrics.pipeline.deleted(Deleted::Events, swept.gone.unsigned_abs());
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
