//! How transactions begin, whatever the defaults of the role or of the database are: nothing that
//! stands in `public` can take the place of what the statements mean, and the time between two of
//! them is not limited to less than they need.
//!
//! A transaction brings its settings along, so that a pooler in transaction mode can sit between. A
//! session that is ours alone has those of the daemon's work for good, and keeps their statements
//! prepared: to set and to plan them anew takes longer than a small batch itself.

use std::time::Duration;

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    /// With all of its settings.
    pub sql: &'static str,
    /// The same in a session that has those of [`SESSION`].
    pub settled: &'static str,
    /// Whether its statements are kept prepared in such a session.
    pub prepares: bool,
    /// How long each of its answers is waited for: longer than the server's own limit, which is
    /// what ends a statement as long as the server can be heard.
    pub limit: Duration,
}

/// The opening of a transaction that needs nothing but what its session has. Around one statement
/// alone it changes nothing.
pub(super) const PLAIN: &str = "BEGIN";

/// The settings of all transactions, and others, by `SET` or `SET LOCAL`.
macro_rules! settings {
    ($set:literal $(, $setting:literal)*) => {
        concat!(
            $set, "search_path = pg_catalog, pg_temp; ",
            $set, "idle_in_transaction_session_timeout = '10s'",
            $("; ", $set, $setting),*
        )
    };
}

/// The same, and those of the daemon's work. The planner is held to the indexes the statements were
/// written for: statistics of a queue are wrong most of the time.
macro_rules! work_settings {
    ($set:literal, $($setting:literal),*) => {
        settings!(
            $set,
            "statement_timeout = '30s'",
            "lock_timeout = '10s'",
            "jit = off",
            "enable_seqscan = off",
            "enable_bitmapscan = off",
            "enable_hashjoin = off",
            "enable_mergejoin = off",
            $($setting),*
        )
    };
}

/// The text of an opening with these settings.
macro_rules! begin {
    ($($setting:literal),*) => {
        concat!("BEGIN ISOLATION LEVEL READ COMMITTED; ", settings!("SET LOCAL " $(, $setting)*))
    };
}

/// An opening with settings unlike those of the daemon's work.
macro_rules! opening {
    ($seconds:literal, $($setting:literal),*) => {
        $crate::store::opening::Opening {
            sql: begin!($($setting),*),
            settled: concat!(
                "BEGIN; SET LOCAL synchronous_commit = DEFAULT; \
                 SET LOCAL plan_cache_mode = DEFAULT; SET LOCAL enable_seqscan = DEFAULT; \
                 SET LOCAL enable_bitmapscan = DEFAULT; SET LOCAL enable_hashjoin = DEFAULT; \
                 SET LOCAL enable_mergejoin = DEFAULT; ",
                settings!("SET LOCAL " $(, $setting)*)
            ),
            prepares: false,
            limit: std::time::Duration::from_secs($seconds),
        }
    };
}

macro_rules! work {
    ($settled:expr, $durability:literal) => {
        Opening {
            sql: concat!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; ",
                work_settings!("SET LOCAL ", $durability)
            ),
            settled: $settled,
            prepares: true,
            limit: Duration::from_secs(35),
        }
    };
}

/// For outcomes, and what is asked all the time. Losing the last of them to a crash of the database costs
/// duplicates, never events, so they do not wait for the disk.
pub(super) const WORK: Opening = work!(PLAIN, "synchronous_commit = off");

/// The same for what is not done all the time, and planned anew whenever it is.
pub(super) const CHORE: Opening =
    Opening { settled: "BEGIN; SET LOCAL plan_cache_mode = DEFAULT", prepares: false, ..WORK };

/// For what leases deliveries: requests are made on the strength of it, so it must not be forgotten.
pub(super) const LEASE: Opening =
    work!("BEGIN; SET LOCAL synchronous_commit = on", "synchronous_commit = on");

/// The same, planned anew whenever it is done: for a statement whose best plan depends on what the
/// tables hold.
pub(super) const LEASE_ONCE: Opening = Opening {
    settled: "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL plan_cache_mode = DEFAULT",
    prepares: false,
    ..LEASE
};

/// How administrative transactions begin: durable, planned freely.
pub(super) const ADMIN: Opening =
    opening!(65, "statement_timeout = '60s'", "lock_timeout = '10s'", "jit = off");

/// How secrets are stored in another form: work that can be done again later must not hold up what
/// comes after it.
pub(super) const BRIEF: Opening =
    opening!(65, "statement_timeout = '60s'", "lock_timeout = '250ms'", "jit = off");

/// What [`WORK`] sets, for all transactions of a session that is ours alone; and that a statement is
/// planned once, whatever its parameters.
pub(super) const SESSION: &str = work_settings!(
    "SET ",
    "synchronous_commit = off",
    "default_transaction_isolation = 'read committed'",
    "idle_session_timeout = 0",
    "plan_cache_mode = force_generic_plan"
);
