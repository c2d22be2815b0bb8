//! Waiting for the database: growing pauses, and a log that does not repeat itself.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::store::error::{Kind, StoreError};

const FIRST: Duration = Duration::from_millis(100);
/// Short, for loops wait for one another when the database is back: all of it has to fit into seconds.
const LONGEST: Duration = Duration::from_secs(1);
/// Failures in a row that are more than a mishap: after some half a second.
const PERSISTENT: u32 = 3;
/// The same failure is logged again after this long.
const REPEAT: Duration = Duration::from_secs(60);

/// The pauses of one loop.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

/// What was logged lately, by whichever loop: what all of them meet is one thing.
static LOGGED: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());

impl Backoff {
    /// The next pause, with jitter so that daemons do not come back in step.
    pub fn pause(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Whether it is more than a mishap.
    pub fn is_persistent(&self) -> bool {
        self.failures >= PERSISTENT
    }

    /// All is well again.
    pub fn reset(&mut self) {
        if self.failures > 0 {
            *self = Self::default();
        }
    }

    /// Logs a failure, once in a while as long as it stays the same, whoever meets it.
    pub fn log(&self, what: &str, error: &StoreError) {
        let text = error.to_string();
        // A database that is away is told in many words.
        let is_away = matches!(error.kind(), Kind::Connection | Kind::Pool);
        let subject = if is_away { String::new() } else { text.clone() };
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|(at, _)| at.elapsed() < REPEAT);
        if !logged.iter().any(|(_, known)| *known == subject) {
            logged.push((Instant::now(), subject));
            drop(logged);
            tracing::warn!(error = text, "{what}: the database failed; trying again");
        }
    }
}
