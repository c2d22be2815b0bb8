//! Reading endpoints and their secrets, and writing back what the daemon finds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::fan_out::Batch;
use super::opening::BRIEF;
use super::secrets::Stored;
use super::{ADMIN, Param, Store, Transaction};
use crate::endpoint::{EndpointKey, EndpointRow};
use crate::seal::Keyring;

/// What is to be loaded.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// What opens secrets.
    pub keys: &'a Keyring,
    /// Whether events are checked against their types.
    pub event_types: bool,
}

/// What was loaded.
pub struct Catalogued {
    /// The revision that it has at least.
    pub revision: i64,
    /// Every endpoint.
    pub endpoints: Vec<EndpointRow>,
    /// Types with their schemas, where they were wanted.
    pub event_types: Option<Vec<(String, String)>>,
}

/// An endpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its number.
    pub endpoint: EndpointKey,
    /// Which version of the row was judged.
    pub row_version: String,
    /// Why not.
    pub reason: String,
}

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

/// A connection to load the catalogue with. It is taken before the turn to load is waited for: who
/// has the turn never waits for a connection.
pub struct Reading(Transaction);

impl Store {
    /// Takes a connection to load the catalogue with.
    pub async fn reading(&self) -> Result<Reading, StoreError> {
        self.begin(ADMIN).await.map(Reading)
    }
}

impl Reading {
    /// All that events are matched and sent with, as it is now.
    pub async fn load_catalogue(mut self, wanted: Wanted<'_>) -> Result<Catalogued, StoreError> {
        let found = self.0.catalogue(wanted).await?;
        self.0.commit().await?;
        Ok(found)
    }
}

impl Batch {
    /// The same on the connection of a batch, which may be the only one: never older than what the
    /// events of the batch were read with.
    pub async fn load_catalogue(&mut self, wanted: Wanted<'_>) -> Result<Catalogued, StoreError> {
        self.transaction.catalogue(wanted).await
    }
}

impl Transaction {
    async fn catalogue(&mut self, wanted: Wanted<'_>) -> Result<Catalogued, StoreError> {
        // The revision comes with the endpoints: a change after that has a higher one, and is read
        // again.
        let rows = self.query_once(include_str!("../../sql/load_endpoints.sql")).await?;
        let secret_rows = self.query_once(include_str!("../../sql/load_secrets.sql")).await?;
        let (revision, endpoints) = read_endpoints(&rows, &secret_rows, wanted.keys)?;
        let event_types = if wanted.event_types { Some(self.event_types().await?) } else { None };
        Ok(Catalogued { revision, endpoints, event_types })
    }
}

/// Every endpoint, with the revision they were read at. Their secrets are opened; one that cannot be
/// is the `secret_problem` of its endpoint.
fn read_endpoints(
    rows: &[Row],
    secret_rows: &[Row],
    keys: &Keyring,
) -> Result<(i64, Vec<EndpointRow>), StoreError> {
    let now = Instant::now();
    let mut secrets: HashMap<EndpointKey, Opened> = HashMap::new();
    for row in secret_rows {
        let expires_in: Option<i64> = row.try_get(2)?;
        let end = expires_in.map(|us| now + Duration::from_micros(us.max(0).unsigned_abs()));
        secrets.entry(row.try_get(0)?).or_default().add(row.try_get(1)?, end, keys);
    }
    let mut revision = 0;
    let mut endpoints = Vec::with_capacity(rows.len());
    for row in rows {
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
            auto_paused: row.try_get(19)?,
            secrets: opened.secrets,
            secret_problem: opened.problem,
        });
    }
    Ok((revision, endpoints))
}

/// What the daemon notes about endpoints. Somebody who keeps a lock is not waited for: it can be
/// tried again at any time.
impl Store {
    /// Gives endpoints a secret each, which nobody has seen, unless they or their tenants have one
    /// by now.
    pub async fn give_secrets(
        &self,
        endpoints: &[EndpointKey],
        secrets: &[Stored],
    ) -> Result<(), StoreError> {
        let texts: Vec<&str> = secrets.iter().map(|secret| secret.text.as_str()).collect();
        let sql = include_str!("../../sql/give_secrets.sql");
        let params: [Param<'_>; 2] = [(&endpoints, Type::INT4_ARRAY), (&texts, Type::TEXT_ARRAY)];
        self.begin(BRIEF).await?.last(sql, &params).await.map(drop)
    }

    /// Marks endpoints that cannot be used, each with the reason.
    pub async fn mark_invalid(&self, bad: &[Invalid]) -> Result<(), StoreError> {
        let keys: Vec<EndpointKey> = bad.iter().map(|one| one.endpoint).collect();
        let reasons: Vec<&str> = bad.iter().map(|one| one.reason.as_str()).collect();
        let versions: Vec<&str> = bad.iter().map(|one| one.row_version.as_str()).collect();
        let sql = include_str!("../../sql/mark_invalid.sql");
        let params: [Param<'_>; 3] = [
            (&keys, Type::INT4_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
            (&versions, Type::TEXT_ARRAY),
        ];
        self.begin(BRIEF).await?.last(sql, &params).await.map(drop)
    }

    /// Marks endpoints active again that were invalid and can be used after all.
    pub async fn mark_mended(&self, keys: &[EndpointKey]) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/mark_mended.sql");
        self.begin(BRIEF).await?.last(sql, &[(&keys, Type::INT4_ARRAY)]).await.map(drop)
    }
}
