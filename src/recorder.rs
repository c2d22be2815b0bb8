//! The record loop: what became of leased deliveries goes to the database, in batches.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::decide::Verdict;
use crate::deliver::{Deliverer, Ended};
use crate::endpoint::EndpointKey;
use crate::event::Lease;
use crate::health::{Beat, Health};
use crate::metrics::endpoints::EndpointMetrics;
use crate::outcome::{Directive, Reply};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::record::Attempt;

/// Most outcomes of one transaction.
const BATCH: usize = 1000;
/// After a batch of at least so many, others are let gather for a moment: one transaction for them
/// costs the database less than several, and nobody waits for a record that is one of many.
const MANY: usize = 50;
const GATHER: Duration = Duration::from_millis(5);
/// Outcomes that may wait; when they are that many, requests wait too.
pub const WAITING: usize = 4096;
/// How often the watchdog hears of a loop that has nothing to do.
const BEAT: Duration = Duration::from_secs(5);

/// What recording works with.
pub struct Recorder {
    /// The database.
    pub store: Store,
    /// For the metrics and the endpoints' names.
    pub deliverer: Arc<Deliverer>,
    /// What ended.
    pub ended: mpsc::Receiver<Ended>,
    /// Hears of every turn.
    pub health: Arc<Health>,
}

impl Recorder {
    /// Runs until it is told that nothing more will end, and all is recorded.
    pub async fn run(mut self, last: CancellationToken) {
        let mut waiting = Vec::with_capacity(BATCH);
        loop {
            self.health.beat(Beat::Record);
            tokio::select! {
                received = self.ended.recv_many(&mut waiting, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.record(std::mem::take(&mut waiting)).await;
                    if received >= MANY && self.ended.len() < BATCH / 2 {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                () = last.cancelled(), if !self.ended.is_closed() => self.ended.close(),
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    /// Writes a batch, for as long as it takes: until then its deliveries are neither lost nor
    /// done, and no request is made that could not be recorded either.
    async fn record(&self, batch: Vec<Ended>) {
        let (mut attempts, mut unsent, mut without_event) = (Vec::new(), Vec::new(), Vec::new());
        let mut flushed = Vec::new();
        for ended in batch {
            match ended {
                Ended::Attempted(attempt) => attempts.push(*attempt),
                Ended::Unsent(lease, pause) => unsent.push((lease, pause)),
                Ended::NoEvent(lease, why) => without_event.push((lease, why)),
                Ended::Flushed(waiter) => flushed.push(waiter),
            }
        }
        if !attempts.is_empty() {
            self.record_attempts(attempts).await;
        }
        if !unsent.is_empty() {
            self.release(&unsent).await;
        }
        for (lease, why) in without_event {
            self.insist("cancel", || self.store.cancel_without_event(lease, &why)).await;
            self.count(lease, EndpointMetrics::cancelled);
        }
        for waiter in flushed {
            // It may have given up.
            waiter.send(()).ok();
        }
    }

    /// Not repeated when it fails: it may have been committed, and the next lease of the same
    /// delivery would have the same number.
    async fn release(&self, unsent: &[(Lease, Duration)]) {
        if let Err(error) = self.store.release(unsent).await {
            self.deliverer.metrics.database.failed(&error);
            self.deliverer.in_doubt.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "cannot give leases back; they are compared soon");
        }
        self.deliverer.room.notify_one();
    }

    async fn record_attempts(&self, attempts: Vec<Attempt>) {
        match self.store_attempts(&attempts).await {
            Some(ours) => {
                self.settle(&attempts, ours).await;
                failpoint!("record.settled");
            }
            // Something in the batch cannot be stored: one by one, so that it costs only itself.
            None => {
                for attempt in attempts {
                    self.record_one(attempt).await;
                }
            }
        }
    }

    async fn record_one(&self, attempt: Attempt) {
        let mut single = [attempt];
        let mut ours = self.store_attempts(&single).await;
        if ours.is_none() {
            let lease = single[0].lease;
            let endpoint = self.deliverer.metrics.endpoints.name(lease.endpoint);
            tracing::error!(endpoint, ?lease, "the reply could not be stored, and was left out");
            single = single.map(|attempt| attempt.without_reply("the reply could not be stored"));
            ours = self.store_attempts(&single).await;
        }
        self.settle(&single, ours.unwrap_or_default()).await;
    }

    /// The deliveries that were still ours; `None` when the database refuses a value of theirs,
    /// which it would do again.
    async fn store_attempts(&self, attempts: &[Attempt]) -> Option<Vec<(i64, EndpointKey)>> {
        let (store, began) = (&self.store, Instant::now());
        let stored = self.insist("record", || async move {
            match store.record(attempts).await {
                Ok(ours) => Ok(Some(ours)),
                Err(error) if error.is_of_a_row() => {
                    tracing::error!(%error, "a batch of outcomes was refused");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        });
        let stored = stored.await;
        self.deliverer.metrics.pipeline.record.done(began.elapsed(), attempts.len());
        stored
    }

    /// What follows once the outcomes are in the database.
    async fn settle(&self, attempts: &[Attempt], ours: Vec<(i64, EndpointKey)>) {
        let ours: HashSet<(i64, EndpointKey)> = ours.into_iter().collect();
        // As they were when the attempts were made: one that is disabled below is counted too.
        let endpoints = self.deliverer.endpoints();
        let metrics = &self.deliverer.metrics.attempts;
        let mut ended_in_order = Vec::new();
        for attempt in attempts {
            let Attempt { lease, reply, verdict, .. } = attempt;
            if matches!(verdict, Verdict::Gone { .. }) {
                // Also when the delivery is no longer ours: the receiver has said it.
                self.disable(*lease, reply).await;
            }
            if !ours.contains(&(lease.event_seq, lease.endpoint)) {
                metrics.lost_leases.inc();
                let endpoint = self.deliverer.metrics.endpoints.name(lease.endpoint);
                let outcome = reply.outcome.as_str();
                tracing::info!(endpoint, ?lease, outcome, "the lease was lost");
                continue;
            }
            if !matches!(verdict, Verdict::Retry { .. }) && endpoints.is_ordered(lease.endpoint) {
                ended_in_order.push(*lease);
            }
            match verdict {
                Verdict::Delivered | Verdict::Gone { delivered: true } => {
                    self.count(*lease, EndpointMetrics::delivered);
                    metrics.delivered(attempt.since_wanted, lease.attempt);
                    if endpoints.ready(lease.endpoint).is_some_and(|it| it.auto_paused) {
                        self.resume(*lease).await;
                    }
                }
                Verdict::Exhausted | Verdict::Gone { delivered: false } => {
                    self.count(*lease, EndpointMetrics::exhausted);
                    metrics.exhausted(lease.attempt);
                }
                Verdict::Retry { after, .. } => {
                    // Counted from when it was recorded, as the database does: a claim that came
                    // earlier would find nothing.
                    self.deliverer.lanes().note_due(lease.endpoint, Instant::now() + *after);
                    self.deliverer.room.notify_one();
                }
            }
        }
        self.deliverer.promote_after(&ended_in_order).await;
    }

    async fn resume(&self, lease: Lease) {
        if self.insist("resume", || self.store.resume_mended(lease.endpoint)).await {
            let endpoint = self.deliverer.endpoints().ready(lease.endpoint).map(|e| e.name.clone());
            tracing::info!(endpoint, "endpoint resumed: it took an event again");
        }
    }

    async fn disable(&self, lease: Lease, reply: &Reply) {
        let reason = match reply.directive {
            Some(Directive::Disable) => "the receiver answered webhook-delivery: disable",
            _ => "the receiver answered 410 Gone",
        };
        let name = self.deliverer.endpoints().ready(lease.endpoint).map(|e| e.name.clone());
        tracing::warn!(endpoint = name, reason, "endpoint disabled");
        self.insist("disable", || self.store.disable_endpoint(lease.endpoint, reason)).await;
    }

    fn count(&self, lease: Lease, count: impl Fn(&EndpointMetrics)) {
        if let Some(endpoint) = self.deliverer.metrics.endpoint(lease.endpoint) {
            count(&endpoint);
        }
    }

    /// Tries until the database has taken it.
    async fn insist<T, F>(&self, what: &str, run: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut backoff = Backoff::default();
        loop {
            match run().await {
                Ok(done) => {
                    self.health.works(Beat::Record);
                    return done;
                }
                Err(error) => {
                    self.health.beat(Beat::Record);
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log(what, &error);
                    if backoff.is_persistent() {
                        self.health.failing(Beat::Record, &error);
                    }
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }
}
