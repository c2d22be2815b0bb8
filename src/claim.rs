//! The claim loop: what is due in the database (retries, work that had found no room, leases that
//! ran out) becomes leased deliveries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::{Deliverer, Ended};
use crate::endpoint::EndpointKey;
use crate::event::{Job, Lease};
use crate::health::{Beat, Health};
use crate::metrics::pipeline::Wakeup;
use crate::store::Store;
use crate::store::claim::Claimed;
use crate::store::error::StoreError;

/// Most deliveries of one claim.
const BATCH: usize = 1000;
/// How often the database is asked what is due: for what other daemons and people left there.
const PROBE: Duration = Duration::from_millis(500);
/// The shortest pause between two claims, so that they become batches.
const PAUSE: Duration = Duration::from_millis(2);
/// The pause while an endpoint waits for its pace or its share.
const PACED: Duration = Duration::from_millis(10);
/// How often it is looked at how long requests have been under way.
const AGE: Duration = Duration::from_millis(100);

/// What claiming works with.
pub struct Claim {
    /// The database.
    pub store: Store,
    /// Where deliveries go.
    pub deliverer: Arc<Deliverer>,
    /// Where those go that turn out not to be sent.
    pub ended: tokio::sync::mpsc::Sender<Ended>,
    /// Hears of every turn.
    pub health: Arc<Health>,
}

impl Claim {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut probed: Option<Instant> = None;
        let mut aged = Instant::now();
        let mut woken = Wakeup::Timer;
        while !stop.is_cancelled() {
            self.health.beat(Beat::Claim);
            self.deliverer.metrics.pipeline.woken(woken);
            let holder = *self.deliverer.holder.borrow();
            let wait = match holder {
                None => PROBE,
                Some(holder) => match self.turn(holder, &mut probed).await {
                    Ok(()) => {
                        backoff.reset();
                        self.health.works(Beat::Claim);
                        self.next_wait(probed)
                    }
                    Err(error) => {
                        self.deliverer.metrics.database.failed(&error);
                        backoff.log("claim", &error);
                        if backoff.is_persistent() {
                            self.health.failing(Beat::Claim, &error);
                        }
                        backoff.pause()
                    }
                },
            };
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => woken = Wakeup::Timer,
                () = self.deliverer.room.notified() => woken = Wakeup::Room,
                () = stop.cancelled() => {}
            }
            if aged.elapsed() >= AGE {
                aged = Instant::now();
                self.deliverer.age().await;
            }
            self.deliverer.pump();
        }
    }

    fn next_wait(&self, probed: Option<Instant>) -> Duration {
        let lanes = self.deliverer.lanes();
        let probe = PROBE.saturating_sub(probed.map_or(PROBE, |at| at.elapsed()));
        let due = lanes.next_due().map_or(probe, |at| at.saturating_duration_since(Instant::now()));
        let paced = if lanes.has_waiting() { PACED } else { probe };
        let age = if lanes.in_flight() > 0 { AGE } else { probe };
        probe.min(due).min(paced).min(age)
    }

    async fn turn(&self, holder: i32, probed: &mut Option<Instant>) -> Result<(), StoreError> {
        if probed.is_none_or(|at| at.elapsed() >= PROBE) {
            self.probe().await?;
            *probed = Some(Instant::now());
        }
        let granted = self.deliverer.lanes().reserve_due(Instant::now(), BATCH);
        if granted.is_empty() {
            return Ok(());
        }
        let (keys, room): (Vec<EndpointKey>, Vec<i32>) = granted
            .iter()
            .map(|(key, room)| (*key, i32::try_from(*room).unwrap_or(i32::MAX)))
            .unzip();
        let _leasing = self.deliverer.leasing.read().await;
        let lease = self.deliverer.config().delivery.lease;
        failpoint!("claim.before");
        let began = Instant::now();
        match self.store.claim(&keys, &room, holder, lease).await {
            Ok((leased_at, claimed)) => {
                self.deliverer.metrics.pipeline.claim.done(began.elapsed(), claimed.len());
                self.settle(&granted, &claimed);
                self.submit(claimed, holder, leased_at + lease).await;
                Ok(())
            }
            Err(error) => {
                self.deliverer.in_doubt.store(true, Ordering::Relaxed);
                let mut lanes = self.deliverer.lanes();
                for (key, room) in granted {
                    lanes.unreserve(key, room);
                    lanes.note_due(key, Instant::now());
                }
                Err(error)
            }
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let endpoints = self.deliverer.endpoints();
        let keys: Vec<EndpointKey> = endpoints.all_ready().map(|endpoint| endpoint.key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let due = self.store.probe_due(&keys).await?;
        let now = Instant::now();
        let mut lanes = self.deliverer.lanes();
        for (key, wait) in due {
            lanes.note_due(key, now + wait);
        }
        Ok(())
    }

    /// Returns the room that was not used; where all was used, more is likely to wait.
    fn settle(&self, granted: &[(EndpointKey, usize)], claimed: &[Claimed]) {
        let mut used = std::collections::HashMap::new();
        for one in claimed {
            *used.entry(one.endpoint).or_insert(0_usize) += 1;
        }
        let mut lanes = self.deliverer.lanes();
        for (key, room) in granted {
            let used = used.get(key).copied().unwrap_or(0);
            if used < *room {
                lanes.unreserve(*key, room - used);
            } else {
                lanes.note_due(*key, Instant::now());
            }
        }
    }

    async fn submit(&self, claimed: Vec<Claimed>, holder: i32, lease_ends: Instant) {
        failpoint!("claim.before_submit");
        let mut jobs = Vec::with_capacity(claimed.len());
        for one in claimed {
            let Claimed { event_seq, endpoint, attempt, failures, event } = one;
            match event {
                Ok(event) => jobs.push(Job {
                    event: Arc::new(event),
                    endpoint,
                    attempt,
                    failures,
                    ahead: false,
                    holder,
                    lease_ends,
                }),
                Err(missing) => {
                    self.deliverer.lanes().unreserve(endpoint, 1);
                    let lease = Lease { event_seq, endpoint, attempt, holder };
                    self.ended.send(Ended::NoEvent(lease, missing)).await.ok();
                }
            }
        }
        self.deliverer.submit(jobs).await;
    }
}
