//! Reading endpoints and their secrets, and writing back what the daemon finds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{ADMIN, Store};
use crate::endpoint::{EndpointKey, EndpointRow};

impl Store {
    /// Every endpoint, with the revision they were read at.
    pub async fn load_endpoints(&self) -> Result<(i64, Vec<EndpointRow>), StoreError> {
        let mut transaction = self.begin(ADMIN).await?;
        // The endpoints first: a change between the two statements has a revision above the one
        // that is remembered, and is read again.
        let rows = transaction.query(include_str!("../../sql/load_endpoints.sql"), &[]).await?;
        let secret_rows = transaction.last(include_str!("../../sql/load_secrets.sql"), &[]).await?;
        let now = Instant::now();
        let mut secrets: HashMap<EndpointKey, Vec<(String, Option<Instant>)>> = HashMap::new();
        for row in &secret_rows {
            let expires_in: Option<i64> = row.try_get(2)?;
            let end = expires_in.map(|us| now + Duration::from_micros(us.max(0).unsigned_abs()));
            secrets.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, end));
        }
        let mut revision = 0;
        let mut endpoints = Vec::with_capacity(rows.len());
        for row in &rows {
            revision = row.try_get(0)?;
            let Some(key) = row.try_get::<_, Option<EndpointKey>>(1)? else { continue };
            endpoints.push(EndpointRow {
                key,
                id: row.try_get(2)?,
                name: row.try_get(3)?,
                url: row.try_get(4)?,
                events: row.try_get(5)?,
                tenant: row.try_get(6)?,
                live: row.try_get(7)?,
                profile: row.try_get(8)?,
                active: row.try_get(9)?,
                headers: row.try_get(10)?,
                timeout_us: row.try_get(11)?,
                retry: row.try_get(12)?,
                success: None,
                max_in_flight: row.try_get(13)?,
                rate_per_second: row.try_get(14)?,
                ordered: row.try_get(15)?,
                state: row.try_get(16)?,
                row_version: row.try_get(17)?,
                secrets: secrets.remove(&key).unwrap_or_default(),
            });
        }
        Ok((revision, endpoints))
    }

    /// Gives an endpoint a generated secret, unless it has one by now.
    pub async fn give_secret(&self, endpoint: EndpointKey) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/give_secret.sql");
        self.admin(sql, &[(&endpoint, Type::INT4)]).await.map(drop)
    }

    /// Marks endpoints that cannot be used, each with the reason.
    pub async fn mark_invalid(&self, bad: &[(&EndpointRow, String)]) -> Result<(), StoreError> {
        let keys: Vec<EndpointKey> = bad.iter().map(|(row, _)| row.key).collect();
        let reasons: Vec<&str> = bad.iter().map(|(_, reason)| reason.as_str()).collect();
        let versions: Vec<&str> = bad.iter().map(|(row, _)| row.row_version.as_str()).collect();
        self.admin(
            include_str!("../../sql/mark_invalid.sql"),
            &[
                (&keys, Type::INT4_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&versions, Type::TEXT_ARRAY),
            ],
        )
        .await
        .map(drop)
    }

    /// Marks endpoints active again that were invalid and can be used after all.
    pub async fn mark_mended(&self, keys: &[EndpointKey]) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/mark_mended.sql");
        self.admin(sql, &[(&keys, Type::INT4_ARRAY)]).await.map(drop)
    }
}
