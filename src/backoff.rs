//! Waiting for the database: growing pauses, and a log that does not repeat itself.

use std::time::{Duration, Instant};

use crate::store::error::StoreError;

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
    logged: Option<(Instant, String)>,
}

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

    /// Logs a failure, once while it stays the same.
    pub fn log(&mut self, what: &str, error: &StoreError) {
        let text = error.to_string();
        let known =
            self.logged.as_ref().is_some_and(|(at, last)| *last == text && at.elapsed() < REPEAT);
        if !known {
            tracing::warn!(error = text, "{what}: the database failed; trying again");
            self.logged = Some((Instant::now(), text));
        }
    }
}
