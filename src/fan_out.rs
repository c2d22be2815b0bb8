//! The fan-out loop: committed events become deliveries, most of them sent at once.

mod bounds;
mod courtesy;
mod pace;
mod plan;
mod set_aside;
mod validation;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::deliver::Deliverer;
use crate::endpoint::EndpointKey;
use crate::event::Job;
use crate::health::Health;
use crate::metrics::pipeline::Wakeup;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fan_out::Batch;
use bounds::{Bounds, FloorLoop};
use courtesy::Asked;
use pace::{Pace, Part};
use plan::{Leased, Plan};

/// Most deliveries of one transaction, unless a single event has more.
const BATCH_DELIVERIES: usize = 20_000;
/// The pause while events arrive.
const BUSY: Duration = Duration::from_millis(1);
/// How much longer the pause gets when nothing came: from the shortest to the longest in 2 s, so that
/// a steady trickle finds the daemon awake.
const SLOWER: f64 = 1.05;
/// The longest pause.
const IDLE: Duration = Duration::from_millis(100);
/// How often it is looked whether there is room again, and how long at most where it comes soon.
const ROOM: Duration = Duration::from_millis(2);
const ROOM_SOON: Duration = Duration::from_millis(250);
/// How often the watchdog hears of a loop that has nothing to do.
const BEAT: Duration = Duration::from_secs(5);

/// What fan-out works with.
#[derive(Clone)]
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
    /// More is waiting; to be taken after this pause.
    Full(Duration),
    /// Some events.
    Some,
    /// Nothing.
    Empty,
}

impl FanOut {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let bounds = Arc::new(Bounds::default());
        let floor = FloorLoop {
            store: self.store.clone(),
            deliverer: self.deliverer.clone(),
            bounds: bounds.clone(),
        };
        // Each a task of its own: their statements take time of several cores.
        let mut loops = JoinSet::new();
        loops.spawn(floor.run(stop.clone()));
        for part in [Part::Front, Part::Backlog] {
            let (this, bounds, stop) = (self.clone(), bounds.clone(), stop.clone());
            loops.spawn(async move { this.work(part, &bounds, &stop).await });
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                resume_unwind(error.into_panic());
            }
        }
    }

    /// Takes one part of the queue until it is stopped.
    async fn work(&self, part: Part, bounds: &Bounds, stop: &CancellationToken) {
        let mut pace = Pace::new(part);
        let mut pause = BUSY;
        let mut backoff = Backoff::default();
        let mut woken = Wakeup::Poll;
        while !stop.is_cancelled() {
            self.health.beat(part.beat());
            self.deliverer.metrics.pipeline.woken(woken);
            woken = Wakeup::Poll;
            if part == Part::Backlog && bounds.backlog().is_none() {
                tokio::select! {
                    () = bounds.found.notified() => {}
                    () = tokio::time::sleep(BEAT) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            let holder = *self.deliverer.holder.borrow();
            let wait = match holder {
                None => IDLE,
                Some(holder) => match self.turn(&mut pace, bounds, holder).await {
                    Ok(turn) => {
                        backoff.reset();
                        self.health.works(part.beat());
                        pause = match turn {
                            Turn::Full(pause) => {
                                woken = Wakeup::Batch;
                                pause
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
                            self.health.failing(part.beat(), &error);
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

    async fn turn(
        &self,
        pace: &mut Pace,
        bounds: &Bounds,
        holder: i32,
    ) -> Result<Turn, StoreError> {
        let began = Instant::now();
        let backlog = bounds.backlog();
        pace.begin(bounds, began);
        if pace.idle {
            let (revision, waiting) = self.store.peek_events(pace.from).await?;
            pace.answered(bounds, Asked::Peek, began);
            if !waiting {
                self.catalogue.at_least(revision).await?;
                return Ok(Self::end(pace, bounds, backlog, Turn::Empty));
            }
        }
        let leasing = self.deliverer.leasing.read().await;
        failpoint!("fan_out.before_take"?);
        let is_front = pace.part == Part::Front;
        let (limit, asked) = (pace.limit(bounds), Instant::now());
        let mut batch = self.store.take_events(limit, pace.from, is_front).await?;
        pace.answered(bounds, Asked::Take, asked);
        pace.alone = match &batch.taken[..] {
            [one] => Some(one.event.seq),
            _ => None,
        };
        failpoint!("fan_out.after_take"?);
        // Endpoints committed before an event are matched with it: the batch tells the revision of
        // the snapshot that it was read in.
        let endpoints = self.catalogue.at_least_of(&mut batch).await?;
        let full = batch.taken.len() as i64 == limit;
        pace.idle = !full;
        if batch.taken.is_empty() {
            batch.abandon().await?;
            return Ok(Self::end(pace, bounds, backlog, Turn::Empty));
        }
        // Of all that leave the queue, those without a delivery and those held back too: others may
        // wait for them.
        let keys = if endpoints.any_ordered() { batch.keys() } else { Vec::new() };
        match pace.part {
            Part::Front if full && limit > 1 => {
                bounds.found_backlog(batch.newest.unwrap_or(0));
            }
            Part::Front => bounds.courtesy.others(began),
            Part::Backlog => {}
        }
        let findings = self.validate(&mut batch, pace.part.beat()).await?;
        let mut plan = self.plan(&endpoints, &batch.taken, pace.unleased);
        plan.findings = findings;
        if plan.new.event_seq.len() > BATCH_DELIVERIES && pace.limit > 1 {
            pace.limit = (pace.limit / 2).max(1);
            self.take_back(&plan);
            batch.abandon().await?;
            return Ok(Turn::Full(Duration::ZERO));
        }
        let full_lane = plan.throttled.last().copied();
        pace.adapt(&batch, &plan);
        let last = batch.taken.iter().map(|it| it.event.seq).max();
        failpoint!("fan_out.before_commit");
        let crowded = plan.crowded as f64 / plan.new.event_seq.len().max(1) as f64;
        let committed = self.finish(batch, plan, pace, (holder, asked)).await?;
        // The wait for room below is nobody else's.
        drop(leasing);
        if let Some(last) = last.filter(|_| full && committed) {
            pace.go_on(last + 1);
        }
        self.deliverer.promote_keys(&keys).await;
        match full {
            true if pace.part == Part::Backlog => {
                let took = began.elapsed();
                self.await_room(full_lane, took.mul_f64(crowded)).await;
                Ok(Turn::Full(bounds.courtesy.pause(took, began)))
            }
            true => Ok(Turn::Full(Duration::ZERO)),
            false => Ok(Self::end(pace, bounds, backlog, Turn::Some)),
        }
    }

    /// What finds no room in memory is claimed later, at more cost: waits until there is some again,
    /// for an endpoint or for all. Others wait too, so for one that needs longer for it no more than this.
    async fn await_room(&self, full: Option<EndpointKey>, most: Duration) {
        let now = Instant::now();
        let soon = full.is_none_or(|key| self.deliverer.lanes().soon_has_room(key, ROOM_SOON, now));
        let until = now + if soon { ROOM_SOON } else { most };
        while Instant::now() < until && !self.deliverer.lanes().has_room(full, Instant::now()) {
            tokio::time::sleep(ROOM).await;
        }
    }

    /// There was no more of it than that.
    fn end(pace: &mut Pace, bounds: &Bounds, backlog: Option<i64>, turn: Turn) -> Turn {
        if !pace.end() {
            return Turn::Full(Duration::ZERO);
        }
        if let (Part::Backlog, Some(last)) = (pace.part, backlog)
            && bounds.ended_backlog(last)
        {
            pace.ended();
        }
        turn
    }

    /// Records what was decided and has it sent. False when a replay came first, and all of it is
    /// decided anew.
    async fn finish(
        &self,
        batch: Batch,
        plan: Plan,
        pace: &mut Pace,
        (holder, began): (i32, Instant),
    ) -> Result<bool, StoreError> {
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
                    return Ok(false);
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
        Ok(true)
    }
}
