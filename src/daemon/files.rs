//! How many files, connections among them, this process may have open.

use crate::config::Config;

/// Connections of a receiver's that are kept open beside those in use, and all else.
const OTHERS: usize = 256;

/// Warns where the limit is too low for what the configuration allows.
pub(super) fn check(config: &Config) {
    let Some(limit) = limit() else { return };
    let needed = config.delivery.max_in_flight + config.database.pool_size + OTHERS;
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "few files may be open at once: deliveries will wait for one another; raise it \
             (LimitNOFILE= of the unit, or ulimit -n), or lower delivery.max_in_flight"
        );
    }
}

/// The soft limit, where the system tells it (`proc_pid_limits(5)`).
fn limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
