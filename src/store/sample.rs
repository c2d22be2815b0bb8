//! The gauges of the database.

use super::Store;
use super::error::StoreError;

/// What waits, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Events not yet fanned out.
    pub queued: i64,
    /// Deliveries that wait for their time.
    pub scheduled: i64,
    /// Deliveries whose time has come.
    pub due: i64,
    /// Deliveries leased to a daemon.
    pub leased: i64,
    /// Age in seconds of the oldest that should have been started.
    pub oldest_due_seconds: f64,
    /// Events in quarantine.
    pub quarantined: i64,
}

impl Store {
    /// Takes a sample.
    pub async fn sample(&self) -> Result<Sample, StoreError> {
        let rows = self.admin(include_str!("../../sql/sample.sql"), &[]).await?;
        let row = &rows[0];
        Ok(Sample {
            queued: row.try_get(0)?,
            scheduled: row.try_get(1)?,
            due: row.try_get(2)?,
            leased: row.try_get(3)?,
            oldest_due_seconds: row.try_get(4)?,
            quarantined: row.try_get(5)?,
        })
    }
}
