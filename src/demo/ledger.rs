//! When every event was committed, so that receivers can tell how long it took to reach them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Commit times that are kept; whatever arrives later than this many events is not timed.
const KEPT: usize = 65_536;

/// The events of one run, numbered from 0 in the order of their commits.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Begins every id of this run.
    prefix: String,
    committed: Mutex<Committed>,
}

#[derive(Debug, Default)]
struct Committed {
    count: u64,
    latest: VecDeque<Instant>,
}

impl Ledger {
    pub(super) fn new(run: u32) -> Self {
        Self { prefix: format!("demo-{run:08x}-"), committed: Mutex::default() }
    }

    /// The id of an event.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The number of an event; `None` when it is not of this run.
    pub(super) fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// The next event has just been committed.
    pub(super) fn commit(&self) {
        let mut committed = self.committed();
        if committed.latest.len() == KEPT {
            committed.latest.pop_front();
        }
        committed.latest.push_back(Instant::now());
        committed.count += 1;
    }

    /// How many were committed.
    pub(super) fn count(&self) -> u64 {
        self.committed().count
    }

    /// How long ago an event was committed. It may arrive before its producer hears of the commit:
    /// that is no time at all. `None` when it is too old to know.
    pub(super) fn age(&self, number: u64) -> Option<Duration> {
        let committed = self.committed();
        let Some(behind) = committed.count.checked_sub(number + 1) else {
            return Some(Duration::ZERO);
        };
        let index = committed.latest.len().checked_sub(usize::try_from(behind).ok()? + 1)?;
        Some(committed.latest[index].elapsed())
    }

    fn committed(&self) -> MutexGuard<'_, Committed> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_numbers_of_this_run_only() {
        let ledger = Ledger::new(7);
        assert_eq!(ledger.id(12), "demo-00000007-12");
        assert_eq!(ledger.number("demo-00000007-12"), Some(12));
        assert_eq!(ledger.number("demo-00000008-12"), None);
        assert_eq!(ledger.number("evt_1"), None);
    }

    #[test]
    fn ages_are_those_of_the_latest_commits() {
        let ledger = Ledger::new(7);
        assert_eq!(ledger.age(0), Some(Duration::ZERO));
        for _ in 0..=KEPT {
            ledger.commit();
        }
        assert_eq!(ledger.count(), KEPT as u64 + 1);
        assert_eq!(ledger.age(0), None);
        assert!(ledger.age(1) >= ledger.age(KEPT as u64));
        assert_eq!(ledger.age(KEPT as u64 + 1), Some(Duration::ZERO));
    }
}
