//! When a receiver is sent to, and with how many requests at once: a circuit breaker, a window that
//! follows what the receiver can take, and the pause that it asked for. Pure: the caller tells the
//! time.
//!
//! A circuit that is open costs the receiver one request, a probe, each time its pause is over.
//! Deliveries wait meanwhile, and use up nothing of their schedules. The window halves when the
//! receiver says or shows that it is overloaded, and grows by one for each window of replies
//! (additive increase, multiplicative decrease, as in RFC 5681); after a probe it grows by one for
//! each reply.

use std::time::{Duration, Instant};

use crate::outcome::{Outcome, Reply};

/// Failures in a row, over at least this time, that open the circuit.
const MANY: (u32, Duration) = (10, Duration::from_secs(10));
/// The same where each failure takes long.
const LONG: (u32, Duration) = (3, Duration::from_secs(30));
/// The pause before the first probe; it doubles with every one that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause between probes of an endpoint that outboxd has paused.
const PAUSED_PAUSE: Duration = Duration::from_secs(600);
/// How far a pause may stray, as a share of it: endpoints that failed together are not all probed
/// at the same moment.
const SPREAD: f64 = 0.2;
/// A reply that takes so many times as long as usual is a sign of overload,
const SLOWER: f64 = 10.0;
/// if it takes at least this long.
const SLOW: Duration = Duration::from_millis(250);
/// Replies after which it is known what is usual.
const KNOWN: u32 = 20;
/// Weight of the newest duration in what is usual: a lasting change becomes usual after some
/// hundreds of replies.
const USUAL_WEIGHT: f64 = 0.002;
/// Attempts without success after which an endpoint counts as failing.
const FAILING: u32 = 3;
/// For how long the last attempt says something about the present.
const RECENT: Duration = Duration::from_secs(600);

/// What an attempt says about its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It took the event.
    Took,
    /// It is there, and judged the event: anything below 500 but 429.
    Judged,
    /// It did not do its part.
    Failed,
    /// It has too much to do: 429, 502, 503, 504, or no reply in time.
    Overloaded,
}

impl Sign {
    /// The sign that a reply is; none when the request was cut short by ourselves.
    pub fn of(reply: &Reply) -> Option<Self> {
        Some(match (reply.outcome, reply.status) {
            (Outcome::Interrupted, _) => return None,
            (Outcome::Success, _) => Self::Took,
            (Outcome::Http429 | Outcome::TimeoutConnect | Outcome::TimeoutResponse, _)
            | (_, Some(502..=504)) => Self::Overloaded,
            (
                Outcome::Http2xx | Outcome::Http3xx | Outcome::Http4xx | Outcome::Http410,
                Some(_),
            ) => Self::Judged,
            _ => Self::Failed,
        })
    }
}

/// An attempt that has ended, as far as the receiver can be told from it.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// What it says.
    pub sign: Sign,
    /// How long it took.
    pub took: Duration,
    /// The pause that the receiver asked for, for all that is sent to it.
    pub hold: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Circuit {
    Closed,
    /// Nothing is sent before `until`, and one request then.
    Open {
        until: Instant,
        pause: Duration,
    },
    /// The one request is under way.
    Probing {
        pause: Duration,
    },
}

/// A change of the circuit that people should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

/// What is known of one receiver.
#[derive(Debug)]
pub struct Breaker {
    circuit: Circuit,
    /// Requests at once; none: as many as the endpoint may have.
    window: Option<f64>,
    /// After a probe the window grows with every reply, until the first sign of overload.
    ramping: bool,
    /// Requests that began before this say nothing new about the window.
    cut_at: Option<Instant>,
    held_until: Option<Instant>,
    /// Failures in a row, and when the first of them began.
    failures: u32,
    since: Option<Instant>,
    /// Attempts in a row that were no success.
    unsuccessful: u32,
    heard_at: Option<Instant>,
    usual_seconds: f64,
    replies: u32,
    longest_pause: Duration,
    scale: f64,
}

impl Breaker {
    /// Closed. `scale` multiplies its pauses, as it does the delays of retries.
    pub fn new(scale: f64) -> Self {
        Self {
            circuit: Circuit::Closed,
            window: None,
            ramping: false,
            cut_at: None,
            held_until: None,
            failures: 0,
            since: None,
            unsuccessful: 0,
            heard_at: None,
            usual_seconds: 0.0,
            replies: 0,
            longest_pause: LONGEST_PAUSE,
            scale,
        }
    }

    /// Takes over the scale, and whether outboxd has paused the endpoint: then its circuit is open
    /// until a probe succeeds. `unit_random` is in `0.0..1.0`.
    pub fn adapt(&mut self, scale: f64, paused: bool, now: Instant, unit_random: f64) {
        let resumed = !paused && self.longest_pause == PAUSED_PAUSE;
        self.scale = scale;
        self.longest_pause = if paused { PAUSED_PAUSE } else { LONGEST_PAUSE };
        if resumed && self.is_open() {
            // By somebody who expects it to be well.
            self.circuit = Circuit::Open { until: now, pause: FIRST_PAUSE };
        } else if paused && !self.is_open() {
            // The first one anywhere in the pause: a restart probes nobody sooner, or all at once.
            let pause = PAUSED_PAUSE.mul_f64(scale);
            let until = now + pause.mul_f64(unit_random);
            self.circuit = Circuit::Open { until, pause: PAUSED_PAUSE };
        }
    }

    /// How many requests may be under way at `now`, of at most `most`.
    pub fn allowance(&self, now: Instant, most: usize) -> usize {
        match self.circuit {
            _ if self.held_until.is_some_and(|until| now < until) => 0,
            Circuit::Open { until, .. } if now < until => 0,
            Circuit::Open { .. } | Circuit::Probing { .. } => 1,
            Circuit::Closed => self.window.map_or(most, |window| (window as usize).min(most)),
        }
    }

    /// When something may be sent again, if nothing may be now.
    pub fn opens_at(&self) -> Option<Instant> {
        let probe = match self.circuit {
            Circuit::Open { until, .. } => Some(until),
            Circuit::Closed | Circuit::Probing { .. } => None,
        };
        probe.max(self.held_until)
    }

    /// Whether the receiver is taken to be out of order.
    pub fn is_open(&self) -> bool {
        self.circuit != Circuit::Closed
    }

    /// Whether the last attempts all failed, in whatever way; none when there were none lately.
    pub fn is_failing(&self, now: Instant) -> Option<bool> {
        let recent = self.heard_at.is_some_and(|at| now.saturating_duration_since(at) < RECENT);
        recent.then_some(self.unsuccessful >= FAILING)
    }

    /// A request begins.
    pub fn started(&mut self) {
        if let Circuit::Open { pause, .. } = self.circuit {
            self.circuit = Circuit::Probing { pause };
        }
    }

    /// A request ended without telling anything of the receiver: the probe has still to be made.
    pub fn lost(&mut self, now: Instant) {
        if let Circuit::Probing { pause } = self.circuit {
            self.circuit = Circuit::Open { until: now, pause };
        }
    }

    /// A request ended. `most` is the endpoint's cap, `in_flight` how many requests were under way
    /// with this one; `unit_random` is in `0.0..1.0`.
    pub fn heard(
        &mut self,
        heard: Heard,
        now: Instant,
        (in_flight, most): (usize, usize),
        unit_random: f64,
    ) -> Option<Change> {
        let began = now.checked_sub(heard.took).unwrap_or(now);
        self.heard_at = Some(now);
        self.unsuccessful =
            if heard.sign == Sign::Took { 0 } else { self.unsuccessful.saturating_add(1) };
        self.held_until = self.held_until.filter(|until| now < *until);
        if let Some(hold) = heard.hold {
            self.held_until = self.held_until.max(Some(now + hold));
        }
        match heard.sign {
            Sign::Took | Sign::Judged => {
                (self.failures, self.since) = (0, None);
                let slow = self.is_slow(heard.took);
                if slow {
                    self.shrink(began, now, in_flight);
                } else {
                    self.grow(most);
                }
                self.close()
            }
            Sign::Failed | Sign::Overloaded => {
                if heard.sign == Sign::Overloaded {
                    self.shrink(began, now, in_flight);
                }
                self.failures = self.failures.saturating_add(1);
                let since = *self.since.get_or_insert(began);
                self.open(now, now.saturating_duration_since(since), unit_random)
            }
        }
    }

    /// Whether the receiver has become much slower than it is; notes the duration.
    fn is_slow(&mut self, took: Duration) -> bool {
        let seconds = took.as_secs_f64();
        self.replies = self.replies.saturating_add(1);
        let known = self.replies > KNOWN;
        let weight = if known { USUAL_WEIGHT } else { 1.0 / f64::from(self.replies) };
        let slow = known && took >= SLOW && seconds > SLOWER * self.usual_seconds;
        self.usual_seconds += weight * (seconds - self.usual_seconds);
        slow
    }

    /// Halves what was under way: what a cap allowed and nobody used says nothing.
    fn shrink(&mut self, began: Instant, now: Instant, in_flight: usize) {
        if self.cut_at.is_some_and(|at| began < at) {
            return;
        }
        self.cut_at = Some(now);
        self.ramping = false;
        let used = self.window.map_or(in_flight as f64, |window| window.min(in_flight as f64));
        self.window = Some((used / 2.0).max(1.0));
    }

    fn grow(&mut self, most: usize) {
        if let Some(window) = self.window {
            let grown = window + if self.ramping { 1.0 } else { 1.0 / window };
            self.window = Some(grown).filter(|grown| *grown < most as f64);
        }
    }

    fn close(&mut self) -> Option<Change> {
        if self.circuit == Circuit::Closed {
            return None;
        }
        self.circuit = Circuit::Closed;
        self.window = Some(1.0);
        self.ramping = true;
        Some(Change::Closed)
    }

    fn open(&mut self, now: Instant, lasted: Duration, unit_random: f64) -> Option<Change> {
        let enough = |(count, time): (u32, Duration)| self.failures >= count && lasted >= time;
        let (pause, change) = match self.circuit {
            Circuit::Closed if enough(MANY) || enough(LONG) => (FIRST_PAUSE, Some(Change::Opened)),
            Circuit::Probing { pause } => ((pause * 2).min(self.longest_pause), None),
            // Stragglers of the time before.
            Circuit::Closed | Circuit::Open { .. } => return None,
        };
        let spread = 1.0 + SPREAD * (2.0 * unit_random - 1.0);
        let until = now + pause.mul_f64(self.scale * spread);
        self.circuit = Circuit::Open { until, pause };
        change
    }
}

#[cfg(test)]
mod tests;
