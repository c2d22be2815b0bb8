//! The log: text on a terminal, JSON otherwise, unless the configuration says which.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

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

/// Starts the log on stderr. Returns `None` when one is running already.
pub fn start(log: &Log) -> Option<LogLevel> {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json | LogFormat::Journald => false,
    };
    let started = if text {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
        registry.with(layer).try_init()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    started.ok().map(|()| LogLevel(handle))
}
