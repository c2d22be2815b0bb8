//! Reading endpoints and their secrets, and writing back what the daemon finds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::error::StoreError;
use super::secrets::Stored;
use super::{ADMIN, Store};
use crate::endpoint::{EndpointKey, EndpointRow};
use crate::seal::Keyring;

/// The secrets of one endpoint, opened.
#[derive(Default)]
struct Opened {
    secrets: Vec<(String, Option<Instant>)>,
    /// Why one of them could not be opened.
    problem: Option<String>,
}

impl Opened {
    /// Takes them newest first; of two that are the same the newer one counts.
    fn add(&mut self, stored: &str, end: Option<Instant>, keys: &Keyring) {
        match keys.open(stored) {
            Ok(text) if self.secrets.iter().any(|(known, _)| *known == text) => {}
            Ok(text) => self.secrets.push((text, end)),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }
}

impl Store {
    /// Every endpoint, with the revision they were read at. Their secrets are opened; one that
    /// cannot be is the `secret_problem` of its endpoint.
    pub async fn load_endpoints(
        &self,
        keys: &Keyring,
    ) -> Result<(i64, Vec<EndpointRow>), StoreError> {
        let mut transaction = self.begin(ADMIN).await?;
        // The endpoints first: a change between the two statements has a revision above the one
        // that is remembered, and is read again.
        let rows = transaction.query(include_str!("../../sql/load_endpoints.sql"), &[]).await?;
        let secret_rows = transaction.last(include_str!("../../sql/load_secrets.sql"), &[]).await?;
        let now = Instant::now();
        let mut secrets: HashMap<EndpointKey, Opened> = HashMap::new();
        for row in &secret_rows {
            let expires_in: Option<i64> = row.try_get(2)?;
            let end = expires_in.map(|us| now + Duration::from_micros(us.max(0).unsigned_abs()));
            secrets.entry(row.try_get(0)?).or_default().add(row.try_get(1)?, end, keys);
        }
        let mut revision = 0;
        let mut endpoints = Vec::with_capacity(rows.len());
        for row in &rows {
            revision = row.try_get(0)?;
            let Some(key) = row.try_get::<_, Option<EndpointKey>>(1)? else { continue };
            let opened = secrets.remove(&key).unwrap_or_default();
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
                max_in_flight: row.try_get(13)?,
                rate_per_second: row.try_get(14)?,
                ordered: row.try_get(15)?,
                state: row.try_get(16)?,
                row_version: row.try_get(17)?,
                success: row.try_get(18)?,
                secrets: opened.secrets,
                secret_problem: opened.problem,
            });
        }
        Ok((revision, endpoints))
    }

    /// Gives an endpoint this secret, which nobody has seen, unless it or its tenant has one by
    /// now.
    pub async fn give_secret(
        &self,
        endpoint: EndpointKey,
        secret: &Stored,
    ) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/give_secret.sql");
        self.admin(sql, &[(&endpoint, Type::INT4), (&secret.text, Type::TEXT)]).await.map(drop)
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
