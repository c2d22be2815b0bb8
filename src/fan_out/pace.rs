//! How much a loop of fan-out takes at once, and from where.

use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::courtesy::{Asked, BITE};
use super::plan::Plan;
use super::validation::Reports;
use crate::health::Beat;
use crate::store::fan_out::Batch;

/// Most events of one transaction.
const BATCH_EVENTS: i64 = 500;
/// The same of a backlog, where nobody waits for the next batch.
const BATCH_BACKLOG: i64 = 2000;
/// The same in deliveries: what the endpoints are likely to have room for.
const BACKLOG_DELIVERIES: i64 = 5000;
/// Most payload bytes of one transaction, or the next ones are smaller.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Of a new backlog this part, the last, is taken first, but no more than so many: what others
/// committed while the front was busy finding it is there, among a million of somebody else's perhaps.
const TAIL: i64 = 32;
const TAIL_MOST: i64 = 30_000;
/// A backlog is taken on from where its last batch ended, and as often as this from its start: what
/// was committed late has a lower number.
const FROM_START: Duration = Duration::from_millis(250);

/// What a loop of fan-out takes off the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What has just come: small batches, soon.
    Front,
    /// What came in larger numbers than fit into one of those, a million events in one transaction
    /// perhaps. It is worked off beside the front, which no longer sees it.
    Backlog,
}

impl Part {
    pub fn beat(self) -> Beat {
        match self {
            Self::Front => Beat::FanOut,
            Self::Backlog => Beat::Backlog,
        }
    }

    pub fn batch(self) -> i64 {
        match self {
            Self::Front => BATCH_EVENTS,
            Self::Backlog => BATCH_BACKLOG,
        }
    }
}

/// How the next batch is taken.
pub(super) struct Pace {
    pub part: Part,
    pub limit: i64,
    /// Likely nothing waits: to look costs less than to take nothing.
    pub idle: bool,
    /// After a conflict with a replay: create without leasing.
    pub unleased: bool,
    /// The number from which the batch of this turn was taken.
    pub from: i64,
    /// Whether the next backlog is another than the one before.
    pub fresh: bool,
    /// Where the next batch of the backlog's tail begins.
    tail: Option<i64>,
    /// Where the next batch of a backlog begins, and when one was last taken from its start.
    next: Option<i64>,
    started: Option<Instant>,
    /// The only event of this batch.
    pub alone: Option<i64>,
    /// What the log has heard of events that do not match.
    pub reports: Reports,
}

impl Pace {
    pub fn new(part: Part) -> Self {
        Self {
            part,
            limit: part.batch(),
            idle: true,
            unleased: false,
            from: 0,
            fresh: true,
            tail: None,
            next: None,
            started: None,
            alone: None,
            reports: Reports::default(),
        }
    }

    /// Most events of the next batch.
    pub fn limit(&self, bounds: &Bounds) -> i64 {
        match self.part {
            Part::Backlog if bounds.courtesy.is_owed(Instant::now()) => self.limit.min(BITE),
            _ => self.limit,
        }
    }

    /// The number from which the next batch is taken.
    pub fn begin(&mut self, bounds: &Bounds, now: Instant) -> i64 {
        if self.part == Part::Front {
            return bounds.past_backlog();
        }
        if std::mem::take(&mut self.fresh) {
            let tail = |last: i64| ((last - bounds.floor()) / TAIL).min(TAIL_MOST);
            self.tail = bounds.backlog().map(|last| last - tail(last));
            self.next = None;
        }
        if let Some(tail) = self.tail {
            return tail;
        }
        let recent = |at: &Instant| now.saturating_duration_since(*at) < FROM_START;
        if let Some(next) = self.next.filter(|_| self.started.as_ref().is_some_and(recent)) {
            return next;
        }
        self.started = Some(now);
        bounds.floor()
    }

    /// A full batch ended before this number.
    pub fn go_on(&mut self, next: i64, bounds: &Bounds) {
        match self.tail {
            Some(_) => self.tail = Some(next).filter(|next| bounds.backlog() >= Some(*next)),
            None => self.next = Some(next),
        }
    }

    /// There was no more from where the batch was taken. False when that was the tail of a backlog:
    /// the rest of it comes now.
    pub fn end(&mut self) -> bool {
        self.next = None;
        self.tail.take().is_none()
    }

    /// What was asked at this time has been answered.
    pub fn answered(&self, bounds: &Bounds, asked: Asked, at: Instant) {
        if self.part == Part::Front {
            bounds.courtesy.answered(asked, at.elapsed(), bounds.backlog().is_some());
        }
    }

    /// The next batch may be larger than this one, or has to be smaller.
    pub fn adapt(&mut self, batch: &Batch, plan: &Plan) {
        let most = match self.part {
            Part::Front => BATCH_EVENTS,
            Part::Backlog => {
                let each = plan.new.event_seq.len().div_ceil(batch.taken.len().max(1));
                (BACKLOG_DELIVERIES / each.max(1) as i64).clamp(1, BATCH_BACKLOG)
            }
        };
        let crowded = plan.crowded > 0 && self.part == Part::Backlog;
        self.limit = if batch.bytes() > BATCH_BYTES {
            (self.limit / 2).max(1)
        } else if crowded && self.limit > BATCH_EVENTS {
            (self.limit / 2).max(BATCH_EVENTS).min(most)
        } else {
            (self.limit * 2).min(most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_new_backlog_the_tail_is_taken_first_and_then_all_from_its_start() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(3200);
        let mut pace = Pace::new(Part::Backlog);
        assert_eq!(pace.begin(&bounds, now), 3100);
        pace.go_on(3150, &bounds);
        assert_eq!(pace.begin(&bounds, now), 3150);
        assert!(!pace.end(), "the rest comes now");
        assert_eq!(pace.begin(&bounds, now), 0);
        pace.go_on(500, &bounds);
        assert_eq!(pace.begin(&bounds, now), 500, "on from there");
        assert_eq!(pace.begin(&bounds, now + FROM_START), 0, "and at times from its start");
        bounds.found_backlog(6400);
        pace.go_on(1000, &bounds);
        assert_eq!(pace.begin(&bounds, now + FROM_START), 1000, "it is the same one, only longer");
        assert!(pace.end());
    }

    #[test]
    fn a_tail_that_was_taken_to_its_end_is_followed_by_the_start() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(3200);
        let mut pace = Pace::new(Part::Backlog);
        assert_eq!(pace.begin(&bounds, now), 3100);
        pace.go_on(3201, &bounds);
        assert_eq!(pace.begin(&bounds, now), 0);
    }
}
