//! The process: what runs, with which configuration, and whether it can work.

use prometheus::process_collector::ProcessCollector;
use prometheus::{Gauge, IntGauge};

use super::family::{Label, Maker};
use super::unix_seconds;
use crate::log;

/// What the collector of the prometheus crate exports on Linux.
const PROCESS: [(&str, &str, &str); 7] = [
    ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds."),
    ("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    ("process_open_fds", "gauge", "Number of open file descriptors."),
    ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
    (
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
    ),
    ("process_threads", "gauge", "Number of OS threads in the process."),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
];

/// What is known of the process.
#[derive(Debug)]
pub struct Process {
    ready: IntGauge,
    daemons: IntGauge,
    reload_ok: IntGauge,
    reloaded_at: Gauge,
}

impl Process {
    pub(super) fn new(make: &mut Maker) -> Self {
        // Set where a release is built from; the version alone says it otherwise.
        let revision = option_env!("OUTBOXD_REVISION").unwrap_or("unknown");
        let build = make.float_family(
            "outboxd_build_info",
            "Always 1; the version of outboxd and the revision of its source are labels",
            &[Label::of("version", &["of the package"]), Label::of("revision", &["of the source"])],
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1.0);
        make.foreign(ProcessCollector::for_self(), &PROCESS);
        make.total(&log::DROPPED);
        make.total(&log::PANICS);
        let process = Self {
            ready: make.gauge("outboxd_ready", "1 when deliveries can be made, as /readyz says"),
            daemons: make
                .gauge("outboxd_daemons", "Daemons alive on this database, as this one sees it"),
            reload_ok: make.gauge(
                "outboxd_config_last_reload_successful",
                "1 when the last reload of the configuration was accepted, or there was none",
            ),
            reloaded_at: make.float(
                "outboxd_config_last_reload_timestamp_seconds",
                "When the configuration in force was taken over, at the start or by a reload, in \
                 unix seconds",
            ),
        };
        process.reloaded();
        process
    }

    /// The configuration was taken over.
    pub fn reloaded(&self) {
        self.reload_ok.set(1);
        self.reloaded_at.set(unix_seconds());
    }

    /// A configuration was refused; the one before stays in force.
    pub fn reload_failed(&self) {
        self.reload_ok.set(0);
    }

    /// Whether deliveries can be made.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// How many daemons live.
    pub fn daemons(&self, alive: i64) {
        self.daemons.set(alive);
    }
}
