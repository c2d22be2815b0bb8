//! What a receiver has seen, in bounded memory however long it goes on.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Latencies that percentiles are taken of: the latest.
const LATENCIES: usize = 10_000;

/// A set of numbers that fills up from below: only what is missing costs memory.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// All below it are in the set.
    below: u64,
    above: BTreeSet<u64>,
}

impl Numbers {
    /// Adds one; false when it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if number < self.below || !self.above.insert(number) {
            return false;
        }
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.below + self.above.len() as u64
    }
}

/// The latest latencies.
#[derive(Debug, Default)]
pub(super) struct Latencies(VecDeque<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        if self.0.len() == LATENCIES {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    /// The latencies that these percentages of them do not exceed; `None` without any.
    pub(super) fn percentiles<const N: usize>(
        &self,
        percents: [usize; N],
    ) -> [Option<Duration>; N] {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        percents.map(|percent| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.checked_sub(1)?).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_in_any_order() {
        let mut numbers = Numbers::default();
        let news: Vec<bool> = [0, 2, 1, 2, 0, 5].map(|number| numbers.insert(number)).into();
        assert_eq!(news, [true, true, true, false, false, true]);
        assert_eq!((numbers.len(), numbers.below, numbers.above.len()), (4, 3, 1));
    }

    #[test]
    fn percentiles_are_those_of_the_latest() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles([50, 99]), [None, None]);
        for millis in (0..50).map(|_| 900_000).chain(1..=LATENCIES as u64) {
            latencies.add(Duration::from_millis(millis));
        }
        let expected = [5_000, 9_900].map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(latencies.percentiles([50, 99]), expected);
    }
}
