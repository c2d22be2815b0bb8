//! Housekeeping: history partitions, old events, expired secrets, deliveries nobody owns.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{Param, Store, micros};

/// How far a sweep of old events has come.
#[derive(Clone, Copy, Debug)]
pub struct Swept {
    /// Events looked at.
    pub looked: i64,
    /// Of these, those past their retention; deleted unless something points at them.
    pub old: i64,
    /// How many were deleted.
    pub gone: i64,
    /// The last of those, or where the look began.
    pub last_seq: i64,
}

impl Store {
    /// Creates the partitions of history for the days ahead.
    pub async fn prepare_history(&self) -> Result<(), StoreError> {
        self.admin("SELECT outbox.prepare_history()", &[]).await.map(drop)
    }

    /// Drops the oldest day of history that ended longer ago. Returns how much there was to drop;
    /// none when somebody reads it.
    pub async fn drop_history(&self, keep: Duration) -> Result<Option<i32>, StoreError> {
        let sql = "SELECT outbox.drop_history($1 * interval '1 microsecond')";
        let rows = self.admin(sql, &[(&(micros(keep) as f64), Type::FLOAT8)]).await?;
        Ok(rows[0].try_get(0)?)
    }

    /// Empties the history of today. Returns whether it did.
    pub async fn empty_history(&self) -> Result<bool, StoreError> {
        let rows = self.admin("SELECT outbox.empty_history()", &[]).await?;
        Ok(rows[0].try_get(0)?)
    }

    /// Looks at a batch of events above `after`, and deletes those past their retention.
    pub async fn sweep_events(
        &self,
        after: i64,
        keep: Duration,
        limit: i64,
    ) -> Result<Swept, StoreError> {
        let keep_us = micros(keep);
        let params: [Param<'_>; 3] =
            [(&after, Type::INT8), (&keep_us, Type::INT8), (&limit, Type::INT8)];
        let rows = self.chore(include_str!("../../sql/sweep_events.sql"), &params).await?;
        let row = &rows[0];
        Ok(Swept {
            looked: row.try_get(0)?,
            old: row.try_get(1)?,
            last_seq: row.try_get(2)?,
            gone: row.try_get(3)?,
        })
    }

    /// Deletes a batch of secrets that have expired. Returns how many.
    pub async fn sweep_secrets(&self, limit: i64) -> Result<usize, StoreError> {
        let sql = include_str!("../../sql/secrets_expired.sql");
        let rows = self.admin(sql, &[(&limit, Type::INT8)]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let sql = include_str!("../../sql/sweep_secrets.sql");
        Ok(self.admin(sql, &[(&numbers, Type::INT8_ARRAY)]).await?.len())
    }

    /// Notes which endpoints take nothing, though it was tried.
    pub async fn note_failing(&self) -> Result<(), StoreError> {
        self.admin(include_str!("../../sql/note_failing.sql"), &[]).await.map(drop)
    }

    /// Pauses endpoints that have taken nothing for so long. Returns their names.
    pub async fn pause_failing(&self, after: Duration) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT outbox.pause_failing($1 * interval '1 microsecond')";
        let rows = self.admin(sql, &[(&(micros(after) as f64), Type::FLOAT8)]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Ends deliveries whose endpoint is gone. Returns how many.
    pub async fn sweep_orphans(&self) -> Result<i64, StoreError> {
        let rows = self.admin(include_str!("../../sql/sweep_orphans.sql"), &[]).await?;
        Ok(rows[0].try_get(0)?)
    }
}
