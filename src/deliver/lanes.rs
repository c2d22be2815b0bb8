//! Who is next: a bounded lane of leased deliveries for every endpoint, served in fair rotation.
//!
//! No I/O here. An endpoint that is slow fills its own lane and no other; what finds no room stays
//! in the database.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::{Job, Lease};

/// Work is leased at most this far ahead of an endpoint's speed.
const HORIZON: Duration = Duration::from_secs(2);
/// Most deliveries queued for one endpoint.
const MAX_LANE_QUEUE: usize = 2000;
/// Most deliveries of a lane that go ahead of the others.
const MAX_AHEAD: usize = 8;
/// Most deliveries queued for all.
const MAX_QUEUED: usize = 20_000;
/// Most payload bytes queued for all.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// Weight of the newest duration in an endpoint's mean.
const MEAN_WEIGHT: f64 = 0.1;
/// The part of a second by which a paced endpoint may catch up at once.
const BURST_SECONDS: f64 = 0.1;

/// Limits that hold for all lanes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once, all endpoints.
    pub max_in_flight: usize,
    /// Requests at once per endpoint, where it has no limit of its own.
    pub max_per_endpoint: usize,
    /// Daemons that share the endpoints' limits.
    pub instances: usize,
}

/// When more work of an endpoint waits in the database.
type Due = Option<Instant>;

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Job>,
    /// Promised to work that is being leased.
    reserved: usize,
    /// Of what is promised or queued, how much goes ahead of the others.
    ahead: usize,
    in_flight: Vec<Lease>,
    max_in_flight: usize,
    mean_seconds: Option<f64>,
    pace: Option<Pace>,
    due: Due,
    in_rotation: bool,
    /// Whether its endpoint may be sent to; without it nothing more is leased for it.
    ready: bool,
}

impl Lane {
    fn new(endpoint: &Endpoint, limits: &Limits) -> Self {
        let mut lane = Self {
            queue: VecDeque::new(),
            reserved: 0,
            ahead: 0,
            in_flight: Vec::new(),
            max_in_flight: 1,
            mean_seconds: None,
            pace: None,
            due: None,
            in_rotation: false,
            ready: true,
        };
        lane.adapt(endpoint, limits);
        lane
    }

    fn adapt(&mut self, endpoint: &Endpoint, limits: &Limits) {
        let whole = endpoint.max_in_flight.unwrap_or(limits.max_per_endpoint);
        self.max_in_flight = whole.div_ceil(limits.instances.max(1)).max(1);
        let rate = endpoint.rate_per_second;
        if rate != self.pace.as_ref().map(|pace| pace.rate) {
            self.pace = rate.map(Pace::new);
        }
    }

    /// How many more deliveries may be leased for it.
    fn room(&self) -> usize {
        let ahead = match self.mean_seconds {
            None => self.max_in_flight,
            Some(seconds) => {
                let per_slot = HORIZON.as_secs_f64() / seconds.max(0.000_1);
                (self.max_in_flight as f64 * per_slot) as usize
            }
        };
        if let Some(pace) = &self.pace {
            // What is leased must not grow old while it waits for its pace.
            let paced = (pace.rate * HORIZON.as_secs_f64()).ceil() as usize;
            let held = self.queue.len() + self.reserved + self.in_flight.len();
            return paced.max(1).saturating_sub(held);
        }
        let queue = ahead.clamp(self.max_in_flight, MAX_LANE_QUEUE.max(self.max_in_flight));
        (self.max_in_flight + queue)
            .saturating_sub(self.queue.len() + self.reserved + self.in_flight.len())
    }

    fn can_start(&self) -> bool {
        !self.queue.is_empty() && self.in_flight.len() < self.max_in_flight
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

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<EndpointKey, Lane>,
    /// Endpoints that can start a delivery, in the order of their turns.
    rotation: VecDeque<EndpointKey>,
    queued: usize,
    queued_bytes: usize,
    in_flight: usize,
    open: bool,
    suspended: bool,
}

impl Lanes {
    /// No lanes yet; they come with their endpoints.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            rotation: VecDeque::new(),
            queued: 0,
            queued_bytes: 0,
            in_flight: 0,
            open: true,
            suspended: false,
        }
    }

    /// Takes over new endpoints or limits. Lanes of endpoints that are not `ready` stay while work
    /// of theirs is under way.
    pub fn adapt<'a>(&mut self, limits: Limits, ready: impl Iterator<Item = &'a Endpoint>) {
        self.limits = limits;
        let mut seen = std::collections::HashSet::new();
        for endpoint in ready {
            seen.insert(endpoint.key);
            self.lanes
                .entry(endpoint.key)
                .or_insert_with(|| Lane::new(endpoint, &limits))
                .adapt(endpoint, &limits);
        }
        self.lanes.retain(|key, lane| {
            lane.ready = seen.contains(key);
            lane.due = lane.due.filter(|_| lane.ready);
            lane.ready || lane.in_flight.len() + lane.reserved + lane.queue.len() > 0
        });
    }

    /// Promises room for up to `wanted` deliveries; returns for how many.
    pub fn reserve(&mut self, key: EndpointKey, wanted: usize) -> usize {
        if !self.open || self.suspended || self.queued_bytes >= MAX_QUEUED_BYTES {
            return 0;
        }
        let total = MAX_QUEUED.saturating_sub(self.queued);
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.ready) else { return 0 };
        let granted = wanted.min(lane.room()).min(total);
        lane.reserved += granted;
        granted
    }

    /// Promises room to one delivery that goes ahead of what is queued, in a full lane too. False
    /// when it has to wait in the database.
    pub fn reserve_ahead(&mut self, key: EndpointKey) -> bool {
        let full = self.queued >= MAX_QUEUED || self.queued_bytes >= MAX_QUEUED_BYTES;
        if !self.open || self.suspended || full {
            return false;
        }
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.ready) else { return false };
        let granted = lane.ahead < MAX_AHEAD;
        lane.reserved += usize::from(granted);
        lane.ahead += usize::from(granted);
        granted
    }

    /// Takes back such a promise.
    pub fn unreserve_ahead(&mut self, key: EndpointKey) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.reserved = lane.reserved.saturating_sub(1);
            lane.ahead = lane.ahead.saturating_sub(1);
        }
    }

    /// Takes back a promise that was not used.
    pub fn unreserve(&mut self, key: EndpointKey, count: usize) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.reserved = lane.reserved.saturating_sub(count);
        }
    }

    /// Queues a leased delivery, for which room had been promised. Returns it when there is no lane
    /// for it any more.
    pub fn push(&mut self, job: Job) -> Result<(), Job> {
        let Some(lane) = self.lanes.get_mut(&job.endpoint).filter(|_| self.open) else {
            return Err(job);
        };
        lane.reserved = lane.reserved.saturating_sub(1);
        self.queued += 1;
        self.queued_bytes += job.event.payload.as_ref().map_or(0, bytes::Bytes::len);
        let key = job.endpoint;
        if job.ahead {
            // Behind those that came before it.
            let place = lane.queue.iter().take_while(|queued| queued.ahead).count();
            lane.queue.insert(place, job);
        } else {
            lane.queue.push_back(job);
        }
        if lane.can_start() && !lane.in_rotation {
            lane.in_rotation = true;
            self.rotation.push_back(key);
        }
        Ok(())
    }

    /// The next delivery to start, if a request may be made now. Counts it as in flight.
    pub fn start(&mut self, now: Instant) -> Option<Job> {
        if self.suspended || !self.open || self.in_flight >= self.limits.max_in_flight {
            return None;
        }
        // Each lane is looked at once: a paced one keeps its turn for later.
        for _ in 0..self.rotation.len() {
            let key = self.rotation.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.in_rotation = false;
            if !lane.can_start() {
                continue;
            }
            if lane.pace.as_mut().is_some_and(|pace| !pace.admit(now)) {
                lane.in_rotation = true;
                self.rotation.push_back(key);
                continue;
            }
            let job = lane.queue.pop_front()?;
            lane.ahead = lane.ahead.saturating_sub(usize::from(job.ahead));
            lane.in_flight.push(job.lease());
            if lane.can_start() {
                lane.in_rotation = true;
                self.rotation.push_back(key);
            }
            self.in_flight += 1;
            self.queued -= 1;
            self.queued_bytes -= job.event.payload.as_ref().map_or(0, bytes::Bytes::len);
            return Some(job);
        }
        None
    }

    /// A delivery is no longer in flight; `took` is how long its request was. Returns whether the
    /// endpoint has room again for work that waits in the database.
    pub fn finished(&mut self, lease: Lease, took: Option<Duration>) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let key = lease.endpoint;
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        if let Some(at) = lane.in_flight.iter().position(|held| *held == lease) {
            lane.in_flight.swap_remove(at);
        }
        if let Some(took) = took {
            let seconds = took.as_secs_f64();
            let mean = lane.mean_seconds.get_or_insert(seconds);
            *mean += MEAN_WEIGHT * (seconds - *mean);
        }
        if lane.can_start() && !lane.in_rotation {
            lane.in_rotation = true;
            self.rotation.push_back(key);
        }
        lane.due.is_some() && lane.queue.len() <= lane.max_in_flight / 2
    }

    /// Remembers that work of an endpoint waits in the database until `at`.
    pub fn note_due(&mut self, key: EndpointKey, at: Instant) {
        if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.ready) {
            lane.due = Some(lane.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Reserves room for work that is due in the database: up to `most` deliveries in all.
    pub fn reserve_due(&mut self, now: Instant, most: usize) -> Vec<(EndpointKey, usize)> {
        let due = |lane: &Lane| lane.due.is_some_and(|at| at <= now);
        let keys: Vec<EndpointKey> =
            self.lanes.iter().filter(|(_, lane)| due(lane)).map(|(key, _)| *key).collect();
        // Nobody may take it all while others wait.
        let share = most.div_ceil(keys.len().max(1));
        let mut granted = Vec::with_capacity(keys.len());
        for key in keys {
            let room = self.reserve(key, share);
            if room > 0 {
                granted.push((key, room));
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.due = None;
                }
            }
        }
        granted
    }

    /// When work is due next for an endpoint that has room.
    pub fn next_due(&self) -> Due {
        self.lanes.values().filter(|lane| lane.room() > 0).filter_map(|lane| lane.due).min()
    }

    /// Whether an endpoint waits for its pace.
    pub fn has_waiting(&self) -> bool {
        !self.rotation.is_empty() && self.in_flight < self.limits.max_in_flight
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Every lease that is queued or in flight.
    pub fn held(&self) -> Vec<Lease> {
        let queued = self.lanes.values().flat_map(|lane| lane.queue.iter().map(Job::lease));
        let in_flight = self.lanes.values().flat_map(|lane| lane.in_flight.iter().copied());
        queued.chain(in_flight).collect()
    }

    /// Starts nothing while the leases are in doubt.
    pub fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// Takes out what is queued under another holder's leases.
    pub fn take_other_holders(&mut self, holder: i32) -> Vec<Job> {
        self.take_queued(|job| job.holder != holder)
    }

    /// Starts nothing any more. Returns what was queued, to be released.
    pub fn close(&mut self) -> Vec<Job> {
        self.open = false;
        self.take_queued(|_| true)
    }

    fn take_queued(&mut self, which: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            let (out, stay): (VecDeque<Job>, VecDeque<Job>) =
                std::mem::take(&mut lane.queue).into_iter().partition(&which);
            lane.queue = stay;
            let ahead = out.iter().filter(|job| job.ahead).count();
            lane.ahead = lane.ahead.saturating_sub(ahead);
            taken.extend(out);
        }
        self.queued -= taken.len();
        self.queued_bytes -= taken
            .iter()
            .filter_map(|job| job.event.payload.as_ref())
            .map(|p| p.len())
            .sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests;
