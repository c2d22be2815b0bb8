//! The pipeline: what the loops do, in batches.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use super::family::{Label, Maker};
use super::unix_seconds;

const TRANSACTION_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30.];
const EVENTS: &[f64] = &[1., 2., 5., 10., 25., 50., 100., 250., 500.];
const CLAIMED: &[f64] = &[0., 1., 2., 5., 10., 25., 50., 100., 250., 500., 1000., 2500.];
const RECORDED: &[f64] = &[1., 2., 5., 10., 25., 50., 100., 250., 500., 1000.];

const ACTION: Label = Label::of("action", &["warn", "reject"]);
const SOURCE: Label = Label::of("source", &["poll", "batch", "room", "timer"]);
const WHAT: Label = Label::of("what", &["events", "orphans", "secrets"]);

/// What made a loop look at the database.
#[derive(Clone, Copy, Debug)]
pub enum Wakeup {
    /// The fan-out's timer.
    Poll,
    /// The fan-out's last batch was full.
    Batch,
    /// A lane had room, or work was noted.
    Room,
    /// The claim's timer.
    Timer,
}

/// What housekeeping deletes.
#[derive(Clone, Copy, Debug)]
pub enum Deleted {
    /// Events past their retention.
    Events,
    /// Deliveries whose endpoint is gone.
    Orphans,
    /// Secrets that sign no longer.
    Secrets,
}

/// The transactions of one loop.
#[derive(Debug)]
pub struct Batches {
    seconds: Histogram,
    rows: Histogram,
}

impl Batches {
    /// One more, which took so long and had so many rows.
    pub fn done(&self, took: Duration, rows: usize) {
        self.seconds.observe(took.as_secs_f64());
        self.rows.observe(rows as f64);
    }
}

/// What is counted of the loops.
#[derive(Debug)]
pub struct Pipeline {
    /// Events that were fanned out.
    pub events: IntCounter,
    /// Deliveries made by fan-out.
    pub fanned_out: IntCounter,
    /// Events that no endpoint subscribes to.
    pub unmatched: IntCounter,
    /// Events that did not match their schema, and were delivered all the same.
    pub invalid_warned: IntCounter,
    /// Events that did not match their schema, and are in quarantine.
    pub invalid_rejected: IntCounter,
    /// Transactions of fan-out.
    pub fan_out: Batches,
    /// Claims.
    pub claim: Batches,
    /// Transactions that record outcomes.
    pub record: Batches,
    wakeups: Vec<IntCounter>,
    /// Requests under way.
    pub in_flight: IntGauge,
    in_flight_limit: IntGauge,
    deleted: Vec<IntCounter>,
    swept_at: Gauge,
}

impl Pipeline {
    pub(super) fn new(make: &mut Maker) -> Self {
        let invalid = make.counters(
            "outboxd_events_invalid_total",
            "Events that did not match the schema of their type, by events.validate: warn (delivered) \
             or reject (in quarantine)",
            ACTION,
        );
        Self {
            events: make.counter("outboxd_outbox_events_claimed_total", "Events fanned out"),
            fanned_out: make
                .counter("outboxd_fanout_deliveries_total", "Deliveries made by fan-out"),
            unmatched: make
                .counter("outboxd_unmatched_events_total", "Events that no endpoint subscribes to"),
            invalid_warned: invalid[0].clone(),
            invalid_rejected: invalid[1].clone(),
            fan_out: Batches {
                seconds: make.histogram(
                    "outboxd_fanout_duration_seconds",
                    "Duration of fan-out transactions with events in them",
                    TRANSACTION_SECONDS,
                ),
                rows: make.histogram(
                    "outboxd_fanout_batch_events",
                    "Events of a fan-out transaction",
                    EVENTS,
                ),
            },
            claim: Batches {
                seconds: make.histogram(
                    "outboxd_claim_duration_seconds",
                    "Duration of claims of due deliveries",
                    TRANSACTION_SECONDS,
                ),
                rows: make.histogram(
                    "outboxd_claim_batch_rows",
                    "Deliveries leased by a claim",
                    CLAIMED,
                ),
            },
            record: Batches {
                seconds: make.histogram(
                    "outboxd_record_duration_seconds",
                    "Duration of transactions that record outcomes, repetitions included",
                    TRANSACTION_SECONDS,
                ),
                rows: make.histogram(
                    "outboxd_record_batch_rows",
                    "Outcomes recorded by a transaction",
                    RECORDED,
                ),
            },
            wakeups: make.counters(
                "outboxd_wakeups_total",
                "What made a loop look for work: poll (the timer of fan-out), batch (the last \
                 batch of events was full), room (an endpoint has room for more, or work was \
                 noted), timer (the timer of claims). outboxd polls: there is no LISTEN",
                SOURCE,
            ),
            in_flight: make.gauge("outboxd_inflight_requests", "HTTP requests under way"),
            in_flight_limit: make.gauge(
                "outboxd_inflight_limit",
                "Most HTTP requests at once (delivery.max_in_flight)",
            ),
            deleted: make.counters(
                "outboxd_retention_deleted_total",
                "Rows that housekeeping removed: events past their retention, orphans (deliveries \
                 of endpoints that are gone), secrets that expired",
                WHAT,
            ),
            swept_at: make.float(
                "outboxd_retention_last_success_timestamp_seconds",
                "When a round of housekeeping last succeeded in all its parts, in unix seconds; 0: \
                 not since the start",
            ),
        }
    }

    /// A loop looks for work.
    pub fn woken(&self, by: Wakeup) {
        self.wakeups[by as usize].inc();
    }

    /// The limit of requests at once.
    pub fn limit(&self, max_in_flight: usize) {
        self.in_flight_limit.set(i64::try_from(max_in_flight).unwrap_or(i64::MAX));
    }

    /// Housekeeping removed so many.
    pub fn deleted(&self, what: Deleted, count: u64) {
        self.deleted[what as usize].inc_by(count);
    }

    /// A round of housekeeping succeeded.
    pub fn swept(&self) {
        self.swept_at.set(unix_seconds());
    }
}
