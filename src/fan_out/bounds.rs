//! Where on the queue fan-out looks: above what is certainly gone, and past a backlog.
//!
//! What was taken off the queue leaves dead entries in its index, which stay for as long as any
//! transaction anywhere holds an old snapshot. Who began at the start of the index would walk over all
//! of them, each time. So it is kept how far the queue is decided: no event below that is there,
//! and none can come, because every transaction that might hold one has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::courtesy::Courtesy;
use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fan_out::Horizon;

/// Between two looks at how far the queue is decided.
const LOOK: Duration = Duration::from_secs(1);
/// How often all of the queue is looked at, should a number come back: after a restored backup, or
/// a sequence that was set.
const FULL_LOOK: Duration = Duration::from_secs(10);

/// Where the loops of fan-out look; shared by them.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    floor: AtomicI64,
    /// The last number of the backlog; zero: there is none.
    backlog: AtomicI64,
    /// Wakes the loop that works the backlog off.
    pub found: Notify,
    /// What the backlog owes to the front.
    pub courtesy: Courtesy,
}

impl Bounds {
    /// No event on the queue has a lower number, nor will one have.
    pub fn floor(&self) -> i64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// The last number of the backlog, if there is one.
    pub fn backlog(&self) -> Option<i64> {
        Some(self.backlog.load(Ordering::Relaxed)).filter(|last| *last != 0)
    }

    /// Where what is no backlog begins.
    pub fn past_backlog(&self) -> i64 {
        self.backlog().map_or(self.floor(), |last| last + 1)
    }

    /// More waits than fits into a batch: all up to this number is a backlog.
    pub fn found_backlog(&self, last: i64) {
        self.backlog.fetch_max(last, Ordering::Relaxed);
        self.found.notify_one();
    }

    /// The backlog that ended with this number is worked off. False when it has become longer meanwhile.
    pub fn ended_backlog(&self, last: i64) -> bool {
        self.backlog.compare_exchange(last, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Learns from snapshots how far the queue is decided.
#[derive(Debug, Default)]
struct Floor {
    at: i64,
    /// The newest number that had been seen,
    newest: i64,
    /// and the transactions that may still hold numbers up to it: those before this one.
    mark: Option<(i64, i64)>,
}

impl Floor {
    /// Takes note of a snapshot; returns the floor.
    fn observe(&mut self, seen: &Horizon) -> i64 {
        match self.mark {
            // It was given out before the snapshot of the mark, to a transaction that has ended.
            Some((newest, next)) if seen.oldest >= next => {
                self.at = self.at.max(newest + 1);
                self.mark = None;
            }
            // Another database than before: a restored one.
            Some((_, next)) if seen.next < next => *self = Self::default(),
            _ => {}
        }
        // What waits is visible in this snapshot, if it is decided.
        self.at = seen.first.map_or(self.at, |first| self.at.min(first));
        // Numbers of the look before: a number is given out a moment before its transaction shows.
        self.mark = self.mark.or((self.newest > 0).then_some((self.newest, seen.next)));
        self.newest = seen.newest.unwrap_or(0);
        self.at
    }
}

/// The loop that keeps the floor.
pub(super) struct FloorLoop {
    pub store: Store,
    pub deliverer: Arc<Deliverer>,
    pub bounds: Arc<Bounds>,
}

impl FloorLoop {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let (mut floor, mut backoff) = (Floor::default(), Backoff::default());
        let mut full_look = Instant::now();
        loop {
            let full = full_look.elapsed() >= FULL_LOOK;
            if full {
                full_look = Instant::now();
            }
            if self.deliverer.holder.borrow().is_some() {
                match self.look(&mut floor, full).await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        self.deliverer.metrics.database.failed(&error);
                        backoff.log("fan-out floor", &error);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self, floor: &mut Floor, full: bool) -> Result<(), StoreError> {
        let seen = self.store.queue_horizon(if full { 0 } else { floor.at }).await?;
        self.bounds.floor.store(floor.observe(&seen), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(oldest: i64, next: i64, first: Option<i64>, newest: i64) -> Horizon {
        Horizon { oldest, next, first, newest: Some(newest) }
    }

    #[test]
    fn the_floor_rises_when_every_transaction_of_the_time_has_ended() {
        let mut floor = Floor::default();
        assert_eq!(floor.observe(&seen(100, 110, None, 50)), 0);
        // 50 was there before 120 began.
        assert_eq!(floor.observe(&seen(100, 120, None, 60)), 0);
        assert_eq!(floor.observe(&seen(119, 140, None, 70)), 0, "119 may hold a number below 50");
        assert_eq!(floor.observe(&seen(120, 150, None, 80)), 51);
        assert_eq!(floor.observe(&seen(150, 160, None, 90)), 71, "70 was there before 150 began");
    }

    #[test]
    fn what_waits_is_never_below_the_floor() {
        let mut floor = Floor::default();
        for number in 0..4 {
            let at = floor.observe(&seen(100 + number, 100 + number, Some(7), 50));
            assert!(at <= 7, "{at}");
        }
        assert_eq!(floor.observe(&seen(110, 110, None, 50)), 51);
        // A full look found one that should not be there.
        assert_eq!(floor.observe(&seen(111, 111, Some(3), 50)), 3);
    }

    #[test]
    fn a_restored_database_does_not_hold_the_floor_for_ever() {
        let mut floor = Floor::default();
        floor.observe(&seen(1000, 1000, None, 50));
        floor.observe(&seen(1000, 1000, None, 50));
        for _ in 0..2 {
            assert_eq!(floor.observe(&seen(10, 10, Some(5), 20)), 0);
        }
        assert_eq!(floor.observe(&seen(11, 11, None, 20)), 21);
    }

    #[test]
    fn a_backlog_that_has_grown_is_not_over() {
        let bounds = Bounds::default();
        assert_eq!((bounds.backlog(), bounds.past_backlog()), (None, 0));
        bounds.found_backlog(500);
        bounds.found_backlog(700);
        bounds.ended_backlog(500);
        assert_eq!((bounds.backlog(), bounds.past_backlog()), (Some(700), 701));
        bounds.ended_backlog(700);
        assert_eq!(bounds.backlog(), None);
    }
}
