//! When a transaction number was given out: the server does not say, so it is noted which was the
//! next at what time. Also for sessions whose start only their own users may see.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When there are more notes than that, those go that are not needed.
const NOTES: usize = 1024;
/// A note is needed where the gap without it would be more than this part of its age: what lies far
/// back need not be known to the second.
const FINENESS: u32 = 16;

/// Which transaction number was the next, and when.
#[derive(Debug, Default)]
pub struct TransactionClock {
    notes: VecDeque<(Instant, i64)>,
}

impl TransactionClock {
    /// At this time the next transaction has this number.
    pub fn note(&mut self, now: Instant, next: i64) {
        match self.notes.back() {
            // Another database than before, whose numbers mean something else.
            Some((_, last)) if *last > next => self.notes.clear(),
            // Nothing has begun since: the number has been the next for longer.
            Some((_, last)) if *last == next => return,
            _ => {}
        }
        self.notes.push_back((now, next));
        if self.notes.len() > NOTES {
            self.thin_out(now);
        }
    }

    fn thin_out(&mut self, now: Instant) {
        let mut kept: VecDeque<(Instant, i64)> = VecDeque::new();
        for (place, note) in self.notes.iter().enumerate() {
            let is_needed = match (kept.back(), self.notes.get(place + 1)) {
                (Some((before, _)), Some((after, _))) => {
                    let age = now.saturating_duration_since(*after);
                    after.saturating_duration_since(*before) > age / FINENESS
                }
                _ => true,
            };
            if is_needed {
                kept.push_back(*note);
            }
        }
        self.notes = kept;
    }

    /// How long ago this transaction was the next at the latest: a snapshot that has it as running
    /// has been held for so long at least.
    pub fn since(&self, now: Instant, number: i64) -> Duration {
        let later = self.notes.partition_point(|(_, next)| *next < number);
        // Of a time before the first note nothing is known.
        let noted = self.notes.get(later).map(|(at, _)| *at);
        noted.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_number_is_as_old_as_the_first_note_that_passed_it() {
        let (start, mut clock) = (Instant::now(), TransactionClock::default());
        for (seconds, next) in [(0, 100), (15, 200), (30, 200), (45, 300)] {
            clock.note(after(start, seconds), next);
        }
        let age = |number| clock.since(after(start, 60), number).as_secs();
        assert_eq!([age(50), age(100), age(101), age(200), age(201)], [60, 60, 45, 45, 15]);
        // Not given out when it was last looked.
        assert_eq!(age(301), 0);
    }

    #[test]
    fn numbers_of_another_database_are_forgotten() {
        let (start, mut clock) = (Instant::now(), TransactionClock::default());
        clock.note(start, 1_000_000);
        clock.note(after(start, 15), 900);
        assert_eq!(clock.since(after(start, 20), 900).as_secs(), 5);
    }

    #[test]
    fn what_is_kept_is_bounded_and_reaches_back_to_the_start() {
        let (start, mut clock) = (Instant::now(), TransactionClock::default());
        for second in 0..100_000 {
            clock.note(after(start, second), i64::try_from(second).expect("small"));
        }
        assert!(clock.notes.len() <= NOTES, "{}", clock.notes.len());
        let now = after(start, 100_000);
        assert_eq!(clock.since(now, 0).as_secs(), 100_000);
        // Recent ones to the note, old ones to a sixteenth.
        assert_eq!(clock.since(now, 99_990).as_secs(), 10);
        let half = clock.since(now, 50_000).as_secs();
        assert!((46_000..=50_000).contains(&half), "{half}");
    }
}
