//! The endpoints and the event types, kept at the revision that the database has.
//!
//! Loading only reads. What is found out on the way (an endpoint that cannot be used, one without a
//! secret) is noted for `upkeep`, so that nobody who keeps a lock holds up the events of others.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::config::{Config, Validate};
use crate::deliver::Deliverer;
use crate::endpoint::{EndpointKey, EndpointRow, Endpoints, Rules};
use crate::event_types::EventTypes;
use crate::store::Store;
use crate::store::endpoints::{Catalogued, Invalid, Reading, Wanted};
use crate::store::error::StoreError;
use crate::store::fan_out::Batch;

/// Loads endpoints and event types when they have changed.
pub struct Catalogue {
    store: Store,
    deliverer: Arc<Deliverer>,
    instances: AtomicUsize,
    event_types: RwLock<Arc<EventTypes>>,
    /// One load at a time; the others wait for it and use it.
    load: Mutex<()>,
    /// How often it was asked to judge again what is invalid, because the configuration may be
    /// another than that of the daemon which judged it; and up to which time that was done, with
    /// what came of it written.
    judge_again: AtomicU64,
    judged: AtomicU64,
    /// When the next secret expires.
    next_expiry: RwLock<Option<Instant>>,
    chores: RwLock<Chores>,
    /// Wakes the upkeep: something was loaded.
    pub loaded: Notify,
}

/// What the database does not know yet of the endpoints as they were loaded last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chores {
    /// To be marked, each with the reason.
    pub invalid: Vec<Invalid>,
    /// To be activated.
    pub mended: Vec<EndpointKey>,
    /// To be given a secret.
    pub without_secret: Vec<EndpointKey>,
    /// Up to which request what is invalid was judged again.
    judged: u64,
}

impl Catalogue {
    /// Loads nothing yet.
    pub fn new(store: Store, deliverer: Arc<Deliverer>) -> Self {
        Self {
            store,
            deliverer,
            instances: AtomicUsize::new(1),
            event_types: RwLock::default(),
            load: Mutex::default(),
            judge_again: AtomicU64::new(1),
            judged: AtomicU64::new(0),
            next_expiry: RwLock::default(),
            chores: RwLock::default(),
            loaded: Notify::new(),
        }
    }

    /// The endpoints at this revision or a later one.
    pub async fn at_least(&self, revision: i64) -> Result<Arc<Endpoints>, StoreError> {
        if let Some(current) = self.current(revision) {
            return Ok(current);
        }
        let reading = self.store.reading().await?;
        match self.older_than(revision).await {
            Ok(current) => Ok(current),
            Err(turn) => self.load(&turn, reading).await,
        }
    }

    /// The endpoints, no older than what the events of a batch were read with. The batch is kept:
    /// else endpoints that change all the time would be newer than every batch.
    pub async fn at_least_of(&self, batch: &mut Batch) -> Result<Arc<Endpoints>, StoreError> {
        match self.older_than(batch.revision).await {
            Ok(current) => Ok(current),
            Err(turn) => {
                let judging = self.judging();
                let found = batch.load_catalogue(wanted(&judging.config)).await?;
                Ok(self.publish(&turn, judging, found).await)
            }
        }
    }

    /// The event types as they are now: never older than the endpoints are.
    pub fn event_types(&self) -> Arc<EventTypes> {
        self.event_types.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is left to do for the endpoints as they were loaded last.
    pub fn chores(&self) -> Chores {
        self.chores.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chores are done: what they hold is in the database.
    pub fn done(&self, chores: &Chores) {
        self.judged.fetch_max(chores.judged, Ordering::Relaxed);
    }

    /// When a secret expires next, and what signs has to be looked up again.
    pub fn next_expiry(&self) -> Option<Instant> {
        *self.next_expiry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads again although nothing changed in the database: the configuration did.
    pub async fn reload(&self) -> Result<(), StoreError> {
        self.judge_again.fetch_add(1, Ordering::Relaxed);
        self.refresh().await
    }

    /// Loads again: time has passed.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let reading = self.store.reading().await?;
        let turn = self.load.lock().await;
        self.load(&turn, reading).await.map(drop)
    }

    /// The endpoints' limits are shared by so many daemons. One that came or went may have judged
    /// endpoints by another configuration.
    pub async fn share_among(&self, instances: usize) -> Result<(), StoreError> {
        if self.instances.swap(instances, Ordering::Relaxed) != instances {
            self.reload().await?;
        }
        Ok(())
    }

    /// The endpoints, if they are new enough; else the turn to load them.
    async fn older_than(&self, revision: i64) -> Result<Arc<Endpoints>, MutexGuard<'_, ()>> {
        if let Some(current) = self.current(revision) {
            return Ok(current);
        }
        let turn = self.load.lock().await;
        self.current(revision).ok_or(turn)
    }

    fn current(&self, revision: i64) -> Option<Arc<Endpoints>> {
        let checks = self.deliverer.config().events.validate != Validate::Off;
        let current = self.deliverer.endpoints();
        let complete = !checks || self.event_types().is_loaded();
        (current.revision >= revision && complete).then_some(current)
    }

    async fn load(
        &self,
        turn: &MutexGuard<'_, ()>,
        reading: Reading,
    ) -> Result<Arc<Endpoints>, StoreError> {
        let judging = self.judging();
        let found = reading.load_catalogue(wanted(&judging.config)).await?;
        Ok(self.publish(turn, judging, found).await)
    }

    /// What a load goes by. The request first: a configuration that is newer than it does no harm.
    fn judging(&self) -> Judging {
        let request = self.judge_again.load(Ordering::Relaxed);
        Judging { request, config: self.deliverer.config() }
    }

    /// Judges what was loaded, and lets the others see it.
    async fn publish(
        &self,
        _turn: &MutexGuard<'_, ()>,
        Judging { request, config }: Judging,
        found: Catalogued,
    ) -> Arc<Endpoints> {
        let sender = self.deliverer.sender();
        let rules = Rules { policy: sender.policy(), profiles: &config.profiles };
        let event_types = self.compile(found.event_types).await;
        let (endpoints, judged) = Endpoints::build(found.revision, &found.endpoints, rules);
        // Until it is written: a load that somebody else's change caused must not forget it.
        let again = request > self.judged.load(Ordering::Relaxed);
        let invalid = judged.invalid.into_iter().map(|(row, reason)| {
            let endpoint = row.name.as_str();
            tracing::warn!(endpoint, reason, "endpoint is invalid; its deliveries wait");
            Invalid { endpoint: row.key, row_version: row.row_version.clone(), reason }
        });
        let chores = Chores {
            invalid: invalid.collect(),
            mended: if again { judged.mended } else { Vec::new() },
            without_secret: judged.without_secret,
            judged: request,
        };
        let secrets = found.endpoints.iter().flat_map(|row| &row.secrets);
        let next_expiry = secrets.filter_map(|(_, end)| *end).min();
        *self.next_expiry.write().unwrap_or_else(PoisonError::into_inner) = next_expiry;
        *self.event_types.write().unwrap_or_else(PoisonError::into_inner) = event_types;
        *self.chores.write().unwrap_or_else(PoisonError::into_inner) = chores;
        let endpoints = Arc::new(endpoints);
        // After the event types: who sees its revision sees those too.
        self.deliverer.adapt(endpoints.clone(), self.instances.load(Ordering::Relaxed));
        self.tell_ends(&found.endpoints, next_expiry);
        self.deliverer.room.notify_one();
        self.loaded.notify_one();
        endpoints
    }

    /// Tells the metrics when secrets end, by the clock of this machine.
    fn tell_ends(&self, rows: &[EndpointRow], next: Option<Instant>) {
        let (now, unix) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH));
        let unix = unix.unwrap_or_default();
        let of = |at: Instant| (unix + at.saturating_duration_since(now)).as_secs_f64();
        let ends: Vec<(EndpointKey, f64)> =
            rows.iter().filter_map(|row| Some((row.key, of(last_end(row)?)))).collect();
        self.deliverer.metrics.endpoints.secrets(&ends, next.map(of));
    }

    /// Compiles on a thread of its own: others want this one. Nothing where nothing is checked.
    async fn compile(&self, rows: Option<Vec<(String, String)>>) -> Arc<EventTypes> {
        let Some(rows) = rows else { return Arc::default() };
        let previous = self.event_types();
        let known = previous.clone();
        match tokio::task::spawn_blocking(move || EventTypes::build(rows, &known)).await {
            Ok((event_types, unusable)) => {
                for (event_type, reason) in unusable {
                    let what = "schema cannot be used; its events go unchecked";
                    tracing::warn!(event_type, reason, "{what}");
                }
                Arc::new(event_types)
            }
            Err(error) => {
                tracing::error!(%error, "schemas were not compiled; they stay as they were");
                previous
            }
        }
    }
}

/// When the last secret of an endpoint ends; none where one has no end, or there is none.
fn last_end(row: &EndpointRow) -> Option<Instant> {
    let ends: Option<Vec<Instant>> = row.secrets.iter().map(|(_, end)| *end).collect();
    ends?.into_iter().max()
}

/// What a load goes by.
struct Judging {
    request: u64,
    config: Arc<Config>,
}

fn wanted(config: &Config) -> Wanted<'_> {
    let event_types = config.events.validate != Validate::Off;
    Wanted { keys: &config.secrets.keyring, event_types }
}
