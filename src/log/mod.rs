//! The log: text on a terminal, fields of the journal under systemd, JSON elsewhere, unless the
//! configuration says which. One line for each thing that matters, and few about any one endpoint.

mod journal;
mod limit;
mod panics;
mod record;
mod writer;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Log, LogFormat};
use crate::metrics::Total;
use journal::Journal;
use limit::Limit;
pub use panics::PANICS;
use record::Record;
pub use record::steers;
use writer::Writer;

/// The log of this process, once it is started.
static RUNNING: OnceLock<Arc<Lines>> = OnceLock::new();

/// How many lines nobody read in time.
pub static DROPPED: Total = Total::new(
    "outboxd_log_lines_dropped_total",
    "Lines of the log that were not written, because whatever reads it did not keep up",
);
/// How long the end of the daemon waits for the last lines to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// Changes the level of a running log.
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Takes over another level; a filter that does not parse changes nothing.
    pub fn set(&self, level: &str) {
        if let Ok(filter) = EnvFilter::try_new(level) {
            // Fails only when the log is gone, at the end of the process.
            self.0.reload(filter).ok();
        }
    }
}

/// Starts the log on stderr, or in the journal. Returns `None` when one is running already.
pub fn start(log: &Log) -> Option<LogLevel> {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = Arc::new(Lines {
        form: Form::of(log.format),
        writer: Writer::start(),
        dropped: AtomicU64::new(0),
        limit: Limit::default(),
    });
    let layer = ToLines(lines.clone());
    tracing_subscriber::registry().with(filter).with(layer).try_init().ok()?;
    RUNNING.set(lines).ok();
    panics::watch();
    Some(LogLevel(handle))
}

/// Says what was left out about endpoints, where that is over; to be called now and then.
pub fn report_left_out() {
    if let Some(lines) = RUNNING.get() {
        lines.report_left_out(Instant::now());
    }
}

/// Says all that was left out about endpoints, and waits until it is written: the daemon ends.
pub fn finish() {
    if let Some(lines) = RUNNING.get() {
        lines.report_left_out(Instant::now() + limit::PERIOD);
    }
    flush();
}

fn flush() {
    if let Some(lines) = RUNNING.get() {
        lines.writer.flush(FLUSH);
    }
}

/// How lines look, and where they go.
enum Form {
    Text { colours: bool },
    Json,
    Journal(Journal),
}

impl Form {
    fn of(format: LogFormat) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        match format {
            LogFormat::Auto if terminal => Self::Text { colours },
            LogFormat::Auto if journal::is_stderr() => Self::Journal(Journal::new()),
            LogFormat::Text => Self::Text { colours },
            LogFormat::Journald => Self::Journal(Journal::new()),
            LogFormat::Auto | LogFormat::Json => Self::Json,
        }
    }

    /// What is to be written to stderr of it, if not the journal has taken it.
    fn line(&self, record: &Record) -> Option<String> {
        Some(match self {
            Self::Text { colours } => record.text_line(*colours),
            Self::Json => record.json_line(),
            Self::Journal(journal) => match journal.send(record) {
                Ok(()) => return None,
                // There is nobody else to tell.
                Err(_) => format!("<{}>{}\n", journal::priority(record.level), record.text()),
            },
        })
    }
}

/// What becomes of a line.
struct Lines {
    form: Form,
    writer: Writer,
    /// Lines that nobody has read, since that was last said.
    dropped: AtomicU64,
    limit: Limit,
}

impl Lines {
    fn take(&self, record: &Record, now: Instant) {
        self.report_left_out(now);
        // Who asks for details wants them all.
        let is_limited = record.level <= Level::INFO;
        let endpoint = record.endpoint().filter(|_| is_limited);
        if endpoint.is_none_or(|endpoint| self.limit.admits(endpoint, now)) {
            self.write(record);
        }
    }

    fn write(&self, record: &Record) {
        if !self.send(record) {
            DROPPED.inc();
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && !self.send(&Record::of_dropped(dropped)) {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    fn send(&self, record: &Record) -> bool {
        self.form.line(record).is_none_or(|line| self.writer.write(line))
    }

    fn report_left_out(&self, now: Instant) {
        for (endpoint, left_out) in self.limit.over(now) {
            self.write(&Record::of_left_out(&endpoint, left_out));
        }
    }
}

/// Hears of everything that is logged.
struct ToLines(Arc<Lines>);

impl<S: Subscriber> Layer<S> for ToLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.take(&Record::of(event), Instant::now());
    }
}
