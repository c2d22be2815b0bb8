//! The slots, requests that the daemon may make at once, and whose turn it is to have one.
//!
//! They are shared so that there is always one for an endpoint that needs it for a moment only:
//! endpoints that hold them for long (or of which nobody knows yet how long) share one half, and no
//! endpoint has more than are left over, as buffers are shared in a switch (Choudhury and Hahne,
//! "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
//!
//! Where endpoints answer at once it is the processor that is short of, and more requests than keep it
//! busy only wait in line, each with a connection that is in nobody's cache any more.

use std::collections::VecDeque;

use crate::endpoint::EndpointKey;

/// Of so many turns one is a slow endpoint's, if one waits.
const SLOW_TURN: u32 = 4;

/// How long an endpoint's requests hold their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// Hardly longer than the daemon needs to attend to them.
    Prompt,
    /// Moments.
    Quick,
    /// Seconds; or nobody knows yet.
    Slow,
}

impl Speed {
    /// Whether endpoints of the two take turns with each other.
    pub fn waits_with(self, other: Self) -> bool {
        (self == Self::Slow) == (other == Self::Slow)
    }
}

/// What is taken, and who waits.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// How many there are.
    pub all: usize,
    /// Of these, how many prompt endpoints share. One for each they may have in any case.
    pub prompt: usize,
    in_flight: usize,
    /// Of these, those of slow and of prompt endpoints.
    slow_in_flight: usize,
    prompt_in_flight: usize,
    /// Endpoints with something queued or in flight.
    pub busy: usize,
    turns: u32,
    /// Endpoints that can start a delivery, in the order of their turns.
    quick: VecDeque<EndpointKey>,
    slow: VecDeque<EndpointKey>,
}

impl Slots {
    pub fn of(all: usize, prompt: usize) -> Self {
        Self { all, prompt, ..Self::default() }
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
            Speed::Prompt | Speed::Quick => &mut self.quick,
            Speed::Slow => &mut self.slow,
        }
    }

    /// As many as one endpoint of this speed may have: those that are left over. Alone it may have
    /// them all.
    pub fn share(&self, speed: Speed) -> usize {
        let left = self.all.saturating_sub(self.in_flight);
        match speed {
            _ if self.busy <= 1 => self.all,
            Speed::Prompt => left.min(self.prompt.saturating_sub(self.prompt_in_flight)).max(1),
            Speed::Quick => left.max(1),
            Speed::Slow => self.all.div_ceil(2).saturating_sub(self.slow_in_flight),
        }
    }

    /// A request of an endpoint of this speed begins.
    pub fn take(&mut self, speed: Speed) {
        self.in_flight += 1;
        self.add(speed, 1);
    }

    /// It is over.
    pub fn give(&mut self, speed: Speed) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.remove(speed, 1);
    }

    /// An endpoint with so many requests under way is of another speed now.
    pub fn changed(&mut self, from: Speed, to: Speed, in_flight: usize) {
        self.remove(from, in_flight);
        self.add(to, in_flight);
    }

    fn add(&mut self, speed: Speed, requests: usize) {
        match speed {
            Speed::Prompt => self.prompt_in_flight += requests,
            Speed::Quick => {}
            Speed::Slow => self.slow_in_flight += requests,
        }
    }

    fn remove(&mut self, speed: Speed, requests: usize) {
        let counted = match speed {
            Speed::Prompt => &mut self.prompt_in_flight,
            Speed::Quick => return,
            Speed::Slow => &mut self.slow_in_flight,
        };
        *counted = counted.saturating_sub(requests);
    }
}
