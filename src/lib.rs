//! outboxd delivers the rows of a Postgres outbox table as signed webhooks.
//!
//! The modules below are in reading order: nouns and rules first, which neither do I/O nor look at
//! a clock; then the two hands, the database and the HTTP client; then the loops; then the daemon
//! that starts them, and the command line. `docs/architecture.md` is the map.

#[macro_use]
pub mod failpoint;

pub mod event;
pub mod statuses;
pub mod outcome;
pub mod decide;
pub mod breaker;
pub mod retry;
pub mod retry_after;
pub mod matching;
pub mod guard;
pub mod sign;
pub mod seal;
pub mod profile;
pub mod endpoint;
pub mod event_types;
pub mod config;

pub mod store;
pub mod sampler;
pub mod send;
pub mod metrics;
pub mod health;
pub mod log;
pub mod systemd;

pub mod backoff;
pub mod deliver;
pub mod catalogue;
pub mod fan_out;
pub mod claim;
pub mod recorder;
pub mod presence;
pub mod upkeep;
pub mod order;
pub mod sweep;
pub mod fleet;
pub mod admin;

pub mod daemon;
pub mod throwaway;
pub mod demo;
pub mod bench;
pub mod cli;
