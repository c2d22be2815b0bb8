//! The slots, requests that the daemon may make at once, and whose turn it is to have one.
//!
//! They are shared so that there is always one for an endpoint that needs it for a moment only:
//! endpoints that hold them for long (or of which nobody knows yet how long) share one half, and no
//! endpoint has more than are left over, as buffers are shared in a switch (Choudhury and Hahne,
//! "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).

use std::collections::VecDeque;

use crate::endpoint::EndpointKey;

/// Of so many turns one is a slow endpoint's, if one waits.
const SLOW_TURN: u32 = 4;

/// How long an endpoint's requests hold their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// Moments.
    Quick,
    /// Seconds; or nobody knows yet.
    Slow,
}

/// What is taken, and who waits.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// How many there are.
    pub all: usize,
    in_flight: usize,
    /// Of these, those of slow endpoints.
    slow_in_flight: usize,
    /// Endpoints with something queued or in flight.
    pub busy: usize,
    turns: u32,
    /// Endpoints that can start a delivery, in the order of their turns.
    quick: VecDeque<EndpointKey>,
    slow: VecDeque<EndpointKey>,
}

impl Slots {
    pub fn of(all: usize) -> Self {
        Self { all, ..Self::default() }
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn is_full(&self) -> bool {
        self.in_flight >= self.all
    }

    pub fn has_waiting(&self) -> bool {
        !self.quick.is_empty() || !self.slow.is_empty()
    }

    /// Whose turn it is, and who is asked next.
    pub fn next_turn(&mut self) -> [Speed; 2] {
        self.turns = self.turns.wrapping_add(1);
        match self.turns % SLOW_TURN {
            0 => [Speed::Slow, Speed::Quick],
            _ => [Speed::Quick, Speed::Slow],
        }
    }

    pub fn rotation(&mut self, speed: Speed) -> &mut VecDeque<EndpointKey> {
        match speed {
            Speed::Quick => &mut self.quick,
            Speed::Slow => &mut self.slow,
        }
    }

    /// As many as one endpoint of this speed may have: those that are left over. Alone it may have
    /// them all.
    pub fn share(&self, speed: Speed) -> usize {
        match speed {
            _ if self.busy <= 1 => self.all,
            Speed::Quick => self.all.saturating_sub(self.in_flight).max(1),
            Speed::Slow => self.all.div_ceil(2).saturating_sub(self.slow_in_flight),
        }
    }

    /// A request of an endpoint of this speed begins.
    pub fn take(&mut self, speed: Speed) {
        self.in_flight += 1;
        self.slow_in_flight += usize::from(speed == Speed::Slow);
    }

    /// It is over.
    pub fn give(&mut self, speed: Speed) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.slow_in_flight = self.slow_in_flight.saturating_sub(usize::from(speed == Speed::Slow));
    }

    /// An endpoint with so many requests under way is of this speed now, and was of the other.
    pub fn changed(&mut self, speed: Speed, in_flight: usize) {
        self.slow_in_flight = match speed {
            Speed::Slow => self.slow_in_flight + in_flight,
            Speed::Quick => self.slow_in_flight.saturating_sub(in_flight),
        };
    }
}
