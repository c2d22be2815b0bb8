//! What becomes of an event over which its batch fails: quarantine, and the others flow.

use super::{FanOut, Pace};
use crate::store::error::StoreError;
use crate::store::set_aside::Unusable;

impl FanOut {
    /// After a batch failed: where something that is stored was at fault, finds out which event, and
    /// puts it into quarantine; else, has the next batches hold one event each until it is found.
    /// Returns whether it is worth going on at once.
    pub(super) async fn set_aside(&self, pace: &mut Pace, error: &StoreError) -> bool {
        if !error.is_of_a_row() {
            return false;
        }
        match self.find_unusable(pace, error).await {
            Ok(unusable) if unusable.is_empty() => {
                let smaller = error.is_bad_value() && pace.limit > 1;
                pace.limit = 1;
                smaller
            }
            Ok(unusable) => {
                for Unusable { seq, reason } in unusable {
                    tracing::error!(event_seq = seq, reason, "event put into quarantine");
                }
                true
            }
            Err(error) => {
                // Among more of them there may be one that shows that it is the others.
                pace.limit = pace.part.batch();
                tracing::error!(%error, "cannot find the event over which its batch failed");
                false
            }
        }
    }

    async fn find_unusable(
        &self,
        pace: &Pace,
        error: &StoreError,
    ) -> Result<Vec<Unusable>, StoreError> {
        let unreadable = self.store.set_aside_unreadable(pace.limit, pace.from).await?;
        match pace.alone {
            // It can be read, and the database refuses what is made of it.
            Some(seq) if unreadable.is_empty() && error.is_bad_value() => {
                let reason = format!("the event cannot be fanned out: {error}");
                let refused = Unusable { seq, reason };
                self.store.set_aside(&refused).await?;
                Ok(vec![refused])
            }
            _ => Ok(unreadable),
        }
    }
}
