//! Endpoints: their own counters and states, and the fold beyond `metrics.max_endpoints`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::family::{ENDPOINT, Label, Maker};
use super::sampled::Labels;
use crate::endpoint::{EndpointKey, State};
use crate::outcome::Outcome;

/// The label of all endpoints beyond the most that are told apart. No slug begins like that.
pub const OTHER: &str = "_other";

const OUTCOME_NAMES: [&str; Outcome::ALL.len()] = {
    let mut names = [""; Outcome::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Outcome::ALL[at].as_str();
        at += 1;
    }
    names
};
const OUTCOME: Label = Label::of("outcome", &OUTCOME_NAMES);
/// The end of a delivery.
const RESULT: Label = Label::of("result", &["delivered", "exhausted", "cancelled"]);
/// `open`: only probes are sent. It comes on top of the state in the database.
const STATE: Label = Label::of("state", &["active", "paused", "disabled", "invalid", OPEN]);
const OPEN: &str = "open";

/// The counters of one endpoint, looked up once and not for every attempt.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// By the number of the outcome.
    attempts: Vec<IntCounter>,
    delivered: IntCounter,
    exhausted: IntCounter,
    cancelled: IntCounter,
    throttled: IntCounter,
}

impl EndpointMetrics {
    /// Counts an attempt.
    pub fn attempt(&self, outcome: Outcome) {
        self.attempts[outcome as usize].inc();
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

    /// Counts a delivery that found no room.
    pub fn throttled(&self) {
        self.throttled.inc();
    }
}

/// An endpoint as the metrics have it.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    state: State,
    open: bool,
    folded: bool,
    metrics: Arc<EndpointMetrics>,
}

impl Known {
    fn label(&self) -> &str {
        if self.folded { OTHER } else { &self.name }
    }
}

/// What is known of all endpoints.
#[derive(Debug)]
pub struct Book {
    attempts: IntCounterVec,
    finished: IntCounterVec,
    throttled: IntCounterVec,
    state: IntGaugeVec,
    in_state: IntGaugeVec,
    folded: IntGauge,
    secret_end: GaugeVec,
    next_expiry: GaugeVec,
    /// Whether most endpoints fail together.
    pub outage: IntGauge,
    known: RwLock<HashMap<EndpointKey, Known>>,
}

impl Book {
    pub(super) fn new(make: &mut Maker) -> Self {
        Self {
            attempts: make.counter_family(
                "outboxd_delivery_attempts_total",
                "Attempts by endpoint and outcome",
                &[ENDPOINT, OUTCOME],
            ),
            finished: make.counter_family(
                "outboxd_deliveries_finished_total",
                "Deliveries that ended, by endpoint and result",
                &[ENDPOINT, RESULT],
            ),
            throttled: make.counter_family(
                "outboxd_endpoint_throttled_total",
                "Deliveries that found no room with their endpoint (its rate, its requests at \
                 once, an open circuit) and wait in the table",
                &[ENDPOINT],
            ),
            state: make.gauge_family(
                "outboxd_endpoint_state",
                "1 for the state that an endpoint is in, 0 for the others; open besides: only \
                 probes are sent. Not for folded endpoints",
                &[ENDPOINT, STATE],
            ),
            in_state: make.gauge_family(
                "outboxd_endpoints",
                "Endpoints by state, those that are folded too; open besides: only probes are sent",
                &[STATE],
            ),
            folded: make.gauge(
                "outboxd_endpoints_folded",
                "Endpoints beyond metrics.max_endpoints, which share endpoint=\"_other\"",
            ),
            secret_end: make.float_family(
                "outboxd_endpoint_secret_end_timestamp_seconds",
                "When the last signing secret of an endpoint ends, in unix seconds; only for \
                 endpoints of which every secret has an end",
                &[ENDPOINT],
            ),
            next_expiry: make.float_family(
                "outboxd_secret_next_expiry_timestamp_seconds",
                "When the next signing secret of any endpoint ends, as after a rotation, in unix \
                 seconds; absent: none has an end",
                &[],
            ),
            outage: make.gauge(
                "outboxd_endpoints_failing_together",
                "1 while most of the endpoints sent to lately fail: the fault is likely on this side",
            ),
            known: RwLock::default(),
        }
    }

    /// The counters of an endpoint; none for one that there is not.
    pub fn of(&self, key: EndpointKey) -> Option<Arc<EndpointMetrics>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).map(|known| known.metrics.clone())
    }

    /// The name of an endpoint; none for one that there is not.
    pub fn name(&self, key: EndpointKey) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).map(|it| it.name.clone())
    }

    /// The label of each endpoint.
    pub fn labels(&self) -> Labels {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(key, it)| (*key, it.label().to_owned())).collect()
    }

    /// Shows the endpoints that there are, each in its state, and forgets the others. At most `most`
    /// of them are told apart: those that were before, then the oldest.
    pub fn show<'a>(
        &self,
        endpoints: impl Iterator<Item = (EndpointKey, &'a str, State)>,
        most: usize,
    ) {
        let mut endpoints: Vec<_> = endpoints.collect();
        endpoints.sort_unstable_by_key(|(key, ..)| *key);
        let mut known = self.write();
        let told_apart = choose(&known, &endpoints, most);
        let before = std::mem::take(&mut *known);
        for (key, name, state) in endpoints {
            let folded = !told_apart.contains(&key);
            let old = before.get(&key);
            let same = old.filter(|old| old.folded == folded && (folded || old.name == name));
            let metrics = match same {
                Some(old) => old.metrics.clone(),
                None => Arc::new(self.make(if folded { OTHER } else { name })),
            };
            let open = old.is_some_and(|old| old.open);
            known.insert(key, Known { name: name.to_owned(), state, open, folded, metrics });
        }
        let names: HashSet<&str> = named(&known).map(|it| it.name.as_str()).collect();
        for gone in named(&before).filter(|it| !names.contains(it.name.as_str())) {
            self.forget(&gone.name);
        }
        self.show_states(&known);
    }

    /// These endpoints have an open circuit, and the others do not.
    pub fn circuits(&self, open: &HashSet<EndpointKey>) {
        let mut known = self.write();
        let mut changed = false;
        for (key, it) in known.iter_mut() {
            changed |= it.open != open.contains(key);
            it.open = open.contains(key);
        }
        if changed {
            self.show_states(&known);
        }
    }

    /// When secrets end, in unix seconds: the last of an endpoint that has none without an end; and
    /// the next of all.
    pub fn secrets(&self, ends: &[(EndpointKey, f64)], next: Option<f64>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut by_label: HashMap<&str, f64> = HashMap::new();
        for (key, end) in ends {
            let Some(endpoint) = known.get(key) else { continue };
            let soonest = by_label.entry(endpoint.label()).or_insert(f64::INFINITY);
            *soonest = soonest.min(*end);
        }
        self.secret_end.reset();
        for (label, end) in by_label {
            self.secret_end.with_label_values(&[label]).set(end);
        }
        self.next_expiry.reset();
        if let Some(next) = next {
            self.next_expiry.with_label_values::<&str>(&[]).set(next);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<EndpointKey, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, label: &str) -> EndpointMetrics {
        let attempt = |outcome| self.attempts.with_label_values(&[label, outcome]);
        let result = |result| self.finished.with_label_values(&[label, result]);
        EndpointMetrics {
            attempts: OUTCOME_NAMES.map(attempt).into(),
            delivered: result("delivered"),
            exhausted: result("exhausted"),
            cancelled: result("cancelled"),
            throttled: self.throttled.with_label_values(&[label]),
        }
    }

    fn forget(&self, name: &str) {
        // A series that is gone already is no fault.
        for outcome in OUTCOME.values {
            self.attempts.remove_label_values(&[name, outcome]).ok();
        }
        for result in RESULT.values {
            self.finished.remove_label_values(&[name, result]).ok();
        }
        for state in STATE.values {
            self.state.remove_label_values(&[name, state]).ok();
        }
        self.throttled.remove_label_values(&[name]).ok();
        self.secret_end.remove_label_values(&[name]).ok();
    }

    fn show_states(&self, known: &HashMap<EndpointKey, Known>) {
        for label in STATE.values {
            let is =
                |it: &Known| if *label == OPEN { it.open } else { it.state.as_str() == *label };
            for it in named(known) {
                self.state.with_label_values(&[it.name.as_str(), label]).set(i64::from(is(it)));
            }
            let count = known.values().filter(|it| is(it)).count();
            self.in_state.with_label_values(&[label]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let folded = known.values().filter(|it| it.folded).count();
        self.folded.set(i64::try_from(folded).unwrap_or(i64::MAX));
    }
}

fn named(known: &HashMap<EndpointKey, Known>) -> impl Iterator<Item = &Known> {
    known.values().filter(|it| !it.folded)
}

/// Which endpoints have a label of their own.
fn choose(
    known: &HashMap<EndpointKey, Known>,
    endpoints: &[(EndpointKey, &str, State)],
    most: usize,
) -> HashSet<EndpointKey> {
    let keys = || endpoints.iter().map(|(key, ..)| *key);
    let had_one = |key: &EndpointKey| known.get(key).is_some_and(|it| !it.folded);
    keys().filter(had_one).chain(keys().filter(|key| !had_one(key))).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (Book, prometheus::Registry) {
        let mut make = Maker::new();
        let book = Book::new(&mut make);
        (book, make.done().0)
    }

    fn show(book: &Book, endpoints: &[(EndpointKey, &'static str)], most: usize) {
        let active = endpoints.iter().map(|(key, name)| (*key, *name, State::Active));
        book.show(active, most);
    }

    #[test]
    fn endpoints_beyond_the_most_share_a_label_and_the_others_keep_theirs() {
        let (book, _) = book();
        show(&book, &[(1, "one"), (2, "two"), (3, "three")], 2);
        let labels = |keys: &[EndpointKey]| -> Vec<String> {
            let labels = book.labels();
            keys.iter().map(|key| labels[key].clone()).collect()
        };
        assert_eq!(labels(&[1, 2, 3]), ["one", "two", OTHER]);
        assert_eq!(book.folded.get(), 1);
        book.of(3).expect("known").attempt(Outcome::Success);
        book.of(2).expect("known").delivered();
        // One goes, and the next takes its place; who had a name keeps it.
        show(&book, &[(0, "zero"), (2, "two"), (3, "three")], 2);
        assert_eq!(labels(&[0, 2, 3]), ["zero", "two", OTHER]);
        assert_eq!(book.of(2).expect("known").delivered.get(), 1);
        show(&book, &[(2, "two"), (3, "three")], 2);
        assert_eq!(labels(&[2, 3]), ["two", "three"]);
        // What was counted for all of them together stays there.
        let other = book.attempts.with_label_values(&[OTHER, "success"]);
        assert_eq!((other.get(), book.of(3).expect("known").attempts[0].get()), (1, 0));
        assert!(book.of(1).is_none());
    }

    #[test]
    fn states_are_counted_for_folded_endpoints_too() {
        let (book, _) = book();
        show(&book, &[(1, "one"), (2, "two")], 1);
        book.circuits(&[1, 2].into());
        let count = |state| book.in_state.with_label_values(&[state]).get();
        assert_eq!((count("active"), count("open"), count("paused")), (2, 2, 0));
        assert_eq!(book.state.with_label_values(&["one", "open"]).get(), 1);
    }

    #[test]
    fn a_renamed_or_removed_endpoint_leaves_no_series() {
        let (book, registry) = book();
        show(&book, &[(1, "one"), (2, "two")], 9);
        book.secrets(&[(1, 5.0), (2, 4.0)], Some(4.0));
        show(&book, &[(1, "uno")], 9);
        let text = prometheus::TextEncoder::new();
        let text = text.encode_to_string(&registry.gather()).expect("text");
        assert!(!text.contains("\"one\"") && !text.contains("\"two\""), "{text}");
        assert!(text.contains("outcome=\"interrupted\"") && text.contains("\"uno\""), "{text}");
    }

    #[test]
    fn the_end_of_secrets_is_the_soonest_of_a_label_and_absent_without_one() {
        let (book, registry) = book();
        show(&book, &[(1, "one"), (2, "two"), (3, "three")], 1);
        book.secrets(&[(2, 7.0), (3, 6.0)], Some(6.0));
        assert_eq!(book.secret_end.with_label_values(&[OTHER]).get(), 6.0);
        book.secrets(&[], None);
        let families = registry.gather();
        assert!(families.iter().all(|family| !family.name().contains("secret")));
    }
}
