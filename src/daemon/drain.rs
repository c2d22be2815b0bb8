//! The end of the daemon, in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::deliver::{Deliverer, Ended};
use crate::store::Store;
use crate::store::instance::Presence;
use crate::systemd;

/// Time for the last outcomes to reach the database, after the grace.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How many times that is waited for at most.
const LAST_STEPS: u32 = 6;

/// The end: no new work, the requests under way end or are cut, outcomes are written, leases are
/// given back.
pub(super) struct Drain {
    pub store: Store,
    pub deliverer: Arc<Deliverer>,
    pub ended: mpsc::Sender<Ended>,
    pub grace: Duration,
}

impl Drain {
    pub async fn run(
        self,
        takers: [JoinHandle<()>; 8],
        (recorder, last): (JoinHandle<()>, CancellationToken),
        (presence, leave): (JoinHandle<Option<Presence>>, CancellationToken),
    ) {
        systemd::stopping(self.grace + LAST_WRITES * LAST_STEPS);
        failpoint!("drain.begun");
        let under_way = self.deliverer.lanes().in_flight();
        tracing::info!(under_way, grace = ?self.grace, "draining");
        let taken = async {
            for taker in takers {
                // A loop that panicked has nothing left to give.
                taker.await.ok();
            }
        };
        // A loop may hold a batch that is about to be submitted: it is closed after them.
        tokio::time::timeout(LAST_WRITES, taken).await.ok();
        let queued = self.deliverer.lanes().close();
        for job in queued {
            let unsent = Ended::Unsent(job.lease(), Duration::ZERO);
            if self.ended.send_timeout(unsent, LAST_WRITES).await.is_err() {
                break;
            }
        }
        self.deliverer.requests.close();
        failpoint!("drain.closed");
        let drained = tokio::time::timeout(self.grace, self.deliverer.requests.wait()).await;
        if drained.is_err() {
            let cut = self.deliverer.lanes().in_flight();
            tracing::warn!(cut, "the grace is over; requests are cut and will be repeated");
            self.deliverer.abort.cancel();
            tokio::time::timeout(LAST_WRITES, self.deliverer.requests.wait()).await.ok();
        }
        failpoint!("drain.requests_done");
        last.cancel();
        let written = matches!(tokio::time::timeout(LAST_WRITES, recorder).await, Ok(Ok(())));
        failpoint!("drain.recorded");
        leave.cancel();
        if let Ok(Ok(Some(presence))) = tokio::time::timeout(LAST_WRITES, presence).await
            && written
        {
            // Without it the others find out by the lock.
            tokio::time::timeout(LAST_WRITES, presence.leave(&self.store)).await.ok();
        }
    }
}
