//! How a backlog makes way for what has just come.
//!
//! A million events at once keep every core of a small machine busy, and whatever comes beside them
//! waits for its turn at each step of its way. So as long as something does come beside them, the
//! backlog is taken in small bites, with pauses that grow as the database's answers to the front
//! take longer than usual. Alone it goes as fast as it can.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most events of one batch of a backlog beside which others come: while the database works on one,
/// they wait for a processor.
pub(super) const BITE: i64 = 20;
/// Others have come if it was within this time.
const LATELY: Duration = Duration::from_secs(2);
/// Answers that take longer than usual by this factor are no reason for a pause yet.
const TOLERATED: f64 = 1.25;
/// The pause, in times of what the batch took, for each time that answers take longer than that.
const STEP: f64 = 12.0;
/// The longest pause, in the same.
const MOST: f64 = 16.0;
/// Weights of the newest answer in what is usual, and in how it is now.
const SLOWLY: f64 = 0.02;
const SOON: f64 = 0.2;
/// How long an answer takes, before one was heard.
const UNKNOWN: f64 = 0.001;

/// What is asked at the front.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// Whether something waits.
    Peek,
    /// For a batch.
    Take,
}

/// How long the front waits for its answers.
#[derive(Debug, Default)]
pub(super) struct Courtesy(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    /// Seconds of an answer when there is no backlog, of each kind.
    usual: [f64; 2],
    /// How many times that answers take now.
    times: f64,
    /// When others came last.
    others: Option<Instant>,
}

impl Default for Heard {
    fn default() -> Self {
        Self { usual: [UNKNOWN; 2], times: 1.0, others: None }
    }
}

impl Courtesy {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer came at the front, beside a backlog or not.
    pub fn answered(&self, asked: Asked, took: Duration, backlog: bool) {
        let (mut heard, took) = (self.heard(), took.as_secs_f64());
        let usual = heard.usual[asked as usize];
        if backlog {
            let times = took / usual.max(f64::EPSILON);
            heard.times += SOON * (times - heard.times);
        } else {
            heard.usual[asked as usize] += SLOWLY * (took - usual);
            heard.times = 1.0;
        }
    }

    /// Events came at the front.
    pub fn others(&self, now: Instant) {
        self.heard().others = Some(now);
    }

    /// Whether others come beside the backlog.
    pub fn is_owed(&self, now: Instant) -> bool {
        let others = self.heard().others;
        others.is_some_and(|at| now.saturating_duration_since(at) < LATELY)
    }

    /// How long the backlog pauses after a batch that took this long.
    pub fn pause(&self, took: Duration, now: Instant) -> Duration {
        if !self.is_owed(now) {
            return Duration::ZERO;
        }
        let beyond = (self.heard().times - TOLERATED).max(0.0);
        took.mul_f64((STEP * beyond).min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Duration = Duration::from_millis(5);

    #[test]
    fn a_backlog_alone_does_not_pause() {
        let (courtesy, now) = (Courtesy::default(), Instant::now());
        courtesy.answered(Asked::Peek, Duration::from_secs(1), true);
        assert_eq!(courtesy.pause(BATCH, now), Duration::ZERO);
        courtesy.others(now);
        assert!(courtesy.pause(BATCH, now) > Duration::ZERO);
        assert_eq!(courtesy.pause(BATCH, now + LATELY), Duration::ZERO, "nobody came any more");
    }

    #[test]
    fn the_pause_grows_as_answers_take_longer_than_usual_and_shrinks_again() {
        let (courtesy, now) = (Courtesy::default(), Instant::now());
        courtesy.others(now);
        let after = |took: u64, backlog| {
            for _ in 0..500 {
                courtesy.answered(Asked::Take, Duration::from_millis(took), backlog);
            }
            courtesy.pause(BATCH, now)
        };
        assert_eq!(after(4, false), Duration::ZERO, "that is how long it takes here");
        assert_eq!(after(4, true), Duration::ZERO);
        let (some, more) = (after(8, true), after(12, true));
        assert!(some > Duration::ZERO && more > some, "{some:?} {more:?}");
        assert_eq!(after(4000, true), BATCH.mul_f64(MOST), "it goes on all the same");
        assert_eq!(after(4, true), Duration::ZERO);
    }
}
