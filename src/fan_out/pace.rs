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
/// Of a new backlog so many, the last, are taken first: what others committed while the front was busy
/// finding it is there, after a million of somebody else's perhaps.
const TAIL: i64 = 1000;
/// A backlog that is shorter is worked off too soon for that to matter.
const TAIL_FROM: i64 = 8 * BATCH_BACKLOG;
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
    /// Whether the next backlog is another than the one before. One that grows stays the same: what
    /// joins it while it is worked off has no tail of its own.
    fresh: bool,
    /// Where the next batch of the backlog's tail begins, and the last number of that tail.
    tail: Option<(i64, i64)>,
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

    /// A turn begins: decides from which number its batch is taken.
    pub fn begin(&mut self, bounds: &Bounds, now: Instant) {
        self.alone = None;
        self.from = match self.part {
            Part::Front => bounds.past_backlog(),
            Part::Backlog => self.begin_backlog(bounds, now),
        };
    }

    fn begin_backlog(&mut self, bounds: &Bounds, now: Instant) -> i64 {
        if std::mem::take(&mut self.fresh) {
            let (first, last) = (bounds.floor(), bounds.backlog().unwrap_or(0));
            self.tail = (last - first >= TAIL_FROM).then_some((last - TAIL, last));
            self.next = None;
            self.started = self.tail.map(|_| now);
        }
        let recent = |at: Instant| now.saturating_duration_since(at) < FROM_START;
        let go_on = self.tail.map(|(next, _)| next).or(self.next);
        if let Some(next) = go_on.filter(|_| self.started.is_some_and(recent)) {
            return next;
        }
        self.started = Some(now);
        bounds.floor()
    }

    /// A full batch ended before this number.
    pub fn go_on(&mut self, next: i64) {
        match self.tail {
            Some((from, last)) if from == self.from => {
                self.tail = (next <= last).then_some((next, last));
            }
            _ => self.next = Some(next),
        }
    }

    /// There was no more from where the batch was taken. False when that was the tail of a backlog:
    /// the rest of it comes now.
    pub fn end(&mut self) -> bool {
        let rest = self.tail.take().is_some_and(|(from, _)| from == self.from);
        self.next = None;
        !rest
    }

    /// The backlog is worked off.
    pub fn ended(&mut self) {
        self.fresh = true;
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

    fn begin(pace: &mut Pace, bounds: &Bounds, now: Instant) -> i64 {
        pace.begin(bounds, now);
        pace.from
    }

    #[test]
    fn of_a_new_backlog_the_tail_is_taken_first_and_then_all_from_its_start() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(32_000);
        let mut pace = Pace::new(Part::Backlog);
        assert_eq!(begin(&mut pace, &bounds, now), 31_000);
        pace.go_on(31_500);
        assert_eq!(begin(&mut pace, &bounds, now), 31_500);
        assert!(!pace.end(), "the rest comes now");
        assert_eq!(begin(&mut pace, &bounds, now), 0);
        pace.go_on(500);
        assert_eq!(begin(&mut pace, &bounds, now), 500, "on from there");
        assert_eq!(begin(&mut pace, &bounds, now + FROM_START), 0, "and at times from its start");
        bounds.found_backlog(64_000);
        pace.go_on(1000);
        let later = now + FROM_START;
        assert_eq!(begin(&mut pace, &bounds, later), 1000, "it is the same one, only longer");
        assert!(pace.end());
        pace.ended();
        assert_eq!(begin(&mut pace, &bounds, later), 63_000, "the next one is another");
    }

    #[test]
    fn a_tail_that_was_taken_to_its_end_is_followed_by_the_start() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(32_000);
        let mut pace = Pace::new(Part::Backlog);
        assert_eq!(begin(&mut pace, &bounds, now), 31_000);
        bounds.found_backlog(64_000);
        pace.go_on(32_001);
        assert_eq!(begin(&mut pace, &bounds, now + FROM_START), 0, "however long it has become");
    }

    #[test]
    fn what_is_at_the_start_does_not_wait_for_a_long_tail() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(3_200_000);
        let mut pace = Pace::new(Part::Backlog);
        assert_eq!(begin(&mut pace, &bounds, now), 3_199_000);
        pace.go_on(3_199_020);
        let later = now + FROM_START;
        assert_eq!(begin(&mut pace, &bounds, later), 0, "what was committed late is there");
        pace.go_on(2000);
        assert_eq!(begin(&mut pace, &bounds, later), 3_199_020, "then on with the tail");
        pace.go_on(3_199_040);
        assert_eq!(begin(&mut pace, &bounds, later + FROM_START), 0);
        assert!(pace.end(), "nothing from the start on: nothing in the tail either");
    }

    #[test]
    fn a_short_backlog_has_no_tail() {
        let (bounds, now) = (Bounds::default(), Instant::now());
        bounds.found_backlog(TAIL_FROM - 1);
        assert_eq!(begin(&mut Pace::new(Part::Backlog), &bounds, now), 0);
    }
}
