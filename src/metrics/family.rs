//! How families are made: registered once, remembered for the documentation, and with every series
//! of a closed set at zero from the start.

use std::sync::OnceLock;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// A label and the values it can have.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values; none: an endpoint's slug.
    pub values: &'static [&'static str],
}

impl Label {
    /// A label with a closed set of values.
    pub const fn of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values }
    }
}

/// The slug of an endpoint, or [`super::endpoints::OTHER`].
pub const ENDPOINT: Label = Label::of("endpoint", &[]);

/// What the documentation says of a family.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels.
    pub labels: Vec<Label>,
    /// The help text.
    pub help: &'static str,
    /// The bounds of a histogram's buckets.
    pub buckets: &'static [f64],
}

/// A counter of the whole process, for what counts before there are metrics.
#[derive(Debug)]
pub struct Total {
    name: &'static str,
    help: &'static str,
    counter: OnceLock<IntCounter>,
}

impl Total {
    /// A counter at zero.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counter: OnceLock::new() }
    }

    /// One more.
    pub fn inc(&self) {
        self.counter().inc();
    }

    fn counter(&self) -> &IntCounter {
        let new = || IntCounter::new(self.name, self.help).expect("a valid name");
        self.counter.get_or_init(new)
    }
}

/// Makes the families of one subject. One that cannot be registered is a mistake in these files,
/// and every test would show it.
pub struct Maker {
    registry: Registry,
    families: Vec<Family>,
}

impl Maker {
    /// No families yet.
    pub fn new() -> Self {
        Self { registry: Registry::new(), families: Vec::new() }
    }

    /// The families that were made, and what is known of them.
    pub fn done(self) -> (Registry, Vec<Family>) {
        (self.registry, self.families)
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the names and labels in these files are valid");
        self.registry
            .register(Box::new(collector.clone()))
            .expect("every family is registered once");
        collector
    }

    fn note(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &[Label],
        help: &'static str,
    ) {
        self.families.push(Family { name, kind, labels: labels.to_vec(), help, buckets: &[] });
    }

    /// A collector of somebody else's, with its families.
    pub fn foreign(
        &mut self,
        collector: impl Collector + 'static,
        families: &[(&'static str, &'static str, &'static str)],
    ) {
        self.registry.register(Box::new(collector)).expect("registered once");
        for (name, kind, help) in families {
            self.note(name, kind, &[], help);
        }
    }

    /// A counter of the whole process.
    pub fn total(&mut self, total: &Total) {
        self.foreign(total.counter().clone(), &[(total.name, "counter", total.help)]);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> IntCounter {
        self.note(name, "counter", &[], help);
        self.register(IntCounter::new(name, help))
    }

    /// Counters of a closed set, one for each value, in their order.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: Label,
    ) -> Vec<IntCounter> {
        let family = self.counter_family(name, help, &[label]);
        label.values.iter().map(|value| family.with_label_values(&[value])).collect()
    }

    /// Counters whose series come and go.
    pub fn counter_family(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
    ) -> IntCounterVec {
        self.note(name, "counter", labels, help);
        self.register(IntCounterVec::new(Opts::new(name, help), &names(labels)))
    }

    /// A whole number.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> IntGauge {
        self.note(name, "gauge", &[], help);
        self.register(IntGauge::new(name, help))
    }

    /// Whole numbers whose series come and go.
    pub fn gauge_family(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
    ) -> IntGaugeVec {
        self.note(name, "gauge", labels, help);
        self.register(IntGaugeVec::new(Opts::new(name, help), &names(labels)))
    }

    /// A number.
    pub fn float(&mut self, name: &'static str, help: &'static str) -> Gauge {
        self.note(name, "gauge", &[], help);
        self.register(Gauge::new(name, help))
    }

    /// Numbers whose series come and go. Without a label: one number that may be absent.
    pub fn float_family(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
    ) -> GaugeVec {
        self.note(name, "gauge", labels, help);
        self.register(GaugeVec::new(Opts::new(name, help), &names(labels)))
    }

    /// A histogram.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        buckets: &'static [f64],
    ) -> Histogram {
        self.note_histogram(name, &[], help, buckets);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// Histograms of a closed set, one for each value, in their order.
    pub fn histograms(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: Label,
        buckets: &'static [f64],
    ) -> Vec<Histogram> {
        self.note_histogram(name, &[label], help, buckets);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = self.register(HistogramVec::new(options, &[label.name]));
        label.values.iter().map(|value| family.with_label_values(&[value])).collect()
    }

    fn note_histogram(
        &mut self,
        name: &'static str,
        labels: &[Label],
        help: &'static str,
        buckets: &'static [f64],
    ) {
        let labels = labels.to_vec();
        self.families.push(Family { name, kind: "histogram", labels, help, buckets });
    }
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}
