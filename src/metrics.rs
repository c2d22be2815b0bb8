//! What is counted: the only module that knows prometheus.
//!
//! The help text of a family is what `docs` and dashboards rely on; labels are closed sets and
//! endpoint names.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::endpoint::State;
use crate::outcome::Outcome;
use crate::store::PoolStatus;
use crate::store::sample::Sample;

/// The content type of the text format; Prometheus refuses a scrape without it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const ATTEMPT_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 15., 30., 60.];
const DELAY_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 15., 60., 300.];

/// The end of a delivery, as a label.
const RESULTS: [&str; 3] = ["delivered", "exhausted", "cancelled"];
const STATES: [(State, &str); 4] = [
    (State::Active, "active"),
    (State::Paused, "paused"),
    (State::Disabled, "disabled"),
    (State::Invalid, "invalid"),
];

/// An endpoint to which only probes are sent is in this state besides.
const CIRCUIT_OPEN: &str = "open";

/// The counters of one endpoint, looked up once and not for every attempt.
#[derive(Debug)]
pub struct EndpointMetrics {
    attempts: HashMap<Outcome, IntCounter>,
    delivered: IntCounter,
    exhausted: IntCounter,
    cancelled: IntCounter,
}

impl EndpointMetrics {
    /// Counts an attempt.
    pub fn attempt(&self, outcome: Outcome) {
        if let Some(counter) = self.attempts.get(&outcome) {
            counter.inc();
        }
    }

    /// Counts a delivery that ended well.
    pub fn delivered(&self) {
        self.delivered.inc();
    }

    /// Counts a delivery that ran out of attempts.
    pub fn exhausted(&self) {
        self.exhausted.inc();
    }

    /// Counts a delivery that was ended without success or failure.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }
}

/// Every metric of the daemon.
pub struct Metrics {
    registry: Registry,
    attempts: IntCounterVec,
    finished: IntCounterVec,
    success_seconds: Histogram,
    failure_seconds: Histogram,
    endpoint_state: IntGaugeVec,
    by_endpoint: RwLock<HashMap<String, Arc<EndpointMetrics>>>,
    /// From the event's creation to its first attempt.
    pub first_attempt_delay: Histogram,
    /// Events that were fanned out.
    pub events: IntCounter,
    /// Deliveries made by fan-out.
    pub fanned_out: IntCounter,
    /// Events that no endpoint subscribes to.
    pub unmatched: IntCounter,
    /// Writes that came too late.
    pub lost_leases: IntCounter,
    /// Leases of dead daemons that were released.
    pub released_leases: IntCounter,
    /// Requests under way.
    pub in_flight: IntGauge,
    in_flight_limit: IntGauge,
    /// Events that did not match their schema, and were delivered all the same.
    pub invalid_warned: IntCounter,
    /// Events that did not match their schema, and are in quarantine.
    pub invalid_rejected: IntCounter,
    quarantined: IntGauge,
    pending: IntGaugeVec,
    oldest_due: Gauge,
    sampled_at: Gauge,
    pool: IntGaugeVec,
    /// Whether most endpoints fail together.
    pub outage: IntGauge,
    /// Database operations that failed.
    pub db_errors: IntCounter,
    /// Whether the last reload of the configuration was accepted.
    pub reload_ok: IntGauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Registers what its macro-like helpers make; a family that cannot be registered is a mistake in
/// this file, and every test would show it.
struct Maker(Registry);

impl Maker {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let collector = made.expect("the names and labels in this file are valid");
        self.0.register(Box::new(collector.clone())).expect("every family is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    /// The version, and what the system knows of the process.
    fn who_runs(&self) {
        let build: GaugeVec = self.register(GaugeVec::new(
            Opts::new("outboxd_build_info", "Always 1; the version of outboxd is a label"),
            &["version"],
        ));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.0.register(Box::new(process)).expect("registered once");
    }

    fn buckets(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(name, help).buckets(buckets.to_vec())
    }
}

impl Metrics {
    /// Every family, at zero.
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        make.who_runs();
        let attempt_seconds = make.register(HistogramVec::new(
            Maker::buckets(
                "outboxd_delivery_attempt_duration_seconds",
                "Duration of HTTP requests, by whether they succeeded",
                ATTEMPT_SECONDS,
            ),
            &["outcome"],
        ));
        let invalid = make.counters(
            "outboxd_events_invalid_total",
            "Events that did not match the schema of their type, by events.validate: warn (delivered) \
             or reject (in quarantine)",
            &["action"],
        );
        let metrics = Self {
            invalid_warned: invalid.with_label_values(&["warn"]),
            invalid_rejected: invalid.with_label_values(&["reject"]),
            quarantined: make.gauge(
                "outboxd_events_quarantined",
                "Events in quarantine, neither released nor discarded",
            ),
            success_seconds: attempt_seconds.with_label_values(&["success"]),
            failure_seconds: attempt_seconds.with_label_values(&["failure"]),
            attempts: make.counters(
                "outboxd_delivery_attempts_total",
                "HTTP requests by endpoint and outcome",
                &["endpoint", "outcome"],
            ),
            finished: make.counters(
                "outboxd_deliveries_finished_total",
                "Deliveries that ended, by endpoint and result",
                &["endpoint", "result"],
            ),
            endpoint_state: make.gauges(
                "outboxd_endpoint_state",
                "1 for the state that an endpoint is in, 0 for the others; open besides: only probes are sent",
                &["endpoint", "state"],
            ),
            by_endpoint: RwLock::default(),
            first_attempt_delay: make.register(Histogram::with_opts(Maker::buckets(
                "outboxd_first_attempt_delay_seconds",
                "From the creation of an event to the start of the first attempt to deliver it",
                DELAY_SECONDS,
            ))),
            events: make.counter("outboxd_outbox_events_claimed_total", "Events fanned out"),
            fanned_out: make
                .counter("outboxd_fanout_deliveries_total", "Deliveries made by fan-out"),
            unmatched: make
                .counter("outboxd_unmatched_events_total", "Events that no endpoint subscribes to"),
            lost_leases: make.counter(
                "outboxd_lost_leases_total",
                "Outcomes not recorded because the lease was lost or the delivery cancelled",
            ),
            released_leases: make.counter(
                "outboxd_lease_expirations_total",
                "Leases taken over from daemons that died",
            ),
            in_flight: make.gauge("outboxd_inflight_requests", "HTTP requests under way"),
            in_flight_limit: make.gauge(
                "outboxd_inflight_limit",
                "Most HTTP requests at once (delivery.max_in_flight)",
            ),
            pending: make.gauges(
                "outboxd_outbox_pending",
                "Work in the database: events queued; deliveries due, scheduled, in flight",
                &["stage"],
            ),
            oldest_due: make.float(
                "outboxd_outbox_oldest_due_age_seconds",
                "How long the oldest event or delivery has been due without an attempt",
            ),
            sampled_at: make.float(
                "outboxd_outbox_sample_timestamp_seconds",
                "When the gauges of the database were last taken, in unix seconds",
            ),
            pool: make.gauges(
                "outboxd_db_pool_connections",
                "Connections of the pool: open, idle, most; and tasks waiting for one",
                &["state"],
            ),
            outage: make.gauge(
                "outboxd_endpoints_failing_together",
                "1 while most of the endpoints sent to lately fail: the fault is likely on this side",
            ),
            db_errors: make.counter("outboxd_db_errors_total", "Database operations that failed"),
            reload_ok: make.gauge(
                "outboxd_config_last_reload_successful",
                "1 when the last reload of the configuration was accepted, or there was none",
            ),
            registry: make.0,
        };
        metrics.reload_ok.set(1);
        metrics.pending(&Sample::default());
        metrics
    }

    /// The counters of an endpoint, made at zero the first time.
    pub fn endpoint(&self, name: &str) -> Arc<EndpointMetrics> {
        let known = self.by_endpoint.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(name) {
            return metrics.clone();
        }
        drop(known);
        let attempts = Outcome::ALL
            .map(|outcome| (outcome, self.attempts.with_label_values(&[name, outcome.as_str()])));
        let [delivered, exhausted, cancelled] =
            RESULTS.map(|result| self.finished.with_label_values(&[name, result]));
        let made = EndpointMetrics { attempts: attempts.into(), delivered, exhausted, cancelled };
        let mut all = self.by_endpoint.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_insert_with(|| Arc::new(made)).clone()
    }

    /// Shows the endpoints that there are, each in its state, and forgets the others.
    pub fn endpoints<'a>(&self, states: impl Iterator<Item = (&'a str, State)>) {
        let states: HashMap<&str, State> = states.collect();
        for (name, state) in &states {
            self.endpoint(name);
            for (other, label) in STATES {
                let gauge = self.endpoint_state.with_label_values(&[*name, label]);
                gauge.set(i64::from(other == *state));
            }
            // As it is, and at zero the first time.
            self.endpoint_state.with_label_values(&[*name, CIRCUIT_OPEN]);
        }
        let mut all = self.by_endpoint.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| {
            let stays = states.contains_key(name.as_str());
            if !stays {
                self.forget(name);
            }
            stays
        });
    }

    fn forget(&self, name: &str) {
        // A series that is gone already is no fault.
        for outcome in Outcome::ALL {
            self.attempts.remove_label_values(&[name, outcome.as_str()]).ok();
        }
        for result in RESULTS {
            self.finished.remove_label_values(&[name, result]).ok();
        }
        for (_, label) in STATES {
            self.endpoint_state.remove_label_values(&[name, label]).ok();
        }
        self.endpoint_state.remove_label_values(&[name, CIRCUIT_OPEN]).ok();
    }

    /// The circuit of an endpoint opened or closed.
    pub fn circuit(&self, name: &str, open: bool) {
        self.endpoint_state.with_label_values(&[name, CIRCUIT_OPEN]).set(i64::from(open));
    }

    /// The duration of an attempt.
    pub fn attempt_took(&self, outcome: Outcome, duration: Duration) {
        let histogram = match outcome {
            Outcome::Success => &self.success_seconds,
            _ => &self.failure_seconds,
        };
        histogram.observe(duration.as_secs_f64());
    }

    /// The limit of requests at once.
    pub fn limit(&self, max_in_flight: usize) {
        self.in_flight_limit.set(i64::try_from(max_in_flight).unwrap_or(i64::MAX));
    }

    /// A sample of the database.
    pub fn sampled(&self, sample: &Sample, unix_seconds: f64) {
        self.pending(sample);
        self.oldest_due.set(sample.oldest_due_seconds);
        self.quarantined.set(sample.quarantined);
        self.sampled_at.set(unix_seconds);
    }

    fn pending(&self, sample: &Sample) {
        for (stage, count) in [
            ("queued", sample.queued),
            ("due", sample.due),
            ("scheduled", sample.scheduled),
            ("in_flight", sample.leased),
        ] {
            self.pending.with_label_values(&[stage]).set(count);
        }
    }

    /// The text of a scrape.
    pub fn render(&self, pool: Option<PoolStatus>) -> Vec<u8> {
        if let Some(pool) = pool {
            let states = [
                ("open", pool.open),
                ("idle", pool.idle),
                ("max", pool.max),
                ("waiting", pool.waiting),
            ];
            for (state, count) in states {
                let gauge = self.pool.with_label_values(&[state]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        let mut text = Vec::new();
        // Writing to memory does not fail; a family without children is left out.
        TextEncoder::new().encode(&self.registry.gather(), &mut text).ok();
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
