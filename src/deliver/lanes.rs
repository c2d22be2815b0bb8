//! Who is next: a bounded lane of leased deliveries for every endpoint, served in fair rotation.
//!
//! No I/O here. An endpoint that is slow fills its own lane and no other; what finds no room stays
//! in the database.

mod lane;
mod slots;
mod standing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::breaker::{Change, Heard};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::{Job, Lease};
use lane::Lane;
use slots::{Slots, Speed};

pub use standing::Fleet;

/// Most deliveries of a lane that go ahead of the others.
const MAX_AHEAD: usize = 8;
/// Most deliveries queued for all.
const MAX_QUEUED: usize = 20_000;
/// Most payload bytes queued for all.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Limits that hold for all lanes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once, all endpoints.
    pub max_in_flight: usize,
    /// Of these, those that endpoints which answer at once share, while several are busy.
    pub prompt_in_flight: usize,
    /// Requests at once per endpoint, where it has no limit of its own.
    pub max_per_endpoint: usize,
    /// Daemons that share the endpoints' limits.
    pub instances: usize,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Multiplies the pauses of endpoints that are out of order.
    pub pause_scale: f64,
}

/// What a request's end comes to.
#[derive(Debug, Default)]
pub struct Finished {
    /// Whether the endpoint has room again for work that waits in the database.
    pub has_room: bool,
    /// What was queued and cannot be sent soon: to be given back.
    pub back: Vec<Job>,
    /// The circuit opened or closed.
    pub change: Option<Change>,
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<EndpointKey, Lane>,
    slots: Slots,
    queued: usize,
    queued_bytes: usize,
    open: bool,
    suspended: bool,
    /// Whether endpoints have been taken over.
    adapted: bool,
}

impl Lanes {
    /// No lanes yet; they come with their endpoints.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            slots: Slots::of(limits.max_in_flight, limits.prompt_in_flight),
            queued: 0,
            queued_bytes: 0,
            open: true,
            suspended: false,
            adapted: false,
        }
    }

    /// Takes over new endpoints or limits. Lanes of endpoints that are not `ready` stay while work
    /// of theirs is under way.
    pub fn adapt<'a>(
        &mut self,
        limits: Limits,
        ready: impl Iterator<Item = &'a Endpoint>,
        now: Instant,
    ) {
        self.limits = limits;
        self.slots.all = limits.max_in_flight;
        self.slots.prompt = limits.prompt_in_flight;
        let mut seen = HashSet::new();
        for endpoint in ready {
            seen.insert(endpoint.key);
            let is_new = !self.lanes.contains_key(&endpoint.key);
            let lane = self.lanes.entry(endpoint.key).or_insert_with(|| Lane::new(&limits));
            lane.adapt(endpoint, &limits, now);
            // It was paused until now, unless it is the daemon that begins.
            lane.note_held_back(is_new && self.adapted, now);
        }
        self.adapted = true;
        self.lanes.retain(|key, lane| {
            lane.ready = seen.contains(key);
            lane.due = lane.due.filter(|_| lane.ready);
            lane.ready || lane.held() > 0
        });
    }

    /// Whether there is room for more in memory, whoever it is for.
    pub fn has_space(&self) -> bool {
        let full = self.queued >= MAX_QUEUED || self.queued_bytes >= MAX_QUEUED_BYTES;
        self.open && !self.suspended && !full
    }

    /// Promises room for up to `wanted` deliveries; returns for how many.
    pub fn reserve(&mut self, key: EndpointKey, wanted: usize, now: Instant) -> usize {
        if !self.has_space() {
            return 0;
        }
        let left = MAX_QUEUED - self.queued;
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.ready) else { return 0 };
        lane.note_held_back(lane.is_full(now), now);
        // As with slots: never more than are left over for another.
        let granted = wanted.min(lane.room(now)).min(left.saturating_sub(lane.held()));
        lane.reserved += granted;
        granted
    }

    /// Whether half of what may be queued is free, for all and for this endpoint.
    pub fn has_room(&self, key: Option<EndpointKey>, now: Instant) -> bool {
        let lane = key.and_then(|key| self.lanes.get(&key));
        self.queued <= MAX_QUEUED / 2
            && lane.is_none_or(|lane| lane.room(now) >= lane.held().max(1))
    }

    /// Whether an endpoint has sent half of what is leased for it in so long, if it goes on like this.
    pub fn soon_has_room(&self, key: EndpointKey, within: Duration, now: Instant) -> bool {
        let lane = self.lanes.get(&key);
        lane.and_then(|lane| lane.half_sent_in(now)).is_some_and(|it| it <= within.as_secs_f64())
    }

    /// Promises room to one delivery that goes ahead of what is queued, in a full lane too, and to
    /// an endpoint that is out of order. False when it has to wait in the database.
    pub fn reserve_ahead(&mut self, key: EndpointKey) -> bool {
        if !self.has_space() {
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

    /// Queues a leased delivery, for which room had been promised. Returns it when its endpoint
    /// takes nothing any more.
    pub fn push(&mut self, job: Job, now: Instant) -> Result<(), Job> {
        let key = job.endpoint;
        let Some(lane) = self.lanes.get_mut(&key).filter(|_| self.open) else {
            return Err(job);
        };
        lane.reserved = lane.reserved.saturating_sub(1);
        if lane.is_blocked(now) && !job.ahead {
            return Err(job);
        }
        self.queued += 1;
        self.queued_bytes += bytes_of(&job);
        if job.ahead {
            // Behind those that came before it.
            let place = lane.queue.iter().take_while(|queued| queued.ahead).count();
            lane.queue.insert(place, job);
        } else {
            lane.queue.push_back(job);
        }
        lane.note_held_back(lane.is_full(now), now);
        self.count_busy(key);
        self.give_turn(key, now);
        Ok(())
    }

    /// The next delivery to start, if a request may be made now. Counts it as in flight.
    pub fn start(&mut self, now: Instant) -> Option<Job> {
        if self.suspended || !self.open || self.slots.is_full() {
            return None;
        }
        let [first, second] = self.slots.next_turn();
        self.start_of(first, now).or_else(|| self.start_of(second, now))
    }

    fn start_of(&mut self, speed: Speed, now: Instant) -> Option<Job> {
        if self.slots.share(speed) == 0 {
            return None;
        }
        // Each lane is looked at once: a paced one keeps its turn for later.
        for _ in 0..self.slots.rotation(speed).len() {
            let key = self.slots.rotation(speed).pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.turn = None;
            if !lane.can_start(now) {
                continue;
            }
            if lane.in_flight() >= self.slots.share(lane.speed) {
                // It has a turn again when one of its own requests ends.
                continue;
            }
            if !lane.admit(now) {
                lane.note_held_back(true, now);
                self.give_turn(key, now);
                continue;
            }
            let job = lane.start(now)?;
            self.slots.take(lane.speed);
            self.queued -= 1;
            self.queued_bytes -= bytes_of(&job);
            self.give_turn(key, now);
            return Some(job);
        }
        None
    }

    /// Puts a lane at the end of its rotation, unless it waits in one or has nothing to start.
    fn give_turn(&mut self, key: EndpointKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let can_start = lane.can_start(now);
        lane.note_held_back(!can_start && !lane.queue.is_empty(), now);
        if lane.turn.is_none() && can_start {
            lane.turn = Some(lane.speed);
            let speed = lane.speed;
            self.slots.rotation(speed).push_back(key);
        }
    }

    /// A delivery is no longer in flight; what was heard of its receiver, if anything.
    pub fn finished(&mut self, lease: Lease, heard: Option<Heard>, now: Instant) -> Finished {
        let key = lease.endpoint;
        let Some(lane) = self.lanes.get_mut(&key) else { return Finished::default() };
        self.slots.give(lane.speed);
        let change = lane.finished(lease, heard, now);
        let blocked = lane.is_blocked(now);
        self.set_speed(key, now);
        let back = if blocked { self.take_of(key, |job| !job.ahead) } else { VecDeque::new() };
        self.count_busy(key);
        self.give_turn(key, now);
        let has_room = self.lanes.get(&key).is_some_and(|lane| lane.wants_more(now));
        Finished { has_room, back: back.into(), change }
    }

    /// Keeps the count of lanes with something queued or in flight.
    fn count_busy(&mut self, key: EndpointKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        match (lane.counted, lane.is_busy()) {
            (false, true) => self.slots.busy += 1,
            (true, false) => self.slots.busy -= 1,
            _ => {}
        }
        lane.counted = lane.is_busy();
    }

    /// Judges an endpoint's speed anew, and counts what it has under way accordingly.
    fn set_speed(&mut self, key: EndpointKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let speed = lane.judge_speed(now);
        if speed != lane.speed {
            self.slots.changed(lane.speed, speed, lane.in_flight());
            lane.speed = speed;
            // Where it waits now it might be passed over.
            if let Some(other) = lane.turn.take_if(|turn| !turn.waits_with(speed)) {
                self.slots.rotation(other).retain(|waiting| *waiting != key);
                self.give_turn(key, now);
            }
        }
    }

    /// Time has passed: endpoints that hang are slow and keep less, and what has waited for half of
    /// its lease is taken out. All of it is to be given back, before anybody else can have it.
    pub fn age(&mut self, now: Instant) -> Vec<Job> {
        let busy = self.lanes.iter().filter(|(_, lane)| lane.is_busy());
        let keys: Vec<EndpointKey> = busy.map(|(key, _)| *key).collect();
        let old = now + self.limits.lease / 2;
        let mut back = Vec::new();
        for key in keys {
            self.set_speed(key, now);
            let excess = self.lanes.get_mut(&key).map(|lane| lane.take_excess(now));
            back.extend(self.taken(key, excess.unwrap_or_default()));
            back.extend(self.take_of(key, |job| job.lease_ends < old));
            // A share or a circuit may have opened.
            self.give_turn(key, now);
        }
        back
    }

    /// Remembers that work of an endpoint waits in the database until `at`.
    pub fn note_due(&mut self, key: EndpointKey, at: Instant) {
        if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.ready) {
            lane.due = Some(lane.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Reserves room for work that is due in the database: up to `most` deliveries in all.
    pub fn reserve_due(&mut self, now: Instant, most: usize) -> Vec<(EndpointKey, usize)> {
        let due = |lane: &Lane| lane.due.is_some_and(|at| at <= now) && lane.room(now) > 0;
        let keys: Vec<EndpointKey> =
            self.lanes.iter().filter(|(_, lane)| due(lane)).map(|(key, _)| *key).collect();
        // Nobody may take it all while others wait.
        let share = most.div_ceil(keys.len().max(1));
        let mut granted = Vec::with_capacity(keys.len());
        for key in keys {
            let room = self.reserve(key, share, now);
            if room > 0 {
                granted.push((key, room));
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.due = None;
                }
            }
        }
        granted
    }

    /// When work can be leased next for an endpoint that has room.
    pub fn next_due(&self) -> Option<Instant> {
        self.lanes.values().filter_map(Lane::next_due).min()
    }

    /// Whether an endpoint waits for its pace, or for its share.
    pub fn has_waiting(&self) -> bool {
        self.slots.has_waiting() && !self.slots.is_full()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Every lease that is queued or in flight.
    pub fn held(&self) -> Vec<Lease> {
        self.lanes.values().flat_map(Lane::leases).collect()
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
        let keys: Vec<EndpointKey> = self.lanes.keys().copied().collect();
        keys.into_iter().flat_map(|key| self.take_of(key, &which)).collect()
    }

    fn take_of(&mut self, key: EndpointKey, which: impl Fn(&Job) -> bool) -> VecDeque<Job> {
        let Some(lane) = self.lanes.get_mut(&key) else { return VecDeque::new() };
        if !lane.queue.iter().any(&which) {
            return VecDeque::new();
        }
        let taken = lane.take_queued(which);
        self.taken(key, taken)
    }

    /// Counts what was taken out of a lane.
    fn taken(&mut self, key: EndpointKey, taken: VecDeque<Job>) -> VecDeque<Job> {
        self.queued -= taken.len();
        self.queued_bytes -= taken.iter().map(bytes_of).sum::<usize>();
        self.count_busy(key);
        taken
    }
}

fn bytes_of(job: &Job) -> usize {
    job.event.payload.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests;
