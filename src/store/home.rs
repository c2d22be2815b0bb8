//! Whether the database is the one that daemons worked in, or a backup that was restored.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{Opening, Param, Store, micros};

/// How the look begins: durable, planned freely, with time to hold some million deliveries.
const RECOGNISE: Opening =
    opening!(305, "statement_timeout = '5min'", "lock_timeout = '10s'", "jit = off");

/// What was held, because it waited in a restored backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why the database is such a backup.
    pub reason: String,
    /// Deliveries held.
    pub deliveries: i64,
    /// Events held that had not been fanned out.
    pub events: i64,
}

impl Store {
    /// Looks whether the database is a restored backup, and holds what is older than `hold_after`
    /// if so; `None`: never. `left_us` is when this daemon last gave a sign of life, by the clock
    /// of the database.
    ///
    /// # Errors
    /// Of the database.
    pub async fn recognise(
        &self,
        hold_after: Option<Duration>,
        left_us: Option<i64>,
    ) -> Result<Option<Held>, StoreError> {
        let sql = include_str!("../../sql/recognise.sql");
        let hold_us = hold_after.map(micros);
        let params: [Param<'_>; 2] = [(&hold_us, Type::INT8), (&left_us, Type::INT8)];
        let rows = self.begin(RECOGNISE).await?.last(sql, &params).await?;
        let Some(reason) = rows[0].try_get(2)? else { return Ok(None) };
        Ok(Some(Held { reason, deliveries: rows[0].try_get(0)?, events: rows[0].try_get(1)? }))
    }

    /// What is held now; `None`: nothing.
    ///
    /// # Errors
    /// Of the database.
    pub async fn held(&self) -> Result<Option<Held>, StoreError> {
        let sql =
            "SELECT deliveries, events, reason FROM outbox.held WHERE deliveries + events > 0";
        let rows = self.admin(sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (deliveries, events) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Some(Held { deliveries, events, reason: row.try_get(2)? }))
    }
}
