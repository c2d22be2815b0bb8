//! How long events take from their commit to their receiver, and how much memory that takes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::percentile;
use crate::daemon::Daemon;
use crate::history::{Endpoint, Fate, Histories, Pair};

/// Memory is looked at that often.
const LOOK: Duration = Duration::from_millis(500);

/// The deliveries of a window of time.
pub struct Window {
    /// From just before the commit to the first request, in microseconds; what never came is
    /// [`u64::MAX`].
    pub delays: Vec<u64>,
    /// Those that came before the window's end.
    pub in_time: usize,
}

impl Window {
    /// Of the events committed in this window for these endpoints.
    pub fn of(
        histories: &Histories,
        subscribers: &[Vec<Endpoint>],
        endpoints: &HashSet<Endpoint>,
        window: &Range<u64>,
    ) -> Self {
        let mut first: HashMap<Pair, u64> = HashMap::new();
        for request in histories.requests.iter().filter(|one| endpoints.contains(&one.endpoint)) {
            first.entry((request.event, request.endpoint)).or_insert(request.at);
        }
        let mut found = Self { delays: Vec::new(), in_time: 0 };
        let produced = histories.produced.iter();
        for one in produced.filter(|one| one.fate == Fate::Committed && window.contains(&one.at)) {
            let subscribed = subscribers[usize::from(one.kind)].iter();
            for endpoint in subscribed.filter(|endpoint| endpoints.contains(endpoint)) {
                let at = first.get(&(one.event, *endpoint)).copied();
                found.in_time += usize::from(at.is_some_and(|at| at < window.end));
                found.delays.push(at.map_or(u64::MAX, |at| at.saturating_sub(one.at)));
            }
        }
        found
    }

    pub fn percentile(&mut self, percent: f64) -> u64 {
        percentile(&mut self.delays, percent)
    }

    /// The share of the window's deliveries that came before its end.
    pub fn throughput(&self) -> f64 {
        self.in_time as f64 / self.delays.len().max(1) as f64
    }
}

/// Waits that long, and returns the most memory that the daemon had meanwhile.
pub async fn watch(daemon: &Daemon, long: Duration) -> u64 {
    let (until, mut most) = (Instant::now() + long, 0);
    while Instant::now() < until {
        most = most.max(daemon.resident());
        sleep(LOOK).await;
    }
    most
}

/// Memory for people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}
