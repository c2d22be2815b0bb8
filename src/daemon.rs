//! The daemon: builds everything from the configuration, starts the loops, and ends them in order.

mod drain;
mod files;
mod keys;
mod own;
mod reload;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, BindError, Bound};
use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::claim::Claim;
use crate::config::Config;
use crate::deliver::{Deliverer, Parts};
use crate::fan_out::FanOut;
use crate::fleet::FleetLoop;
use crate::guard::Policy;
use crate::health::Health;
use crate::log;
use crate::metrics::Metrics;
use crate::order::OrderLoop;
use crate::presence::PresenceLoop;
use crate::recorder::{self, Recorder};
use crate::sampler::Sampler;
use crate::send::{Sender, SenderError};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::instance::Identity;
use crate::sweep::Sweep;
use crate::systemd;
use crate::upkeep::Upkeep;
use drain::Drain;
use reload::Reload;

pub(crate) use own::own_addresses;

/// How often the service manager is told what the daemon does.
const STATUS: Duration = Duration::from_secs(10);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The database refuses for good, or is not fit.
    #[error("{target}: {error}")]
    Database {
        /// `user@host:port/database`.
        target: String,
        /// What is wrong.
        error: StoreError,
    },
    /// The secrets in the database are encrypted, and none can be opened: what is missing.
    #[error("{0}")]
    MasterKey(String),
    /// The admin address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// One of its loops panicked.
    #[error("a part of the daemon panicked, which ended all of it; the log says which")]
    Panicked,
}

/// A daemon that has been set up, and listens, but does no work yet.
pub struct Daemon {
    config: Arc<Config>,
    /// The configuration that the loops work with.
    accepted: watch::Sender<Arc<Config>>,
    /// What was read since.
    changes: watch::Receiver<Arc<Config>>,
    store: Store,
    bound: Bound,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Daemon {
    /// Sets up, and binds the admin listener. `changes` brings later configurations.
    ///
    /// # Errors
    /// See [`DaemonError`].
    pub async fn new(changes: watch::Receiver<Arc<Config>>) -> Result<Self, DaemonError> {
        let config = changes.borrow().clone();
        let target = config.database.url.target();
        let store = Store::new(&config.database.url, config.database.pool_size)
            .map_err(|error| DaemonError::Database { target, error })?;
        let metrics = Arc::new(Metrics::new());
        let told = metrics.clone();
        let store = store.telling_waits(move |wait| told.database.waited(wait));
        let bound = Bound::bind(&config.admin.listen).await?;
        Ok(Self {
            accepted: watch::channel(config.clone()).0,
            config,
            changes,
            store,
            bound,
            metrics,
            health: Arc::new(Health::new()),
        })
    }

    /// The address of metrics and health, where it is TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.bound.address()
    }

    /// Its metrics.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// How it is.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// The configuration that it works with: the first, then what it has accepted of the changes.
    pub fn accepted(&self) -> watch::Receiver<Arc<Config>> {
        self.accepted.subscribe()
    }

    /// Works until it is stopped, then drains.
    ///
    /// # Errors
    /// Before any work was done, see [`DaemonError`]; and after it, when a loop panicked.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DaemonError> {
        let admin_address = self.bound.address();
        let own = own_addresses(&self.config, admin_address).await;
        let sender = build_sender(&self.config, &own)?;
        let admin = Admin {
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            store: self.store.clone(),
            config: self.changes.clone(),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database = self.store.target(),
            admin = self.bound.describe(),
            "outboxd starts"
        );
        files::check(&self.config);
        let admin_stop = CancellationToken::new();
        let admin_task = tokio::spawn(self.bound.serve(admin, admin_stop.clone()));
        let feeder = tokio::spawn(feed(self.health.clone()));
        let fit = wait_until_fit(&self.store, &self.changes, &self.health, &stop).await;
        let outcome = match fit {
            Ok(Some(config)) => {
                if !Arc::ptr_eq(&config, &self.config) {
                    self.accepted.send_replace(config);
                }
                let work = Work {
                    store: self.store,
                    sender,
                    own,
                    admin_address,
                    accepted: self.accepted,
                    changes: self.changes,
                    metrics: self.metrics,
                    health: self.health,
                };
                work.run(stop).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        feeder.abort();
        admin_stop.cancel();
        // It was told to stop, and logs its own failure.
        admin_task.await.ok();
        tracing::info!("outboxd has stopped");
        outcome
    }
}

/// What sends, as the configuration has it.
pub(crate) fn build_sender(config: &Config, own: &[SocketAddr]) -> Result<Sender, SenderError> {
    let delivery = &config.delivery;
    let policy = Policy {
        allow: delivery.allow.clone(),
        https_only: delivery.https_only,
        own: own.to_vec(),
    };
    Sender::new(Arc::new(policy), delivery.connect_timeout, delivery.ca_file.as_deref())
}

/// Waits for a database that can be worked on with the configuration, which is returned; none when
/// stopped before. The service manager hears that the daemon is up as soon as the database is fit,
/// or away; of one that is wrong it does not, so that the start fails where it was asked for.
async fn wait_until_fit(
    store: &Store,
    changes: &watch::Receiver<Arc<Config>>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<Option<Arc<Config>>, DaemonError> {
    let mut backoff = Backoff::default();
    loop {
        let config = changes.borrow().clone();
        let fit = match check_fitness(store).await {
            Ok(()) => keys::missing(store, &config.secrets.keyring).await,
            Err(error) => Err(error),
        };
        match fit {
            Ok(None) => {
                systemd::ready("delivering");
                return Ok(Some(config));
            }
            Ok(Some(missing)) => return Err(DaemonError::MasterKey(missing)),
            Err(error) if error.is_permanent() => {
                return Err(DaemonError::Database { target: store.target(), error });
            }
            Err(error) => {
                health.not_ready(format!("waiting for the database: {error}"));
                systemd::ready(&health.status());
                backoff.log("start", &error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

async fn check_fitness(store: &Store) -> Result<(), StoreError> {
    let facts = store.facts().await?;
    if let Some(problem) = facts.problem() {
        return Err(StoreError::Unfit(problem));
    }
    for setting in &facts.unsafe_settings {
        tracing::warn!("{setting}: a crash of the database can lose committed events");
    }
    if let Some(problem) = store.schema_state().await?.problem() {
        return Err(StoreError::Unfit(problem));
    }
    let missing = store.missing_rights().await?;
    if !missing.is_empty() {
        let list = missing.join("\n  ");
        return Err(StoreError::Unfit(format!("{} may not do its work:\n  {list}", facts.user)));
    }
    Ok(())
}

/// Feeds the watchdog while no loop is stuck, and keeps the status line current.
async fn feed(health: Arc<Health>) {
    let every = systemd::watchdog().unwrap_or(STATUS).min(STATUS);
    loop {
        if health.stuck().is_empty() {
            systemd::alive();
        }
        systemd::status(&health.status());
        log::report_left_out();
        tokio::time::sleep(every).await;
    }
}

/// Everything that the loops are made of.
struct Work {
    store: Store,
    sender: Sender,
    own: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    accepted: watch::Sender<Arc<Config>>,
    changes: watch::Receiver<Arc<Config>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Work {
    async fn run(self, stop: CancellationToken) -> Result<(), DaemonError> {
        let Self { store, sender, own, admin_address, accepted, changes, metrics, health } = self;
        let config = accepted.subscribe();
        let (holder_out, holder) = watch::channel(None);
        let (ended, ended_in) = mpsc::channel(recorder::WAITING);
        let deliverer = Arc::new(Deliverer::new(Parts {
            store: store.clone(),
            sender,
            config: config.clone(),
            holder,
            metrics,
            ended: ended.clone(),
        }));
        let catalogue = Arc::new(Catalogue::new(store.clone(), deliverer.clone()));
        let presence = PresenceLoop {
            store: store.clone(),
            deliverer: deliverer.clone(),
            catalogue: catalogue.clone(),
            identity: Identity { host: host_name(), pid: std::process::id().cast_signed() },
            holder: holder_out,
            health: health.clone(),
        };
        let fan_out = FanOut {
            store: store.clone(),
            deliverer: deliverer.clone(),
            catalogue: catalogue.clone(),
            health: health.clone(),
        };
        let claim = Claim {
            store: store.clone(),
            deliverer: deliverer.clone(),
            ended: ended.clone(),
            health: health.clone(),
        };
        let recorder = Recorder {
            store: store.clone(),
            deliverer: deliverer.clone(),
            ended: ended_in,
            health,
        };
        let broken = CancellationToken::new();
        // The loops that take work end first; presence, which guards the leases, ends last.
        let leave = CancellationToken::new();
        let presence = (spawn(&broken, presence.run(leave.clone())), leave);
        let last = CancellationToken::new();
        let recorder = (spawn(&broken, recorder.run(last.clone())), last);
        let sweep = Sweep { store: store.clone(), deliverer: deliverer.clone() };
        let sampler = Sampler { store: store.clone(), deliverer: deliverer.clone() };
        let fleet = FleetLoop { store: store.clone(), deliverer: deliverer.clone() };
        let upkeep = Upkeep {
            store: store.clone(),
            deliverer: deliverer.clone(),
            catalogue: catalogue.clone(),
        };
        let order = OrderLoop { store: store.clone(), deliverer: deliverer.clone() };
        let reload = Reload {
            store: store.clone(),
            deliverer: deliverer.clone(),
            catalogue,
            own,
            admin_address,
            changes,
            accepted,
        };
        let takers = [
            spawn(&broken, upkeep.run(stop.clone())),
            spawn(&broken, fan_out.run(stop.clone())),
            spawn(&broken, claim.run(stop.clone())),
            spawn(&broken, sweep.run(stop.clone())),
            spawn(&broken, sampler.run(stop.clone())),
            spawn(&broken, order.run(stop.clone())),
            spawn(&broken, fleet.run(stop.clone())),
            spawn(&broken, reload.run(stop.clone())),
        ];
        tokio::select! {
            () = stop.cancelled() => {}
            () = broken.cancelled() => {
                tracing::error!("a part of the daemon panicked: all of it ends, to be started again");
                stop.cancel();
            }
        }
        let grace = config.borrow().shutdown.grace;
        let drain = Drain { store, deliverer, ended, grace };
        drain.run(takers, recorder, presence).await;
        if broken.is_cancelled() { Err(DaemonError::Panicked) } else { Ok(()) }
    }
}

/// Starts a loop, without which the others would be half a daemon: tells when it panics.
fn spawn<T: Send + 'static>(
    broken: &CancellationToken,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let broken = broken.clone();
    tokio::spawn(async move {
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
            broken.cancel();
            resume_unwind(panic)
        })
    })
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
