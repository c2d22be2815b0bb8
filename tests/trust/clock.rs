//! One clock for all histories of a run, and what is computed from times.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the run began.
pub fn now() -> u64 {
    u64::try_from(BEGIN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A span in the unit of [`now`].
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A span for people.
pub fn shown(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// The exact percentile of samples, by the nearest rank; zero without any.
pub fn percentile(samples: &mut [u64], percent: f64) -> u64 {
    if samples.is_empty() {
        return 0;
    }
    let rank = (samples.len() as f64 * percent / 100.0).ceil() as usize;
    let at = rank.clamp(1, samples.len()) - 1;
    *samples.select_nth_unstable(at).1
}
