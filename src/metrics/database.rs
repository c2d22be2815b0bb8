//! How the daemon gets along with its database: connections, errors, samples.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntGaugeVec};

use super::family::{Label, Maker};
use super::unix_seconds;
use crate::store::PoolStatus;
use crate::store::error::{Kind, StoreError};

const WAIT_SECONDS: &[f64] = &[0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1., 5., 10.];
const KIND: Label = Label::of("kind", &Kind::NAMES);
const CONNECTIONS: Label = Label::of("state", &["open", "idle", "max", "waiting"]);

/// What is counted of the database.
#[derive(Debug)]
pub struct Database {
    sampled_at: Gauge,
    pool: IntGaugeVec,
    pool_wait: Histogram,
    errors: Vec<IntCounter>,
    /// Times that the daemon came back to a database it had lost.
    pub reconnects: IntCounter,
}

impl Database {
    pub(super) fn new(make: &mut Maker) -> Self {
        Self {
            sampled_at: make.float(
                "outboxd_outbox_sample_timestamp_seconds",
                "When the gauges of the database were last sampled with every part of it, in unix \
                 seconds; 0: not yet",
            ),
            pool: make.gauge_family(
                "outboxd_db_pool_connections",
                "Connections of the pool: open, idle, most; and tasks waiting for one",
                &[CONNECTIONS],
            ),
            pool_wait: make.histogram(
                "outboxd_db_pool_wait_seconds",
                "Wait for a connection of the pool, connecting included",
                WAIT_SECONDS,
            ),
            errors: make.counters(
                "outboxd_db_errors_total",
                "Database operations that failed: connection (lost, refused), timeout, pool (none \
                 came free), conflict (lock, deadlock), read_only, resources (disk, memory, \
                 connections), privilege, data, other",
                KIND,
            ),
            reconnects: make.counter(
                "outboxd_db_reconnects_total",
                "Times that the daemon came back to a database that it had lost",
            ),
        }
    }

    /// Every part was sampled just now.
    pub fn sampled(&self) {
        self.sampled_at.set(unix_seconds());
    }

    /// An operation failed.
    pub fn failed(&self, error: &StoreError) {
        self.errors[error.kind() as usize].inc();
    }

    /// Somebody waited so long for a connection.
    pub fn waited(&self, wait: Duration) {
        self.pool_wait.observe(wait.as_secs_f64());
    }

    /// The state of the pool.
    pub fn pool(&self, pool: PoolStatus) {
        for (state, count) in
            CONNECTIONS.values.iter().zip([pool.open, pool.idle, pool.max, pool.waiting])
        {
            let gauge = self.pool.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
