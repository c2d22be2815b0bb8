//! What the sampler found in the database.
//!
//! These gauges are in registries of their own, which are left out of a scrape once they are too old:
//! what is not known is absent, and never 0.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Registry};

use super::family::{ENDPOINT, Family, Label, Maker};
use crate::endpoint::EndpointKey;
use crate::store::sample::{AHEAD, Counts, HOLDERS, Oldest, Server, Table};

/// A sample that is older says nothing about the present.
pub const STALE: Duration = Duration::from_secs(60);

const AHEAD_LABEL: Label = Label::of("ahead", &AHEAD);
const HOLDER: Label = Label::of("holder", &HOLDERS);
const TABLE: Label =
    Label::of("table", &["events", "queue", "work", "history", "history_default", "other"]);

/// Which label each endpoint has.
pub type Labels = HashMap<EndpointKey, String>;

/// Gauges that are sampled together, and when that was.
struct Part<G> {
    registry: Registry,
    state: Mutex<(G, Option<Instant>)>,
}

impl<G> Part<G> {
    fn new(families: &mut Vec<Family>, make: impl FnOnce(&mut Maker) -> G) -> Self {
        let mut maker = Maker::new();
        let gauges = make(&mut maker);
        let (registry, made) = maker.done();
        families.extend(made);
        Self { registry, state: Mutex::new((gauges, None)) }
    }

    /// Sets all of them, while no scrape looks.
    fn set(&self, set: impl FnOnce(&G)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        set(&state.0);
        state.1 = Some(Instant::now());
    }

    fn gather(&self, now: Instant) -> Vec<MetricFamily> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.1.is_some_and(|at| now.saturating_duration_since(at) < STALE);
        if fresh { self.registry.gather() } else { Vec::new() }
    }
}

struct CountGauges {
    queued: Gauge,
    pending: Gauge,
    due: Gauge,
    scheduled: Gauge,
    in_flight: Gauge,
    behind: Gauge,
    ahead: GaugeVec,
    by_endpoint: GaugeVec,
    drain: GaugeVec,
}

struct OldestGauges {
    all: Gauge,
    by_endpoint: GaugeVec,
}

struct TableGauges {
    bytes: GaugeVec,
    dead: GaugeVec,
    disk: Gauge,
    days_ahead: GaugeVec,
    first_day: GaugeVec,
}

struct RoomGauges {
    used: Gauge,
    limit: Gauge,
}

struct ServerGauges {
    skew: Gauge,
    schema_version: Gauge,
    quarantined: Gauge,
    exhausted: Gauge,
    held: Gauge,
}

/// What is known of the database by samples.
pub struct Sampled {
    counts: Part<CountGauges>,
    oldest: Part<OldestGauges>,
    tables: Part<TableGauges>,
    room: Part<RoomGauges>,
    horizon: Part<GaugeVec>,
    server: Part<ServerGauges>,
}

impl Sampled {
    /// Nothing is known yet. Notes the families.
    pub(super) fn new(families: &mut Vec<Family>) -> Self {
        Self {
            counts: Part::new(families, CountGauges::new),
            oldest: Part::new(families, OldestGauges::new),
            tables: Part::new(families, TableGauges::new),
            room: Part::new(families, RoomGauges::new),
            horizon: Part::new(families, |make| {
                make.float_family(
                    "outboxd_oldest_xmin_age_seconds",
                    "For how long the oldest snapshot of that kind of holder has kept vacuum from \
                     the tables of outboxd, since this daemon could first see it; 0: none does",
                    &[HOLDER],
                )
            }),
            server: Part::new(families, ServerGauges::new),
        }
    }

    /// What waits; and in how many seconds the backlog of each endpoint is done at its present rate.
    pub fn counted(&self, counts: &Counts, drain: &[(EndpointKey, f64)], labels: &Labels) {
        self.counts.set(|gauges| {
            gauges.queued.set(counts.queued as f64);
            gauges.pending.set(counts.pending() as f64);
            gauges.due.set(counts.due as f64);
            gauges.scheduled.set(counts.scheduled.iter().sum::<i64>() as f64);
            gauges.in_flight.set(counts.in_flight as f64);
            gauges.behind.set(counts.behind as f64);
            for (ahead, count) in AHEAD.iter().zip(counts.scheduled) {
                gauges.ahead.with_label_values(&[ahead]).set(count as f64);
            }
            let pending = counts.by_endpoint.iter().map(|(key, count)| (*key, *count as f64));
            by_label(&gauges.by_endpoint, labels, pending, |one, other| one + other);
            by_label(&gauges.drain, labels, drain.iter().copied(), f64::max);
        });
    }

    /// How long the oldest have waited: those that wait for the daemon, and those of each endpoint.
    pub fn aged(&self, for_daemon: f64, oldest: &Oldest, labels: &Labels) {
        self.oldest.set(|gauges| {
            gauges.all.set(for_daemon);
            by_label(&gauges.by_endpoint, labels, oldest.by_endpoint.iter().copied(), f64::max);
        });
    }

    /// The tables of the schema.
    pub fn measured(&self, tables: &[Table]) {
        self.tables.set(|gauges| {
            gauges.days_ahead.reset();
            gauges.first_day.reset();
            for name in TABLE.values {
                let table = tables.iter().find(|table| table.name == *name);
                let value = |of: fn(&Table) -> i64| table.map_or(0, of) as f64;
                gauges.bytes.with_label_values(&[name]).set(value(|table| table.bytes));
                gauges.dead.with_label_values(&[name]).set(value(|table| table.dead));
            }
            gauges.disk.set(tables.iter().map(|table| table.bytes).sum::<i64>() as f64);
            for table in tables {
                if let (Some(ahead), Some(first)) = (table.days_ahead, table.first_day) {
                    gauges.days_ahead.with_label_values::<&str>(&[]).set(f64::from(ahead));
                    gauges.first_day.with_label_values::<&str>(&[]).set(first);
                }
            }
        });
    }

    /// What the outbox uses of the disk, and what it may use.
    pub fn limited(&self, used: u64, limit: Option<u64>) {
        self.room.set(|gauges| {
            gauges.used.set(used as f64);
            gauges.limit.set(limit.unwrap_or(0) as f64);
        });
    }

    /// For how long each holder has kept vacuum from our tables.
    pub fn held(&self, held: [Duration; HOLDERS.len()]) {
        self.horizon.set(|gauges| {
            for (holder, age) in HOLDERS.iter().zip(held) {
                gauges.with_label_values(&[holder]).set(age.as_secs_f64());
            }
        });
    }

    /// The database as a whole.
    pub fn seen(&self, server: &Server) {
        self.server.set(|gauges| {
            gauges.skew.set(server.skew);
            gauges.schema_version.set(f64::from(server.schema_version));
            gauges.quarantined.set(server.quarantined as f64);
            gauges.exhausted.set(server.exhausted as f64);
            gauges.held.set(server.held as f64);
        });
    }

    /// What has been sampled and still holds.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let now = Instant::now();
        let mut families = self.counts.gather(now);
        families.extend(self.oldest.gather(now));
        families.extend(self.tables.gather(now));
        families.extend(self.room.gather(now));
        families.extend(self.horizon.gather(now));
        families.extend(self.server.gather(now));
        families
    }
}

impl CountGauges {
    fn new(make: &mut Maker) -> Self {
        Self {
            queued: make.float(
                "outboxd_outbox_queued",
                "Events not yet fanned out; an estimate from 2,000 pages above 20,000 rows",
            ),
            pending: make.float(
                "outboxd_outbox_pending",
                "Deliveries that have not ended: due, scheduled, in flight and behind; an estimate \
                 from 2,000 pages of the table above 20,000 rows",
            ),
            due: make.float(
                "outboxd_outbox_due",
                "Deliveries whose time has come and that no daemon has leased; an estimate as \
                 outboxd_outbox_pending",
            ),
            scheduled: make.float(
                "outboxd_outbox_scheduled_retry",
                "Deliveries that wait for their time, mostly retries; an estimate as \
                 outboxd_outbox_pending",
            ),
            in_flight: make.float(
                "outboxd_outbox_in_flight",
                "Deliveries leased to a daemon: under way, or next in its memory; an estimate as \
                 outboxd_outbox_pending",
            ),
            behind: make.float(
                "outboxd_outbox_behind",
                "Deliveries that wait for an earlier event of their key; an estimate as \
                 outboxd_outbox_pending",
            ),
            ahead: make.float_family(
                "outboxd_outbox_retries_due",
                "Scheduled deliveries by when they are due: within 1m, from 1 to 5 minutes (5m), 5 \
                 to 15 (15m) and so on; an estimate as outboxd_outbox_pending",
                &[AHEAD_LABEL],
            ),
            by_endpoint: make.float_family(
                "outboxd_endpoint_pending",
                "Deliveries of an endpoint that have not ended; an estimate as \
                 outboxd_outbox_pending; _other: of all folded endpoints",
                &[ENDPOINT],
            ),
            drain: make.float_family(
                "outboxd_endpoint_drain_seconds",
                "Seconds until the backlog of an endpoint is delivered at the rate of the last 5 \
                 minutes; 0: nothing is pending; +Inf: nothing is delivered; _other: the longest",
                &[ENDPOINT],
            ),
        }
    }
}

impl OldestGauges {
    fn new(make: &mut Maker) -> Self {
        Self {
            all: make.float(
                "outboxd_outbox_oldest_due_age_seconds",
                "How long the oldest event or delivery has waited for the daemon: without endpoints \
                 that are not active or have an open circuit, and for the others counted from when \
                 they were last at a limit of their own; 0: nothing waits",
            ),
            by_endpoint: make.float_family(
                "outboxd_endpoint_oldest_due_age_seconds",
                "How long the oldest delivery of an endpoint has been due, for whatever reason; 0: \
                 none is; _other: the longest",
                &[ENDPOINT],
            ),
        }
    }
}

impl TableGauges {
    fn new(make: &mut Maker) -> Self {
        Self {
            bytes: make.float_family(
                "outboxd_outbox_table_bytes",
                "Size of the tables with their indexes; history: all its days; other: the rest of \
                 the schema",
                &[TABLE],
            ),
            dead: make.float_family(
                "outboxd_outbox_dead_tuples",
                "Dead rows of the tables, as the statistics of the server have them",
                &[TABLE],
            ),
            disk: make.float("outboxd_outbox_disk_bytes", "Size of all tables of the schema"),
            days_ahead: make.float_family(
                "outboxd_history_partitions_ahead",
                "Days after today (UTC) for which history has a partition; 7 is normal",
                &[],
            ),
            first_day: make.float_family(
                "outboxd_history_oldest_timestamp_seconds",
                "When the oldest day of history began, in unix seconds",
                &[],
            ),
        }
    }
}

impl RoomGauges {
    fn new(make: &mut Maker) -> Self {
        Self {
            used: make.float(
                "outboxd_outbox_disk_used_bytes",
                "What counts against retention.max_bytes: outboxd_outbox_disk_bytes, above 80 % of the \
                 limit without what events can take again without growing it, by an estimate",
            ),
            limit: make.float(
                "outboxd_outbox_disk_limit_bytes",
                "retention.max_bytes, at 95 % of which what has ended goes before its time; 0: none",
            ),
        }
    }
}

impl ServerGauges {
    fn new(make: &mut Maker) -> Self {
        Self {
            skew: make.float(
                "outboxd_clock_skew_seconds",
                "How far the clock of this machine is ahead of the database's; negative: behind",
            ),
            schema_version: make
                .float("outboxd_schema_version", "Version of the schema in the database"),
            quarantined: make.float(
                "outboxd_events_quarantined",
                "Events in quarantine, neither released nor discarded",
            ),
            exhausted: make.float(
                "outboxd_outbox_exhausted",
                "Deliveries in history that were given up, and not replayed since; counted up to \
                 10,000",
            ),
            held: make.float(
                "outboxd_outbox_held",
                "Deliveries and events held since a backup was restored, until somebody decides",
            ),
        }
    }
}

/// Sets a gauge for every label there is, to 0 where nothing was found; those of folded endpoints
/// are joined.
fn by_label(
    gauges: &GaugeVec,
    labels: &Labels,
    found: impl Iterator<Item = (EndpointKey, f64)>,
    join: impl Fn(f64, f64) -> f64,
) {
    let mut values: HashMap<&str, f64> =
        labels.values().map(|label| (label.as_str(), 0.0)).collect();
    for (key, value) in found {
        // One that is not known yet, or no more, is nobody's.
        if let Some(before) = labels.get(&key).and_then(|label| values.get_mut(label.as_str())) {
            *before = join(*before, value);
        }
    }
    gauges.reset();
    for (label, value) in values {
        gauges.with_label_values(&[label]).set(value);
    }
}
