//! Attempts: what is counted of every request and of every delivery that ends.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::family::{Label, Maker};
use crate::outcome::Outcome;

const ATTEMPT_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 15., 30., 60.];
const DELAY_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 15., 60., 300.];
const END_TO_END_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1., 5., 30., 60., 300., 1800., 7200., 21_600., 86_400.];
const ATTEMPTS: &[f64] = &[1., 2., 3., 5., 8., 13.];
const PAYLOAD_BYTES: &[f64] =
    &[256., 1024., 4096., 16_384., 65_536., 262_144., 1_048_576., 4_194_304., 16_777_216.];

/// Kinds of outcomes whose durations are worth telling apart.
const CLASS: Label = Label::of("class", &["success", "http_error", "timeout", "network", "other"]);

/// The place of an outcome's class in [`CLASS`].
const fn class(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Success => 0,
        Outcome::Http2xx
        | Outcome::Http3xx
        | Outcome::Http4xx
        | Outcome::Http410
        | Outcome::Http429
        | Outcome::Http5xx => 1,
        Outcome::TimeoutConnect | Outcome::TimeoutResponse => 2,
        Outcome::Dns | Outcome::Tcp | Outcome::Tls | Outcome::Protocol => 3,
        Outcome::Blocked | Outcome::Interrupted => 4,
    }
}

/// What is counted of attempts over all endpoints.
#[derive(Debug)]
pub struct Attempts {
    seconds: Vec<Histogram>,
    /// From when an event was wanted to the start of its first attempt, for deliveries that waited
    /// for the daemon alone.
    pub first_delay: Histogram,
    /// First attempts that are not in `first_delay`.
    pub first_held: IntCounter,
    end_to_end: Histogram,
    per_delivery: Histogram,
    /// Payloads, each at its first attempt.
    pub payload_bytes: Histogram,
    truncated: IntCounter,
    blocked: IntCounter,
    /// Writes that came too late.
    pub lost_leases: IntCounter,
    /// Leases of dead daemons that were released.
    pub released_leases: IntCounter,
}

impl Attempts {
    pub(super) fn new(make: &mut Maker) -> Self {
        Self {
            seconds: make.histograms(
                "outboxd_delivery_attempt_duration_seconds",
                "Duration of HTTP requests by how they ended: success, http_error (a reply that is \
                 no success), timeout, network (no connection, no TLS, no HTTP), other (blocked by \
                 the address policy, or cut short by the daemon itself)",
                CLASS,
                ATTEMPT_SECONDS,
            ),
            first_delay: make.histogram(
                "outboxd_first_attempt_delay_seconds",
                "From the insert of an event (or its deliver_after, if later) to the start of the \
                 first attempt to deliver it, without deliveries that waited for their endpoint: \
                 see outboxd_first_attempts_held_total",
                DELAY_SECONDS,
            ),
            first_held: make.counter(
                "outboxd_first_attempts_held_total",
                "First attempts that are not in outboxd_first_attempt_delay_seconds: they waited \
                 for more than 1 s while their endpoint was at its own limit (circuit open, \
                 paused, rate, requests at once, order)",
            ),
            end_to_end: make.histogram(
                "outboxd_end_to_end_seconds",
                "From the insert of an event (or its deliver_after, if later) to the end of the \
                 attempt that delivered it, retries included",
                END_TO_END_SECONDS,
            ),
            per_delivery: make.histogram(
                "outboxd_attempts_per_delivery",
                "Attempts that deliveries took which ended delivered or exhausted",
                ATTEMPTS,
            ),
            payload_bytes: make.histogram(
                "outboxd_payload_bytes",
                "Size of the payload of deliveries, at their first attempt",
                PAYLOAD_BYTES,
            ),
            truncated: make.counter(
                "outboxd_response_truncated_total",
                "Replies of whose body more arrived than is kept",
            ),
            blocked: make.counter(
                "outboxd_ssrf_blocked_total",
                "Attempts that were not made because the address policy refused the target",
            ),
            lost_leases: make.counter(
                "outboxd_lost_leases_total",
                "Outcomes not recorded because the lease was lost or the delivery cancelled",
            ),
            released_leases: make.counter(
                "outboxd_lease_expirations_total",
                "Leases taken over from daemons that died, or released because a transaction was \
                 in doubt",
            ),
        }
    }

    /// An attempt has ended; whether more of the reply arrived than is kept.
    pub fn ended(&self, outcome: Outcome, duration: Duration, truncated: bool) {
        self.seconds[class(outcome)].observe(duration.as_secs_f64());
        if truncated {
            self.truncated.inc();
        }
        if outcome == Outcome::Blocked {
            self.blocked.inc();
        }
    }

    /// A delivery ended delivered, so long after its event was wanted, with this attempt.
    pub fn delivered(&self, since_wanted: Duration, attempt: i32) {
        self.end_to_end.observe(since_wanted.as_secs_f64());
        self.per_delivery.observe(f64::from(attempt));
    }

    /// A delivery ended exhausted with this attempt.
    pub fn exhausted(&self, attempt: i32) {
        self.per_delivery.observe(f64::from(attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_class() {
        for outcome in Outcome::ALL {
            assert!(class(outcome) < CLASS.values.len(), "{outcome:?}");
        }
        assert_eq!(CLASS.values[class(Outcome::Http410)], "http_error");
        assert_eq!(CLASS.values[class(Outcome::Blocked)], "other");
    }
}
