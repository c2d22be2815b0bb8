//! How much is written about one endpoint: a few lines a minute, and then how many there were more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines about one endpoint
const LINES: u64 = 10;
/// within this time.
pub const PERIOD: Duration = Duration::from_secs(60);
/// Endpoints that are told apart; further ones are limited together.
const ENDPOINTS: usize = 10_000;

/// A period of an endpoint, from its first line on.
#[derive(Debug)]
struct Period {
    began: Instant,
    lines: u64,
}

/// What has been written lately.
#[derive(Debug, Default)]
pub struct Limit(Mutex<HashMap<String, Period>>);

impl Limit {
    /// Whether one more line about this endpoint is written now.
    pub fn admits(&self, endpoint: &str, now: Instant) -> bool {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = periods.len() < ENDPOINTS || periods.contains_key(endpoint);
        let key = if known { endpoint } else { "" };
        let period = periods.entry(key.to_owned()).or_insert(Period { began: now, lines: 0 });
        period.lines += 1;
        period.lines <= LINES
    }

    /// The endpoints whose period is over, and how many lines each was denied in it.
    pub fn over(&self, now: Instant) -> Vec<(String, u64)> {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |period: &Period| now.saturating_duration_since(period.began) >= PERIOD;
        let over = periods.extract_if(|_, period| is_over(period));
        let left_out =
            over.map(|(endpoint, period)| (endpoint, period.lines.saturating_sub(LINES)));
        left_out.filter(|(_, left_out)| *left_out > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_endpoint_gets_its_lines_and_a_count_and_others_are_not_affected() {
        let (limit, start) = (Limit::default(), Instant::now());
        let admitted = (0..500).filter(|_| limit.admits("noisy", start)).count();
        assert_eq!(admitted, 10);
        assert!(limit.admits("quiet", start + Duration::from_secs(30)));
        assert!(limit.over(start + Duration::from_secs(59)).is_empty());
        let over = limit.over(start + PERIOD);
        assert_eq!(over, [("noisy".to_owned(), 490)]);
        assert!(limit.admits("noisy", start + PERIOD));
        assert!(limit.over(start + 3 * PERIOD).is_empty(), "nothing was left out since");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (limit, start) = (Limit::default(), Instant::now());
        let admitted = (0..2 * ENDPOINTS).filter(|n| limit.admits(&n.to_string(), start)).count();
        assert_eq!(admitted, ENDPOINTS + 10);
    }
}
