//! Takes over changes of the configuration while the daemon runs.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{build_sender, keys};
use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::deliver::Deliverer;
use crate::store::Store;

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
    /// What was read.
    pub changes: watch::Receiver<Arc<Config>>,
    /// What the loops work with.
    pub accepted: watch::Sender<Arc<Config>>,
}

impl Reload {
    /// Runs until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let fresh = tokio::select! {
                fresh = self.next() => fresh,
                () = stop.cancelled() => return,
            };
            let Some(config) = fresh else { return };
            self.accepted.send_replace(config.clone());
            match build_sender(&config, &self.own) {
                Ok(sender) => {
                    let current = self.deliverer.sender.write();
                    *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(sender);
                }
                Err(error) => tracing::error!(%error, "the HTTP client stays as it was"),
            }
            if let Err(error) = self.catalogue.reload().await {
                tracing::warn!(%error, "endpoints are judged again when the database is back");
            }
        }
    }

    /// The next configuration, with the master keys that it may have. `None`: there is no more.
    async fn next(&mut self) -> Option<Arc<Config>> {
        self.changes.changed().await.ok()?;
        let mut backoff = Backoff::default();
        loop {
            // Of several in a row, the last.
            let fresh = self.changes.borrow_and_update().clone();
            let current = self.accepted.borrow().secrets.clone();
            let opens = |id: &str| fresh.secrets.keyring.ids().any(|known| known == id);
            if current.keyring.ids().all(opens) {
                return Some(fresh);
            }
            match keys::missing(&self.store, &fresh.secrets.keyring).await {
                Ok(None) => return Some(fresh),
                Ok(Some(missing)) => {
                    self.deliverer.metrics.reload_ok.set(0);
                    tracing::error!("the master keys stay as they were: {missing}");
                    return Some(Arc::new(Config { secrets: current, ..(*fresh).clone() }));
                }
                Err(error) => {
                    backoff.log("reload", &error);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }
}
