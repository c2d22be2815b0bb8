//! The sweep loop: housekeeping.

mod ceiling;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::metrics::pipeline::Deleted;
use crate::store::Store;
use crate::store::error::StoreError;
use ceiling::Ceiling;

/// Between two rounds of housekeeping.
const ROUND: Duration = Duration::from_secs(60);
/// Before the next round, when this one did not come to its end.
const MORE: Duration = Duration::from_secs(1);
/// Before a day that somebody reads is asked for again: each time, those who record wait a moment.
const AGAIN: Duration = Duration::from_secs(10);
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

/// What a round left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    /// A day of history that somebody reads.
    Locked,
    /// What did not fit into the round.
    More,
}

/// How far the loop has come.
#[derive(Default)]
struct Progress {
    /// Events up to here have been looked at.
    after: i64,
    ceiling: Ceiling,
    /// Whether it has been said that somebody reads what has to go.
    said_locked: bool,
}

impl Sweep {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut progress = Progress::default();
        let mut holder = self.deliverer.holder.clone();
        let mut config = self.deliverer.config.clone();
        loop {
            tokio::select! {
                came = holder.wait_for(Option::is_some) => if came.is_err() { return },
                () = stop.cancelled() => return,
            }
            config.mark_unchanged();
            let pause = match self.round(&mut progress).await {
                Ok(Left::Locked) => {
                    if !std::mem::replace(&mut progress.said_locked, true) {
                        tracing::warn!(
                            "somebody reads a day of history that has to go; trying again"
                        );
                    }
                    AGAIN
                }
                Ok(left) => {
                    progress.said_locked = false;
                    backoff.reset();
                    self.deliverer.metrics.pipeline.swept();
                    if left == Left::More { MORE } else { ROUND }
                }
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("sweep", &error);
                    ROUND
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // What is kept may have become less.
                Ok(()) = config.changed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// All parts, whatever becomes of the others; the first error is returned.
    async fn round(&self, progress: &mut Progress) -> Result<Left, StoreError> {
        failpoint!("sweep.round"?);
        let keep = self.deliverer.config().retention.clone();
        let prepared = self.store.prepare_history().await;
        let history = self.drop_history(keep.attempts).await;
        let orphans = self.store.sweep_orphans().await.map(i64::unsigned_abs);
        let secrets = self.store.sweep_secrets(BATCH).await.map(|count| count as u64);
        let events = self.sweep_events(keep.events, &mut progress.after).await;
        if !matches!(events, Ok((_, Left::More))) {
            // Events that are still owed to somebody have to be looked at again.
            progress.after = 0;
        }
        let room = self.keep_below(keep.max_bytes, &mut progress.ceiling).await;
        let count = |what| move |count| self.deliverer.metrics.pipeline.deleted(what, count);
        let orphans = orphans.map(count(Deleted::Orphans));
        let secrets = secrets.map(count(Deleted::Secrets));
        let (_, history) = prepared.and(history)?;
        let (_, events) = orphans.and(secrets).and(events)?;
        Ok(history.max(events).max(room?))
    }

    /// Drops the days of history that ended longer ago, one a transaction. Returns how much went.
    async fn drop_history(&self, keep: Duration) -> Result<(u64, Left), StoreError> {
        let mut gone = 0;
        for _ in 0..BATCHES {
            match self.store.drop_history(keep).await? {
                None => return Ok((gone, Left::Locked)),
                Some(0) => return Ok((gone, Left::Nothing)),
                Some(count) => gone += u64::from(count.unsigned_abs()),
            }
        }
        Ok((gone, Left::More))
    }

    /// Deletes finished events that are older, a batch a transaction, and goes on where it ended
    /// the last time: old events that are still owed to somebody stay, and must not hide those
    /// behind them. Returns how many went.
    async fn sweep_events(
        &self,
        keep: Duration,
        after: &mut i64,
    ) -> Result<(u64, Left), StoreError> {
        let mut gone = 0;
        for _ in 0..BATCHES {
            let swept = self.store.sweep_events(*after, keep, BATCH).await?;
            let count = swept.gone.unsigned_abs();
            self.deliverer.metrics.pipeline.deleted(Deleted::Events, count);
            gone += count;
            *after = swept.last_seq;
            failpoint!("sweep.after_batch"?);
            if swept.looked < BATCH || swept.old == 0 {
                return Ok((gone, Left::Nothing));
            }
        }
        Ok((gone, Left::More))
    }
}
