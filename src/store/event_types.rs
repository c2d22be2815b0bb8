//! Reading the catalogue of event types, as the daemon needs it.

use super::Transaction;
use super::error::StoreError;

impl Transaction {
    /// The event types that have a schema, each with its text.
    ///
    /// # Errors
    /// Of the database.
    pub(super) async fn event_types(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self.query_once(include_str!("../../sql/load_event_types.sql")).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}
