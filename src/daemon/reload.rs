//! Takes over changes of the configuration while the daemon runs.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{build_sender, keys, own_addresses};
use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::deliver::Deliverer;
use crate::store::Store;

/// How often it is looked up where the database is, so that nothing is delivered there.
const OWN_CHECK: Duration = Duration::from_secs(60);
/// Addresses of ours and of the database that are remembered.
const MAX_OWN: usize = 256;

/// What a reload changes.
pub(super) struct Reload {
    /// The database.
    pub store: Store,
    /// Gets the HTTP client.
    pub deliverer: Arc<Deliverer>,
    /// Judges the endpoints again.
    pub catalogue: Arc<Catalogue>,
    /// Where nothing is delivered to.
    pub own: Vec<SocketAddr>,
    /// Our own listener among them.
    pub admin_address: Option<SocketAddr>,
    /// What was read.
    pub changes: watch::Receiver<Arc<Config>>,
    /// What the loops work with.
    pub accepted: watch::Sender<Arc<Config>>,
}

impl Reload {
    /// Runs until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let changed = tokio::select! {
                changed = self.changes.changed() => changed,
                () = sleep(OWN_CHECK) => {
                    let config = self.accepted.borrow().clone();
                    if self.learn_own(&config).await {
                        self.replace_sender(&config);
                    }
                    continue;
                }
                () = stop.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
            let config = tokio::select! {
                config = self.next() => config,
                () = stop.cancelled() => return,
            };
            self.learn_own(&config).await;
            // Before anybody hears of it: what is forbidden from now on is not sent any more.
            self.replace_sender(&config);
            self.accepted.send_replace(config);
            if let Err(error) = self.catalogue.reload().await {
                tracing::warn!(%error, "endpoints are judged again when the database is back");
            }
        }
    }

    /// Looks up where the database is now; whether that is news. What was one of its addresses
    /// stays forbidden: names that change often change back.
    async fn learn_own(&mut self, config: &Config) -> bool {
        let before = self.own.len();
        for address in own_addresses(config, self.admin_address).await {
            if !self.own.contains(&address) && self.own.len() < MAX_OWN {
                self.own.push(address);
            }
        }
        self.own.len() > before
    }

    fn replace_sender(&self, config: &Config) {
        match build_sender(config, &self.own) {
            Ok(sender) => {
                let current = self.deliverer.sender.write();
                *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(sender);
            }
            Err(error) => tracing::error!(%error, "the HTTP client stays as it was"),
        }
    }

    /// The configuration to take over, with the master keys that it may have.
    async fn next(&mut self) -> Arc<Config> {
        let mut backoff = Backoff::default();
        loop {
            // Of several in a row, the last.
            let fresh = self.changes.borrow_and_update().clone();
            let current = self.accepted.borrow().secrets.clone();
            let opens = |id: &str| fresh.secrets.keyring.ids().any(|known| known == id);
            if current.keyring.ids().all(opens) {
                return fresh;
            }
            match keys::missing(&self.store, &fresh.secrets.keyring).await {
                Ok(None) => return fresh,
                Ok(Some(missing)) => {
                    self.deliverer.metrics.process.reload_failed();
                    tracing::error!("the master keys stay as they were: {missing}");
                    return Arc::new(Config { secrets: current, ..(*fresh).clone() });
                }
                Err(error) => {
                    backoff.log("reload", &error);
                    sleep(backoff.pause()).await;
                }
            }
        }
    }
}
