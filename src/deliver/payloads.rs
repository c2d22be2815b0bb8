//! Payloads that are too large to travel with a batch: loaded one by one, so many bytes at once.

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::store::Store;
use crate::store::claim::Loaded;
use crate::store::error::StoreError;
use crate::store::fan_out::LARGEST_PAYLOAD_BYTES;

/// What the schema admits, and how many of that size are in memory at once.
const USUAL_BYTES: i32 = 1024 * 1024;
const USUAL: usize = 32;
/// How many larger ones are: with the others, 64 MiB at most.
const HUGE: usize = 2;

/// Loads payloads, and bounds how much of them is in memory.
pub(super) struct Payloads {
    store: Store,
    usual: Semaphore,
    huge: Semaphore,
}

/// Why a payload was not loaded.
pub(super) enum Unloaded {
    /// Its event is gone.
    Gone,
    /// It cannot be read, or not be sent, and never can.
    Hopeless(String),
    /// The database failed.
    Failed(StoreError),
}

impl Payloads {
    pub(super) fn new(store: Store) -> Self {
        Self { store, usual: Semaphore::new(USUAL), huge: Semaphore::new(HUGE) }
    }

    /// A payload, and the room that it takes up.
    pub(super) async fn load(
        &self,
        event_seq: i64,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Unloaded> {
        let room = self.usual.acquire().await.ok();
        if let Ok(payload) = self.ask(event_seq, USUAL_BYTES).await? {
            return Ok((payload, room));
        }
        // Those that wait here must not hold up the others.
        drop(room);
        let room = self.huge.acquire().await.ok();
        match self.ask(event_seq, LARGEST_PAYLOAD_BYTES).await? {
            Ok(payload) => Ok((payload, room)),
            Err(bytes) => Err(Unloaded::Hopeless(format!(
                "the payload has {bytes} bytes; {LARGEST_PAYLOAD_BYTES} are the most"
            ))),
        }
    }

    /// The payload, or how large it is.
    async fn ask(&self, event_seq: i64, most: i32) -> Result<Result<Bytes, i32>, Unloaded> {
        match self.store.load_payload(event_seq, most).await {
            Ok(Loaded::Payload(payload)) => Ok(Ok(payload)),
            Ok(Loaded::Larger(bytes)) => Ok(Err(bytes)),
            Ok(Loaded::Gone) => Err(Unloaded::Gone),
            Err(error) if error.is_of_a_row() => {
                Err(Unloaded::Hopeless(format!("the payload cannot be read: {error}")))
            }
            Err(error) => Err(Unloaded::Failed(error)),
        }
    }
}
