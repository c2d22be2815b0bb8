//! Order: what was behind an earlier event of its key is let go, and claimed.

use std::time::Instant;

use super::Deliverer;
use crate::endpoint::EndpointKey;
use crate::event::Lease;
use crate::store::error::StoreError;
use crate::store::promote::Promoted;

impl Deliverer {
    /// Lets go what was behind an event of these keys that has been fanned out. When that fails, the
    /// order loop does it a little later.
    pub async fn promote_keys(&self, keys: &[String]) {
        if !keys.is_empty() {
            self.promoted(self.store.promote_keys(keys).await);
        }
    }

    /// Lets go what was behind these deliveries, which have ended. When that fails, the order loop
    /// does it a little later.
    pub async fn promote_after(&self, ended: &[Lease]) {
        if !ended.is_empty() {
            self.promoted(self.store.promote_after(ended).await);
        }
    }

    fn promoted(&self, promoted: Result<Promoted, StoreError>) {
        match promoted {
            Ok(promoted) => self.note_promoted(&promoted.endpoints),
            Err(error) => {
                self.metrics.database.failed(&error);
                tracing::warn!(%error, "cannot let go what is next of its key; it waits a little");
            }
        }
    }

    /// Has claimed what was let go.
    pub fn note_promoted(&self, endpoints: &[EndpointKey]) {
        if endpoints.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut lanes = self.lanes();
        for endpoint in endpoints {
            lanes.note_due(*endpoint, now);
        }
        drop(lanes);
        self.room.notify_one();
    }
}
