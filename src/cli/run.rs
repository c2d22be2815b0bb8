//! `outboxd run`: the daemon until a signal ends it.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Global;
use super::failure::{Code, Failure};
use crate::config::{Config, Loaded, changed};
use crate::daemon::{Daemon, DaemonError};
use crate::health::Health;
use crate::log::{self, LogLevel};
use crate::metrics::Metrics;
use crate::systemd;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the daemon.
///
/// # Errors
/// When it cannot start: configuration, database, or address.
pub async fn run(global: &Global, _args: Args) -> Result<(), Failure> {
    let loaded = global.load()?;
    let level = log::start(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = loaded.config.secrets.warning() {
        tracing::warn!("{warning}");
    }
    let signals = Signals::listen().map_err(|error| Failure::failed(error.to_string()))?;
    let (changes_in, changes) = watch::channel(Arc::new(loaded.config.clone()));
    let daemon = Daemon::new(changes).await.map_err(failure)?;
    let stop = CancellationToken::new();
    let (metrics, health) = (daemon.metrics(), daemon.health());
    let watcher = Watcher { loaded, level, changes: changes_in, metrics, health };
    let outcome = tokio::select! {
        outcome = daemon.run(stop.clone()) => outcome.map_err(failure),
        never = watcher.watch(global, signals, stop.clone()) => match never {},
    };
    log::finish();
    outcome
}

fn failure(error: DaemonError) -> Failure {
    let code = match error {
        DaemonError::Database { .. } => Code::Database,
        DaemonError::Bind(_) | DaemonError::Panicked => Code::Failed,
        DaemonError::Sender(_) | DaemonError::MasterKey(_) => Code::Configuration,
    };
    Failure { code, message: error.to_string() }
}

/// The signals that the daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Turns signals into a stop, or another configuration.
struct Watcher {
    loaded: Loaded,
    level: Option<LogLevel>,
    changes: watch::Sender<Arc<Config>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Watcher {
    async fn watch(
        mut self,
        global: &Global,
        mut signals: Signals,
        stop: CancellationToken,
    ) -> std::convert::Infallible {
        loop {
            let ending = tokio::select! {
                _ = signals.terminate.recv() => "SIGTERM",
                _ = signals.interrupt.recv() => "SIGINT",
                _ = signals.hang_up.recv() => {
                    systemd::reloading();
                    self.reload(global);
                    systemd::ready(&self.health.status());
                    continue;
                }
            };
            if stop.is_cancelled() {
                tracing::warn!(signal = ending, "told twice to stop: stopping at once");
                std::process::exit(Code::Failed as i32);
            }
            tracing::info!(signal = ending, "stopping");
            stop.cancel();
        }
    }

    /// Reads the configuration again; a bad one changes nothing.
    fn reload(&mut self, global: &Global) {
        let fresh = match global.load() {
            Ok(fresh) => fresh,
            Err(failure) => {
                self.metrics.process.reload_failed();
                for problem in failure.message.lines() {
                    tracing::error!(problem, "the configuration was not reloaded");
                }
                return;
            }
        };
        for warning in &fresh.warnings {
            tracing::warn!("{warning}");
        }
        for change in changed(&self.loaded, &fresh) {
            let (key, before, after) =
                (change.after.key, &change.before.value, &change.after.value);
            if change.after.reload {
                tracing::info!(key, before, after, "reloaded");
            } else {
                tracing::warn!(key, before, after, "this key needs a restart to take effect");
            }
        }
        if self.loaded.config.profiles != fresh.config.profiles {
            tracing::info!("profiles reloaded");
        }
        if let Some(level) = &self.level {
            level.set(&fresh.config.log.level);
        }
        // What needs a restart stays as it was.
        let Config { database, admin, delivery, .. } = self.loaded.config.clone();
        let fresh_config = fresh.config.clone();
        let ca_file = delivery.ca_file;
        let delivery = crate::config::Delivery { ca_file, ..fresh_config.delivery };
        let admin = crate::config::Admin { listen: admin.listen, ..fresh_config.admin };
        let config = Config { database, admin, delivery, ..fresh_config };
        // The daemon may still refuse a part of it, and says so in the same metric.
        self.metrics.process.reloaded();
        self.changes.send_replace(Arc::new(config.clone()));
        self.loaded = Loaded { config, ..fresh };
    }
}
