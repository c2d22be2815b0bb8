//! The fan-out loop: committed events become deliveries, most of them sent at once.

mod set_aside;
mod validation;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::deliver::Deliverer;
use crate::endpoint::{EndpointKey, Endpoints};
use crate::event::Job;
use crate::health::{Beat, Health};
use crate::metrics::pipeline::Wakeup;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fan_out::{Batch, NewDeliveries, Taken};
use validation::{Findings, Reports};

/// Most events of one transaction.
const BATCH_EVENTS: i64 = 500;
/// Most deliveries of one transaction, unless a single event has more.
const BATCH_DELIVERIES: usize = 20_000;
/// The pause while events arrive.
const BUSY: Duration = Duration::from_millis(2);
/// How much longer the pause gets when nothing came: from the shortest to the longest in 2 s, so that
/// a steady trickle finds the daemon awake.
const SLOWER: f64 = 1.05;
/// The longest pause.
const IDLE: Duration = Duration::from_millis(100);

/// What fan-out works with.
pub struct FanOut {
    /// The database.
    pub store: Store,
    /// Where deliveries go.
    pub deliverer: Arc<Deliverer>,
    /// Keeps the endpoints current.
    pub catalogue: Arc<Catalogue>,
    /// Hears of every turn.
    pub health: Arc<Health>,
}

/// What one turn found.
enum Turn {
    /// A full batch: more is waiting.
    Full,
    /// Some events.
    Some,
    /// Nothing.
    Empty,
}

/// How the next batch is taken.
struct Pace {
    limit: i64,
    /// Nothing came last time: look before taking.
    idle: bool,
    /// The highest number seen on the queue.
    newest: i64,
    /// The next batch is of what came after that.
    fresh_next: bool,
    /// After a conflict with a replay: create without leasing.
    unleased: bool,
    /// The number from which the batch of this turn was taken.
    from: i64,
    /// The only event of this batch.
    alone: Option<i64>,
    /// What the log has heard of events that do not match.
    reports: Reports,
}

impl Pace {
    fn new() -> Self {
        Self {
            limit: BATCH_EVENTS,
            idle: true,
            newest: 0,
            fresh_next: false,
            unleased: false,
            from: 0,
            alone: None,
            reports: Reports::default(),
        }
    }
}

impl FanOut {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut pace = Pace::new();
        let mut pause = BUSY;
        let mut backoff = Backoff::default();
        let mut woken = Wakeup::Poll;
        while !stop.is_cancelled() {
            self.health.beat(Beat::FanOut);
            self.deliverer.metrics.pipeline.woken(woken);
            woken = Wakeup::Poll;
            let holder = *self.deliverer.holder.borrow();
            let wait = match holder {
                None => IDLE,
                Some(holder) => match self.turn(&mut pace, holder).await {
                    Ok(turn) => {
                        backoff.reset();
                        self.health.works(Beat::FanOut);
                        pause = match turn {
                            Turn::Full => {
                                woken = Wakeup::Batch;
                                Duration::ZERO
                            }
                            Turn::Some => BUSY,
                            Turn::Empty => pause.max(BUSY).mul_f64(SLOWER).min(IDLE),
                        };
                        pause
                    }
                    Err(error) => {
                        self.deliverer.in_doubt.store(true, Ordering::Relaxed);
                        self.deliverer.metrics.database.failed(&error);
                        backoff.log("fan-out", &error);
                        if backoff.is_persistent() {
                            self.health.failing(Beat::FanOut, &error);
                        }
                        match self.set_aside(&mut pace, &error).await {
                            true => BUSY,
                            false => backoff.pause(),
                        }
                    }
                },
            };
            // A timer would round no pause up to one.
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    async fn turn(&self, pace: &mut Pace, holder: i32) -> Result<Turn, StoreError> {
        if pace.idle {
            let (revision, waiting) = self.store.peek_events().await?;
            if !waiting {
                self.catalogue.at_least(revision).await?;
                return Ok(Turn::Empty);
            }
        }
        let _leasing = self.deliverer.leasing.read().await;
        let fresh = std::mem::take(&mut pace.fresh_next);
        pace.from = if fresh { pace.newest + 1 } else { 0 };
        pace.alone = None;
        failpoint!("fan_out.before_take"?);
        let began = Instant::now();
        let mut batch = self.store.take_events(pace.limit, pace.from).await?;
        pace.alone = match &batch.taken[..] {
            [one] => Some(one.event.seq),
            _ => None,
        };
        failpoint!("fan_out.after_take"?);
        pace.newest = pace.newest.max(batch.newest.unwrap_or(0));
        // Endpoints committed before an event are matched with it: the batch tells the revision of
        // the snapshot that it was read in.
        let endpoints = self.catalogue.at_least_of(&mut batch).await?;
        if batch.taken.is_empty() {
            pace.idle = !fresh;
            batch.abandon().await?;
            return Ok(if fresh { Turn::Full } else { Turn::Empty });
        }
        pace.idle = false;
        // Of all that leave the queue, those without a delivery and those held back too: others may
        // wait for them.
        let keys = if endpoints.any_ordered() { batch.keys() } else { Vec::new() };
        // Behind a backlog, every other batch is of what has come since: one large transaction
        // does not hold up those after it.
        let full = batch.taken.len() as i64 == pace.limit || fresh;
        pace.fresh_next = full && !fresh;
        let findings = self.validate(&mut batch).await?;
        let mut plan = self.plan(&endpoints, &batch.taken, pace.unleased);
        plan.findings = findings;
        if plan.new.event_seq.len() > BATCH_DELIVERIES && pace.limit > 1 {
            pace.limit = (pace.limit / 2).max(1);
            self.take_back(&plan);
            batch.abandon().await?;
            return Ok(Turn::Full);
        }
        pace.limit = (pace.limit * 2).min(BATCH_EVENTS);
        failpoint!("fan_out.before_commit");
        self.finish(batch, plan, pace, (holder, began)).await?;
        self.deliverer.promote_keys(&keys).await;
        Ok(if full { Turn::Full } else { Turn::Some })
    }

    /// Who receives what, and for which deliveries there is room in memory.
    fn plan(&self, endpoints: &Endpoints, taken: &[Taken], unleased: bool) -> Plan {
        let mut plan = Plan::default();
        let mut found: Vec<EndpointKey> = Vec::new();
        let now = Instant::now();
        let mut lanes = self.deliverer.lanes();
        let has_space = lanes.has_space();
        for (index, Taken { event, target, wait, key: order }) in taken.iter().enumerate() {
            match target {
                Some(target) => {
                    found.clear();
                    found.extend(Some(*target).filter(|key| endpoints.exists(*key)));
                }
                None => {
                    let tenant = event.tenant.as_deref();
                    endpoints.matching(&event.event_type, tenant, event.live, &mut found);
                }
            }
            if found.is_empty() {
                plan.unmatched += 1;
            }
            for key in &found {
                let ordered = order.is_some() && target.is_none() && endpoints.is_ordered(*key);
                let may_lease =
                    !unleased && !ordered && wait.is_zero() && endpoints.ready(*key).is_some();
                let leased = may_lease
                    && match target {
                        Some(_) => lanes.reserve_ahead(*key),
                        None => lanes.reserve(*key, 1, now) == 1,
                    };
                plan.new.event_seq.push(event.seq);
                plan.new.endpoint.push(*key);
                plan.new.leased.push(leased);
                plan.new.wait_us.push(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
                plan.new.ordered.push(ordered);
                if leased {
                    plan.leased.push(Leased { index, endpoint: *key, ahead: target.is_some() });
                } else if !ordered {
                    if may_lease && has_space {
                        plan.throttled.push(*key);
                    }
                    plan.spilled.push((*key, *wait));
                }
            }
        }
        plan
    }

    fn take_back(&self, plan: &Plan) {
        let mut lanes = self.deliverer.lanes();
        for leased in &plan.leased {
            if leased.ahead {
                lanes.unreserve_ahead(leased.endpoint);
            } else {
                lanes.unreserve(leased.endpoint, 1);
            }
        }
    }

    async fn finish(
        &self,
        batch: Batch,
        plan: Plan,
        pace: &mut Pace,
        (holder, began): (i32, Instant),
    ) -> Result<(), StoreError> {
        let events: Vec<_> = batch.taken.iter().map(|taken| taken.event.clone()).collect();
        let (made, event_count) = (plan.new.event_seq.len() as u64, events.len() as u64);
        let lease = self.deliverer.config().delivery.lease;
        let leased_at = if pace.unleased {
            batch.finish_unleased(plan.new).await?;
            pace.unleased = false;
            Instant::now()
        } else {
            match batch.finish(&plan.new, holder, lease).await {
                Ok(Some(leased_at)) => leased_at,
                Ok(None) => {
                    pace.unleased = true;
                    self.take_back(&plan);
                    return Ok(());
                }
                Err(error) => {
                    self.take_back(&plan);
                    return Err(error);
                }
            }
        };
        let metrics = &self.deliverer.metrics;
        metrics.pipeline.events.inc_by(event_count);
        metrics.pipeline.fanned_out.inc_by(made);
        metrics.pipeline.unmatched.inc_by(plan.unmatched);
        metrics.pipeline.fan_out.done(began.elapsed(), events.len());
        for key in &plan.throttled {
            if let Some(endpoint) = metrics.endpoint(*key) {
                endpoint.throttled();
            }
        }
        pace.reports.note(&plan.findings, &metrics.pipeline);
        self.note_spilled(&plan.spilled);
        let job = |leased: &Leased| Job {
            event: Arc::clone(&events[leased.index]),
            endpoint: leased.endpoint,
            attempt: 1,
            failures: 0,
            ahead: leased.ahead,
            holder,
            lease_ends: leased_at + lease,
        };
        failpoint!("fan_out.before_submit");
        self.deliverer.submit(plan.leased.iter().map(job).collect()).await;
        Ok(())
    }

    fn note_spilled(&self, spilled: &[(EndpointKey, Duration)]) {
        if spilled.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut lanes = self.deliverer.lanes();
        for (key, wait) in spilled {
            lanes.note_due(*key, now + *wait);
        }
        drop(lanes);
        self.deliverer.room.notify_one();
    }
}

/// A delivery of a batch that is sent at once.
struct Leased {
    /// Of the event in the batch.
    index: usize,
    endpoint: EndpointKey,
    /// A test, which somebody waits for.
    ahead: bool,
}

/// The deliveries of a batch.
#[derive(Default)]
struct Plan {
    new: NewDeliveries,
    /// Those that are sent at once.
    leased: Vec<Leased>,
    /// The endpoints of those that wait in the database, and for how long at least.
    spilled: Vec<(EndpointKey, Duration)>,
    unmatched: u64,
    /// The endpoints that had no room for one, once for each.
    throttled: Vec<EndpointKey>,
    /// What the schemas said of the events.
    findings: Findings,
}
