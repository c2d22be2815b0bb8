//! The plan of a batch: who receives what, and what of it is sent at once.

use std::time::{Duration, Instant};

use super::FanOut;
use super::validation::Findings;
use crate::endpoint::{EndpointKey, Endpoints};
use crate::store::fan_out::{NewDeliveries, Taken};

/// A delivery of a batch that is sent at once.
pub(super) struct Leased {
    /// Of the event in the batch.
    pub index: usize,
    pub endpoint: EndpointKey,
    /// A test, which somebody waits for.
    pub ahead: bool,
}

/// The deliveries of a batch.
#[derive(Default)]
pub(super) struct Plan {
    pub new: NewDeliveries,
    /// Those that are sent at once.
    pub leased: Vec<Leased>,
    /// The endpoints of those that wait in the database, and for how long at least.
    pub spilled: Vec<(EndpointKey, Duration)>,
    pub unmatched: u64,
    /// How many might have been sent at once, had there been room for them.
    pub crowded: usize,
    /// The endpoint of each delivery that found no room.
    pub throttled: Vec<EndpointKey>,
    /// What the schemas said of the events.
    pub findings: Findings,
}

impl FanOut {
    /// Who receives what, and for which deliveries there is room in memory.
    pub(super) fn plan(&self, endpoints: &Endpoints, taken: &[Taken], unleased: bool) -> Plan {
        let mut plan = Plan::default();
        let mut found: Vec<EndpointKey> = Vec::new();
        let now = Instant::now();
        let mut lanes = self.deliverer.lanes();
        let has_space = lanes.has_space();
        for (index, Taken { event, target, wait, key: order }) in taken.iter().enumerate() {
            match target {
                Some(target) => {
                    found.clear();
                    found.extend(Some(*target).filter(|key| endpoints.exists(*key)));
                }
                None => {
                    let tenant = event.tenant.as_deref();
                    endpoints.matching(&event.event_type, tenant, event.live, &mut found);
                }
            }
            if found.is_empty() {
                plan.unmatched += 1;
            }
            for key in &found {
                let ordered = order.is_some() && target.is_none() && endpoints.is_ordered(*key);
                let may_lease =
                    !unleased && !ordered && wait.is_zero() && endpoints.ready(*key).is_some();
                let leased = may_lease
                    && match target {
                        Some(_) => lanes.reserve_ahead(*key),
                        None => lanes.reserve(*key, 1, now) == 1,
                    };
                plan.new.event_seq.push(event.seq);
                plan.new.endpoint.push(*key);
                plan.new.leased.push(leased);
                plan.new.wait_us.push(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
                plan.new.ordered.push(ordered);
                if leased {
                    plan.leased.push(Leased { index, endpoint: *key, ahead: target.is_some() });
                } else if !ordered {
                    plan.crowded += usize::from(may_lease);
                    if may_lease && has_space {
                        plan.throttled.push(*key);
                    }
                    plan.spilled.push((*key, *wait));
                }
            }
        }
        plan
    }

    pub(super) fn take_back(&self, plan: &Plan) {
        let mut lanes = self.deliverer.lanes();
        for leased in &plan.leased {
            if leased.ahead {
                lanes.unreserve_ahead(leased.endpoint);
            } else {
                lanes.unreserve(leased.endpoint, 1);
            }
        }
    }

    pub(super) fn note_spilled(&self, spilled: &[(EndpointKey, Duration)]) {
        if spilled.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut lanes = self.deliverer.lanes();
        for (key, wait) in spilled {
            lanes.note_due(*key, now + *wait);
        }
        drop(lanes);
        self.deliverer.room.notify_one();
    }
}
