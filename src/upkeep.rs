//! The upkeep loop: writes to the database what loading found out about endpoints. What arrived in
//! plain text is sealed, what has no secret is given one, what cannot be used is marked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::catalogue::{Catalogue, Chores};
use crate::deliver::Deliverer;
use crate::endpoint::EndpointKey;
use crate::sign;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::secrets::Stored;

/// The longest pause before what could not be done, such as for a lock, is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After a secret has expired here, until it certainly has in the database.
const EXPIRED: Duration = Duration::from_millis(50);
/// How often it is looked for what nobody announced, such as a secret sealed by nobody yet.
const ROUND: Duration = Duration::from_secs(5);
/// Endpoints written in one transaction.
const BATCH: usize = 500;

/// What the upkeep works with.
pub struct Upkeep {
    /// The database.
    pub store: Store,
    /// For the configuration and the metrics.
    pub deliverer: Arc<Deliverer>,
    /// Tells what there is to do.
    pub catalogue: Arc<Catalogue>,
}

impl Upkeep {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut done = Chores::default();
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.turn(&mut done).await {
                Ok(()) => {
                    backoff.reset();
                    let left = |at: Instant| at.saturating_duration_since(Instant::now());
                    let expiry = self.catalogue.next_expiry().map(|at| left(at) + EXPIRED);
                    expiry.map_or(ROUND, |expiry| expiry.min(ROUND))
                }
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("upkeep", &error);
                    backoff.pause().min(AGAIN)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.catalogue.loaded.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// All parts, whatever becomes of the others; the first error is returned. Every part holds only
    /// for what is still as it was found, so that doing it twice does no harm; but it counts as a
    /// change, after which all is loaded again, so what was done and left no trace is not repeated.
    async fn turn(&self, done: &mut Chores) -> Result<(), StoreError> {
        if self.deliverer.holder.borrow().is_none() {
            return Ok(());
        }
        if self.catalogue.next_expiry().is_some_and(|at| at <= Instant::now()) {
            self.catalogue.refresh().await?;
        }
        let config = self.deliverer.config();
        failpoint!("upkeep.before_seal"?);
        let sealed = self.store.seal_plain(&config.secrets).await;
        failpoint!("upkeep.after_seal"?);
        let chores = self.catalogue.chores();
        if chores != *done {
            self.note(&chores).await?;
            self.catalogue.done(&chores);
            *done = chores;
        }
        sealed.map(drop)
    }

    async fn note(&self, chores: &Chores) -> Result<(), StoreError> {
        let Chores { invalid, mended, without_secret, .. } = chores;
        let given = self.give_secrets(without_secret).await;
        let mut marked = Ok(());
        for batch in invalid.chunks(BATCH) {
            marked = marked.and(self.store.mark_invalid(batch).await);
        }
        let mended = match &mended[..] {
            [] => Ok(()),
            keys => self.store.mark_mended(keys).await,
        };
        given.and(marked).and(mended)
    }

    /// Endpoints that plain SQL created have no secret yet.
    async fn give_secrets(&self, endpoints: &[EndpointKey]) -> Result<(), StoreError> {
        let config = self.deliverer.config();
        for batch in endpoints.chunks(BATCH) {
            let generated: Result<Vec<Stored>, StoreError> = batch
                .iter()
                .map(|_| {
                    let plain = sign::generate().map_err(|error| error.to_string());
                    plain
                        .and_then(|plain| {
                            Stored::new(&plain, &config.secrets).map_err(|error| error.to_string())
                        })
                        .map_err(StoreError::Unfit)
                })
                .collect();
            self.store.give_secrets(batch, &generated?).await?;
        }
        Ok(())
    }
}
