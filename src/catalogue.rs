//! The endpoints and the event types, kept at the revision that the database has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::config::Config;
use crate::deliver::Deliverer;
use crate::endpoint::{EndpointKey, EndpointRow, Endpoints, Rules};
use crate::event_types::EventTypes;
use crate::sign;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::secrets::Stored;

/// Loads endpoints and event types when they have changed.
pub struct Catalogue {
    store: Store,
    deliverer: Arc<Deliverer>,
    instances: AtomicUsize,
    event_types: RwLock<Arc<EventTypes>>,
    /// One load at a time; the others wait for it and use it. True until the first load: what was
    /// invalid before is judged again then, the configuration may have changed.
    load: Mutex<bool>,
}

impl Catalogue {
    /// Loads nothing yet.
    pub fn new(store: Store, deliverer: Arc<Deliverer>) -> Self {
        let instances = AtomicUsize::new(1);
        let event_types = RwLock::default();
        Self { store, deliverer, instances, event_types, load: Mutex::new(true) }
    }

    /// The endpoints at this revision or a later one.
    pub async fn at_least(&self, revision: i64) -> Result<Arc<Endpoints>, StoreError> {
        let current = self.deliverer.endpoints();
        if current.revision >= revision {
            return Ok(current);
        }
        let mut first = self.load.lock().await;
        let current = self.deliverer.endpoints();
        if current.revision >= revision {
            return Ok(current);
        }
        self.load(&mut first).await
    }

    /// The event types as they are now: never older than the endpoints are.
    pub fn event_types(&self) -> Arc<EventTypes> {
        self.event_types.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads again although nothing changed in the database: the configuration did.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let mut first = self.load.lock().await;
        *first = true;
        self.load(&mut first).await.map(drop)
    }

    /// The endpoints' limits are shared by so many daemons.
    pub fn share_among(&self, instances: usize) {
        if self.instances.swap(instances, Ordering::Relaxed) != instances {
            self.deliverer.adapt(self.deliverer.endpoints(), instances);
        }
    }

    async fn load(&self, first: &mut bool) -> Result<Arc<Endpoints>, StoreError> {
        let config = self.deliverer.config();
        let secrets = &config.secrets;
        // Before they are read, so that the change is part of what is read. Sweeping tries again.
        if let Err(error) = self.store.seal_plain(secrets).await {
            tracing::warn!(%error, "secrets that arrived in plain text are not encrypted yet");
        }
        let (mut revision, mut rows) = self.store.load_endpoints(&secrets.keyring).await?;
        let sender = self.deliverer.sender();
        let rules = Rules { policy: sender.policy(), profiles: &config.profiles };
        if *first && self.mend(&rows, rules).await? || self.give_secrets(&rows, &config).await? {
            (revision, rows) = self.store.load_endpoints(&secrets.keyring).await?;
        }
        *first = false;
        let (endpoints, invalid) = Endpoints::build(revision, &rows, rules);
        if !invalid.is_empty() {
            for (row, reason) in &invalid {
                let endpoint = row.name.as_str();
                tracing::warn!(endpoint, reason, "endpoint is invalid; its deliveries wait");
            }
            // Left out they are in any case; without the mark only people do not see it.
            if let Err(error) = self.store.mark_invalid(&invalid).await {
                tracing::error!(%error, "cannot mark invalid endpoints");
            }
        }
        let endpoints = Arc::new(endpoints);
        // Before the endpoints are replaced: who sees their revision sees these too.
        self.load_event_types().await?;
        self.deliverer.adapt(endpoints.clone(), self.instances.load(Ordering::Relaxed));
        self.deliverer.room.notify_one();
        Ok(endpoints)
    }

    async fn load_event_types(&self) -> Result<(), StoreError> {
        let rows = self.store.load_event_types().await?;
        let (event_types, unusable) = EventTypes::build(rows, &self.event_types());
        for (event_type, reason) in unusable {
            tracing::warn!(event_type, reason, "schema cannot be used; its events go unchecked");
        }
        *self.event_types.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(event_types);
        Ok(())
    }

    /// Activates what is invalid no longer; says whether there was anything.
    async fn mend(&self, rows: &[EndpointRow], rules: Rules<'_>) -> Result<bool, StoreError> {
        let mended: Vec<EndpointKey> = rows
            .iter()
            .filter(|row| row.state == "invalid")
            .filter(|row| {
                let row = EndpointRow { state: "active".to_owned(), ..(*row).clone() };
                Endpoints::build(0, &[row], rules).1.is_empty()
            })
            .map(|row| row.key)
            .collect();
        if !mended.is_empty() {
            self.store.mark_mended(&mended).await?;
        }
        Ok(!mended.is_empty())
    }

    /// Endpoints that plain SQL created have no secret yet, and get one where it is of use to the
    /// receiver; says whether there were any.
    async fn give_secrets(
        &self,
        rows: &[EndpointRow],
        config: &Config,
    ) -> Result<bool, StoreError> {
        let wants_one = |row: &&EndpointRow| {
            let profile = config.profiles.named(&row.profile);
            row.state == "active"
                && row.secrets.is_empty()
                && row.secret_problem.is_none()
                && profile.is_ok_and(|profile| profile.generates_secrets())
        };
        let mut gave = false;
        for row in rows.iter().filter(wants_one) {
            let generated = sign::generate().map_err(|error| error.to_string());
            let stored = generated.and_then(|plain| {
                Stored::new(&plain, &config.secrets).map_err(|error| error.to_string())
            });
            let stored = stored.map_err(StoreError::Unfit)?;
            self.store.give_secret(row.key, &stored).await?;
            gave = true;
        }
        Ok(gave)
    }
}
