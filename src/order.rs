//! The order loop: lets go what is first of its key although nobody did when it became that. A crash
//! may have come between, or a cancellation, a replay, or another setting of the endpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::promote::Place;

/// Between two rounds over all keys.
const ROUND: Duration = Duration::from_secs(1);
/// Between two parts of a round.
const PAUSE: Duration = Duration::from_millis(100);
/// Keys of endpoints looked at in one part.
const PAGE: i32 = 500;

/// What keeping order works with.
pub struct OrderLoop {
    /// The database.
    pub store: Store,
    /// Told of what is due.
    pub deliverer: Arc<Deliverer>,
}

impl OrderLoop {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut place = Place::default();
        loop {
            let wait = match self.turn(&mut place).await {
                Ok(wait) => {
                    backoff.reset();
                    wait
                }
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("order", &error);
                    backoff.pause()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// A part of a round, and how long to wait for the next. Without anything that is ordered it is
    /// a probe of an empty index.
    async fn turn(&self, place: &mut Place) -> Result<Duration, StoreError> {
        if self.deliverer.holder.borrow().is_none() {
            return Ok(ROUND);
        }
        let promoted = self.store.promote_page(place, PAGE).await?;
        self.deliverer.note_promoted(&promoted.endpoints);
        if promoted.more {
            return Ok(PAUSE);
        }
        let full = promoted.looked >= i64::from(PAGE);
        *place = promoted.last.filter(|_| full).unwrap_or_default();
        Ok(if full { PAUSE } else { ROUND })
    }
}
