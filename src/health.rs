//! Whether the daemon works: what `/readyz` says, and whether the watchdog is fed.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loops that do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Events into deliveries.
    FanOut,
    /// Events that came in large numbers, into deliveries.
    Backlog,
    /// Due deliveries into requests.
    Claim,
    /// Outcomes into the database.
    Record,
}

const BEATS: [(Beat, &str); 4] = [
    (Beat::FanOut, "fan-out"),
    (Beat::Backlog, "fan-out of a backlog"),
    (Beat::Claim, "claim"),
    (Beat::Record, "record"),
];

/// A loop that has not turned for this long is stuck: every wait of theirs is shorter.
const STUCK: Duration = Duration::from_secs(60);

/// What the loops report, and what is asked of them.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    beats: [AtomicU64; BEATS.len()],
    not_ready: Mutex<Option<String>>,
    /// What keeps a loop from its work.
    failing: Mutex<[Option<String>; BEATS.len()]>,
}

impl Health {
    /// Not ready yet.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            beats: Default::default(),
            not_ready: Mutex::new(Some("starting".to_owned())),
            failing: Mutex::default(),
        }
    }

    /// A loop has turned.
    pub fn beat(&self, which: Beat) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beats[which as usize].store(millis, Ordering::Relaxed);
    }

    /// The loops that are stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        let now = self.started.elapsed();
        let last =
            |beat: Beat| Duration::from_millis(self.beats[beat as usize].load(Ordering::Relaxed));
        BEATS
            .iter()
            // Before its first turn a loop waits for the database, and is not stuck.
            .filter(|(beat, _)| {
                let last = last(*beat);
                !last.is_zero() && now.saturating_sub(last) > STUCK
            })
            .map(|(_, name)| *name)
            .collect()
    }

    /// Deliveries can be made.
    pub fn ready(&self) {
        *self.not_ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Deliveries cannot be made, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        *self.not_ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
    }

    /// The database keeps a loop from its work, though it answers others.
    pub fn failing(&self, which: Beat, why: impl Display) {
        let (_, name) = BEATS[which as usize];
        self.set_failing(which, Some(format!("{name}: {why}")));
    }

    /// A loop does its work.
    pub fn works(&self, which: Beat) {
        self.set_failing(which, None);
    }

    fn set_failing(&self, which: Beat, why: Option<String>) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)[which as usize] = why;
    }

    /// What the daemon does, in a line for people.
    pub fn status(&self) -> String {
        self.problem().unwrap_or_else(|| "delivering".to_owned())
    }

    /// Why deliveries cannot be made; `None` when they can.
    pub fn problem(&self) -> Option<String> {
        let not_ready = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        not_ready.or_else(|| {
            let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            failing.iter().flatten().next().cloned()
        })
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}
