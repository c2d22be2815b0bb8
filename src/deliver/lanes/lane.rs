//! The lane of one endpoint: what is queued for it, what is under way, and what it may have.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::breaker::{Breaker, Change, Heard};
use crate::endpoint::Endpoint;
use crate::event::{Job, Lease};

use super::Limits;
use super::slots::Speed;

/// Work is leased at most this far ahead of an endpoint's speed.
const HORIZON: Duration = Duration::from_secs(2);
/// Most deliveries queued for one endpoint.
pub(super) const MAX_QUEUE: usize = 4000;
/// Weight of the newest duration in an endpoint's mean.
const MEAN_WEIGHT: f64 = 0.1;
/// The part of a second by which a paced endpoint may catch up at once.
const BURST_SECONDS: f64 = 0.1;
/// An endpoint whose requests take less than this is quick.
const QUICK: Duration = Duration::from_secs(1);
/// One whose requests take less than this is prompt: a daemon that is short of processor time takes as
/// long to get round to their answers.
const PROMPT: Duration = Duration::from_millis(20);

/// A request under way.
#[derive(Debug)]
struct Flight {
    lease: Lease,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub queue: VecDeque<Job>,
    /// Promised to work that is being leased.
    pub reserved: usize,
    /// Of what is promised or queued, how much goes ahead of the others.
    pub ahead: usize,
    /// Oldest first.
    flights: Vec<Flight>,
    max_in_flight: usize,
    mean_seconds: Option<f64>,
    pub speed: Speed,
    pace: Option<Pace>,
    pub breaker: Breaker,
    /// When more of its work waits in the database.
    pub due: Option<Instant>,
    /// Whether it waits in a rotation, and in which.
    pub turn: Option<Speed>,
    /// When it was last at a limit of its own: circuit, requests at once, pace.
    pub held_back_at: Option<Instant>,
    /// Whether its endpoint may be sent to; without it nothing more is leased for it.
    pub ready: bool,
    /// Whether it is among the busy ones.
    pub counted: bool,
}

impl Lane {
    pub fn new(limits: &Limits) -> Self {
        Self {
            queue: VecDeque::new(),
            reserved: 0,
            ahead: 0,
            flights: Vec::new(),
            max_in_flight: 1,
            mean_seconds: None,
            speed: Speed::Slow,
            pace: None,
            breaker: Breaker::new(limits.pause_scale),
            due: None,
            turn: None,
            held_back_at: None,
            ready: true,
            counted: false,
        }
    }

    pub fn adapt(&mut self, endpoint: &Endpoint, limits: &Limits, now: Instant) {
        // Its limits are those of all daemons together.
        let instances = limits.instances.max(1);
        let whole = endpoint.max_in_flight.unwrap_or(limits.max_per_endpoint);
        self.max_in_flight = whole.div_ceil(instances).max(1);
        let rate = endpoint.rate_per_second.map(|whole| whole / instances as f64);
        if rate != self.pace.as_ref().map(|pace| pace.rate) {
            self.pace = rate.map(Pace::new);
        }
        self.breaker.adapt(limits.pause_scale, endpoint.auto_paused, now, fastrand::f64());
    }

    /// Promised, queued and under way.
    pub fn held(&self) -> usize {
        self.reserved + self.queue.len() + self.flights.len()
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.queue.iter().map(Job::lease).chain(self.flights.iter().map(|flight| flight.lease))
    }

    /// How many requests at once it may have.
    fn allowance(&self, now: Instant) -> usize {
        self.breaker.allowance(now, self.max_in_flight)
    }

    /// How many more deliveries may be leased for it.
    pub fn room(&self, now: Instant) -> usize {
        self.capacity(now).saturating_sub(self.held())
    }

    /// Whether it has as many deliveries as may be leased for it.
    pub fn is_full(&self, now: Instant) -> bool {
        self.queue.len() + self.flights.len() >= self.capacity(now)
    }

    /// In how many seconds half of what is leased for it will have been sent, while requests take as
    /// long as they do. None of one that is slow, hangs or is held back: nobody knows.
    pub fn half_sent_in(&self, now: Instant) -> Option<f64> {
        let held_back = self.breaker.is_open() || self.is_blocked(now);
        if held_back || self.judge_speed(now) == Speed::Slow {
            return None;
        }
        let by_requests = self.mean_seconds? / self.flights.len().max(1) as f64;
        let by_pace = self.pace.as_ref().map_or(0.0, |pace| 1.0 / pace.rate);
        Some(self.held() as f64 / 2.0 * by_requests.max(by_pace))
    }

    /// Notes that it is at a limit of its own, if it is.
    pub fn note_held_back(&mut self, is_held_back: bool, now: Instant) {
        if is_held_back {
            self.held_back_at = Some(now);
        }
    }

    /// How many deliveries may be leased for it in all.
    fn capacity(&self, now: Instant) -> usize {
        let at_once = self.allowance(now);
        if at_once == 0 || self.breaker.is_open() {
            return at_once;
        }
        if let Some(pace) = &self.pace {
            // What is leased must not grow old while it waits for its pace.
            let paced = (pace.rate * HORIZON.as_secs_f64()).ceil() as usize;
            return paced.max(1);
        }
        let ahead = match (self.speed, self.mean_seconds) {
            (Speed::Prompt | Speed::Quick, Some(seconds)) => {
                let per_slot = HORIZON.as_secs_f64() / seconds.max(0.000_1);
                (at_once as f64 * per_slot) as usize
            }
            _ => at_once,
        };
        let queue = ahead.clamp(at_once, MAX_QUEUE.max(at_once));
        at_once + queue
    }

    /// When work that waits in the database can be leased.
    pub fn next_due(&self) -> Option<Instant> {
        let due = self.due?;
        let at = self.breaker.opens_at().map_or(due, |opens| opens.max(due));
        (self.room(at) > 0).then_some(at)
    }

    /// Whether it has something to start, as far as itself is concerned. A test is worth a request
    /// to a receiver that is out of order: somebody wants to know.
    pub fn can_start(&self, now: Instant) -> bool {
        self.queue.front().is_some_and(|next| {
            let most = if next.ahead { self.max_in_flight } else { self.allowance(now) };
            self.flights.len() < most
        })
    }

    /// Whether its pace admits a request now, which is counted.
    pub fn admit(&mut self, now: Instant) -> bool {
        self.pace.as_mut().is_none_or(|pace| pace.admit(now))
    }

    /// Whether nothing but tests is sent to it now.
    pub fn is_blocked(&self, now: Instant) -> bool {
        self.allowance(now) == 0
    }

    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.flights.is_empty()
    }

    /// Whether it is about to run out of work while more waits in the database.
    pub fn wants_more(&self, now: Instant) -> bool {
        self.due.is_some() && self.queue.len() <= self.allowance(now) / 2
    }

    /// Starts the next delivery.
    pub fn start(&mut self, now: Instant) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.ahead = self.ahead.saturating_sub(usize::from(job.ahead));
        self.flights.push(Flight { lease: job.lease(), since: now });
        self.breaker.started();
        Some(job)
    }

    /// A request is over; what was heard of the receiver, if anything.
    pub fn finished(&mut self, lease: Lease, heard: Option<Heard>, now: Instant) -> Option<Change> {
        let in_flight = self.flights.len();
        self.note_held_back(self.breaker.is_open(), now);
        if let Some(at) = self.flights.iter().position(|flight| flight.lease == lease) {
            self.flights.remove(at);
        }
        let Some(heard) = heard else {
            self.breaker.lost(now);
            return None;
        };
        let seconds = heard.took.as_secs_f64();
        let mean = self.mean_seconds.get_or_insert(seconds);
        *mean += MEAN_WEIGHT * (seconds - *mean);
        self.breaker.heard(heard, now, (in_flight, self.max_in_flight), fastrand::f64())
    }

    /// How long its requests take: by the mean, and by the oldest that is under way.
    pub fn judge_speed(&self, now: Instant) -> Speed {
        let mean = self.mean_seconds.unwrap_or(f64::INFINITY);
        let oldest = self.flights.first().map(|flight| flight.since);
        let hangs = oldest.is_some_and(|since| now.saturating_duration_since(since) >= QUICK);
        match mean {
            _ if hangs => Speed::Slow,
            mean if mean < PROMPT.as_secs_f64() => Speed::Prompt,
            mean if mean < QUICK.as_secs_f64() => Speed::Quick,
            _ => Speed::Slow,
        }
    }

    /// Takes out what is queued beyond what a slow endpoint may have ahead: it was quick once.
    pub fn take_excess(&mut self, now: Instant) -> VecDeque<Job> {
        let keep = 2 * self.allowance(now).max(1) + self.ahead;
        if self.speed != Speed::Slow || self.queue.len() <= keep {
            return VecDeque::new();
        }
        self.queue.split_off(keep)
    }

    /// Takes out what is queued and fits.
    pub fn take_queued(&mut self, which: impl Fn(&Job) -> bool) -> VecDeque<Job> {
        let (out, stay): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut self.queue).into_iter().partition(which);
        self.queue = stay;
        let ahead = out.iter().filter(|job| job.ahead).count();
        self.ahead = self.ahead.saturating_sub(ahead);
        out
    }
}

/// A token bucket.
#[derive(Debug)]
struct Pace {
    rate: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { rate, tokens: 1.0, filled_at: Instant::now() }
    }

    /// Takes a token if there is one.
    fn admit(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min((self.rate * BURST_SECONDS).max(1.0));
        self.filled_at = now;
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}
