//! The claim loop: what is due in the database (retries, work that had found no room, leases that
//! ran out) becomes leased deliveries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::{Deliverer, Ended};
use crate::endpoint::{EndpointKey, Endpoints};
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
/// How far ahead it is asked: until the next time, and some.
const AHEAD: Duration = Duration::from_secs(1);
/// How far back: what is written is due no earlier than that, but for a transaction that was open
/// for longer.
const BACK: Duration = Duration::from_secs(5);
/// How often it is asked without such a limit, which under an old snapshot is work.
const FULL_PROBE: Duration = Duration::from_secs(10);
/// Further back than anything can be.
const ALWAYS: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// The shortest pause between two claims, so that they become batches.
const PAUSE: Duration = Duration::from_millis(2);
/// The pause while an endpoint waits for its pace or its share.
const PACED: Duration = Duration::from_millis(10);
/// How often it is looked at how long requests have been under way.
const AGE: Duration = Duration::from_millis(100);

/// What the database was asked last.
struct Probed {
    at: Instant,
    /// When it was asked for all that is due,
    full_at: Instant,
    /// of these endpoints,
    endpoints: Arc<Endpoints>,
    /// for this holder.
    holder: i32,
}

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
        let mut probed: Option<Probed> = None;
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
                        self.next_wait(probed.as_ref())
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

    fn next_wait(&self, probed: Option<&Probed>) -> Duration {
        let lanes = self.deliverer.lanes();
        let probe = PROBE.saturating_sub(probed.map_or(PROBE, |last| last.at.elapsed()));
        let due = lanes.next_due().map_or(probe, |at| at.saturating_duration_since(Instant::now()));
        let paced = if lanes.has_waiting() { PACED } else { probe };
        let age = if lanes.in_flight() > 0 { AGE } else { probe };
        probe.min(due).min(paced).min(age)
    }

    async fn turn(&self, holder: i32, probed: &mut Option<Probed>) -> Result<(), StoreError> {
        if probed.as_ref().is_none_or(|last| last.at.elapsed() >= PROBE) {
            *probed = Some(self.probe(probed.take(), holder).await?);
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

    /// Asks what is due. Endpoints that were not ready before, and leases of another holder, may have
    /// been due for long.
    async fn probe(&self, last: Option<Probed>, holder: i32) -> Result<Probed, StoreError> {
        let (endpoints, now) = (self.deliverer.endpoints(), Instant::now());
        let same = |last: &Probed| {
            last.holder == holder
                && Arc::ptr_eq(&last.endpoints, &endpoints)
                && last.full_at.elapsed() < FULL_PROBE
        };
        let (back, full_at) = match last.filter(same) {
            Some(last) => (BACK, last.full_at),
            None => (ALWAYS, now),
        };
        let keys: Vec<EndpointKey> = endpoints.all_ready().map(|endpoint| endpoint.key).collect();
        if !keys.is_empty() {
            let due = self.store.probe_due(&keys, back, AHEAD).await?;
            let now = Instant::now();
            let mut lanes = self.deliverer.lanes();
            for (key, wait) in due {
                lanes.note_due(key, now + wait);
            }
        }
        Ok(Probed { at: now, full_at, endpoints, holder })
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
