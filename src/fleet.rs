//! The fleet loop: endpoints that take nothing for long are paused, unless most fail together: then
//! the fault is likely ours, which is said, and nobody is paused or disabled for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::store::Store;
use crate::store::error::StoreError;

/// Between two looks at how many endpoints fail.
const LOOK: Duration = Duration::from_secs(1);
/// Between two rounds of noting who fails, and pausing; less where endpoints are paused soon.
const ROUND: Duration = Duration::from_secs(60);
/// Rounds within the time after which an endpoint is paused.
const ROUNDS: u32 = 10;

/// What the loop works with.
pub struct FleetLoop {
    /// The database.
    pub store: Store,
    /// For the lanes, the configuration and the metrics.
    pub deliverer: Arc<Deliverer>,
}

impl FleetLoop {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut outage = false;
        let mut noted = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            self.look(&mut outage);
            let pause_after = self.deliverer.config().delivery.pause_after;
            let round = pause_after.map_or(ROUND, |after| (after / ROUNDS).min(ROUND));
            if noted.elapsed() < round || self.deliverer.holder.borrow().is_none() {
                continue;
            }
            noted = Instant::now();
            match self.round(pause_after.filter(|_| !outage)).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("pausing endpoints", &error);
                }
            }
        }
    }

    fn look(&self, outage: &mut bool) {
        let (fleet, open) = {
            let lanes = self.deliverer.lanes();
            (lanes.fleet(Instant::now()), lanes.open_circuits())
        };
        self.deliverer.metrics.endpoints.circuits(&open);
        let before = std::mem::replace(outage, fleet.is_outage());
        self.deliverer.metrics.endpoints.outage.set(i64::from(*outage));
        let (failing, heard) = (fleet.failing, fleet.heard);
        match (before, *outage) {
            (false, true) => tracing::error!(
                failing,
                heard,
                "most endpoints fail together: look at the network, the name service and the root \
                 certificates of this machine; nobody is paused or disabled meanwhile"
            ),
            (true, false) => tracing::info!(failing, heard, "most endpoints are well again"),
            _ => {}
        }
    }

    async fn round(&self, pause_after: Option<Duration>) -> Result<(), StoreError> {
        self.store.note_failing().await?;
        if let Some(after) = pause_after {
            for endpoint in self.store.pause_failing(after).await? {
                tracing::warn!(endpoint, ?after, "endpoint paused: it took nothing for so long");
            }
        }
        Ok(())
    }
}
