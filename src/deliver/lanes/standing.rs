//! How endpoints stand: who fails, and who is at a limit of its own. What waits for its endpoint is no
//! lag of the daemon, and the metrics tell them apart.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::Lanes;
use crate::endpoint::EndpointKey;

/// Endpoints that fail together at least, for it to be called an outage of ours.
const OUTAGE_LEAST: usize = 5;

/// How the endpoints that were sent to lately fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Endpoints whose last attempts all failed,
    pub failing: usize,
    /// of so many.
    pub heard: usize,
}

impl Fleet {
    /// Whether so many fail together that the fault is likely ours: network, name service, roots.
    pub fn is_outage(self) -> bool {
        self.failing >= OUTAGE_LEAST && self.failing * 2 > self.heard
    }
}

impl Lanes {
    /// How the endpoints that were sent to lately fare.
    pub fn fleet(&self, now: Instant) -> Fleet {
        let heard = self.lanes.values().filter_map(|lane| lane.breaker.is_failing(now));
        heard.fold(Fleet::default(), |fleet, failing| Fleet {
            failing: fleet.failing + usize::from(failing),
            heard: fleet.heard + 1,
        })
    }

    /// Endpoints with an open circuit.
    pub fn open_circuits(&self) -> HashSet<EndpointKey> {
        let open = self.lanes.iter().filter(|(_, lane)| lane.breaker.is_open());
        open.map(|(key, _)| *key).collect()
    }

    /// When each endpoint was last at a limit of its own, if ever: what waits since before that has
    /// not waited for the daemon alone.
    pub fn held_back(&self, now: Instant) -> HashMap<EndpointKey, Instant> {
        let last = self.lanes.iter().filter_map(|(key, lane)| {
            let is_held_back = lane.breaker.is_open() || lane.is_blocked(now);
            let at = if is_held_back { Some(now) } else { lane.held_back_at };
            Some((*key, at?))
        });
        last.collect()
    }

    /// Whether an endpoint was at a limit of its own at some time since then.
    pub fn was_held_back(&self, key: EndpointKey, since: Instant) -> bool {
        self.lanes.get(&key).is_some_and(|lane| lane.held_back_at.is_some_and(|at| at >= since))
    }
}
