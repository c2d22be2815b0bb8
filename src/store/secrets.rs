//! Secrets as they are stored: sealing what arrived plain, and what is sealed under an older key.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::manage::{Query, Record};
use super::opening::BRIEF;
use super::{ADMIN, Opening, Store};
use crate::config::Secrets;
use crate::seal::{Keyring, OpenError, SealError, is_sealed};
use crate::sign::ed25519::{self, SigningKey};

/// Secrets read or written in one transaction.
const BATCH: i64 = 500;
/// How often the whole table is gone through again for what changed meanwhile.
const PASSES: usize = 5;

/// How many secrets are stored under each master key: `key`, null for plain text, `secrets`, and
/// `of_tenants`.
const AT_REST: Query = Query::new(include_str!("../../sql/secrets_at_rest.sql"));

/// A secret as it is written to the database.
#[derive(Clone)]
pub struct Stored {
    /// Sealed or plain, as the configuration has it.
    pub text: String,
    /// Of an Ed25519 key, the public one.
    pub public_key: Option<String>,
}

impl Stored {
    /// This secret in the form that the configuration asks for.
    ///
    /// # Errors
    /// When it is to be sealed and cannot be.
    pub fn new(plain: &str, secrets: &Secrets) -> Result<Self, SealError> {
        Ok(Self { text: secrets.stored(plain)?, public_key: public_key(plain) })
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stored(..)")
    }
}

/// The public key of an Ed25519 key; what is none, or cannot be read, has none.
fn public_key(plain: &str) -> Option<String> {
    if !plain.starts_with(ed25519::PREFIX) {
        return None;
    }
    SigningKey::parse(plain).ok().map(|key| key.public())
}

/// A secret under its number, as it was read.
struct Found {
    number: i64,
    text: String,
    /// What says that nobody has changed it since; the text itself stays out of statements.
    row_version: String,
}

impl TryFrom<&Row> for Found {
    type Error = StoreError;

    fn try_from(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { number: row.try_get(0)?, text: row.try_get(1)?, row_version: row.try_get(2)? })
    }
}

/// What re-wrapping came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Were plain.
    pub sealed: usize,
    /// Were sealed under another key.
    pub rewrapped: usize,
    /// Were sealed under the first key already.
    pub current: usize,
    /// Could not be opened, each with the reason; left as they are.
    pub unopened: Vec<OpenError>,
    /// Kept changing; left as they are.
    pub changed: usize,
}

impl Store {
    /// How many secrets are in plain text, and how many under each master key: `key`, `secrets`,
    /// `of_tenants`. What has expired does not count.
    ///
    /// # Errors
    /// What the database refuses, in its words.
    pub async fn secrets_at_rest(&self) -> Result<Vec<Record>, StoreError> {
        self.rows(AT_REST, &[]).await
    }

    /// Seals what arrived in plain text, if secrets are sealed, and notes the public keys that are
    /// missing. What somebody else is changing is left for another time. Returns how many it
    /// stored.
    ///
    /// # Errors
    /// Of the database, such as that somebody else kept a lock; or of sealing.
    pub async fn seal_plain(&self, secrets: &Secrets) -> Result<usize, StoreError> {
        let mut stored = 0;
        loop {
            let sql = include_str!("../../sql/secrets_unsealed.sql");
            let params: [super::Param<'_>; 2] =
                [(&secrets.seals(), Type::BOOL), (&BATCH, Type::INT8)];
            let rows = self.admin(sql, &params).await?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                let plain = Found::try_from(row)?;
                let fresh = Stored::new(&plain.text, secrets).map_err(unsealed)?;
                // What only looks like an Ed25519 key would be found for ever.
                if fresh.text != plain.text || fresh.public_key.is_some() {
                    found.push((plain, fresh));
                }
            }
            let done = self.restore(BRIEF, &found).await?.len();
            stored += done;
            if done == 0 || rows.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(stored);
            }
        }
    }

    /// Seals all secrets under the first key that are not: the plain, and those under another key.
    /// With `rehearse` nothing is written.
    ///
    /// # Errors
    /// Of the database; or of sealing.
    pub async fn rewrap(&self, keys: &Keyring, rehearse: bool) -> Result<Rewrapped, StoreError> {
        let mut total = Rewrapped::default();
        for pass in 1..=PASSES {
            let found = self.rewrap_all(keys, rehearse).await?;
            let (sealed, rewrapped) = (total.sealed, total.rewrapped);
            // What this pass finds done was done by an earlier one, but for the first.
            let current = if pass == 1 { found.current } else { total.current };
            total = Rewrapped {
                sealed: sealed + found.sealed,
                rewrapped: rewrapped + found.rewrapped,
                current,
                ..found
            };
            if total.changed == 0 {
                break;
            }
        }
        Ok(total)
    }

    async fn rewrap_all(&self, keys: &Keyring, rehearse: bool) -> Result<Rewrapped, StoreError> {
        let mut total = Rewrapped::default();
        let mut last = 0_i64;
        loop {
            let sql = include_str!("../../sql/secrets_page.sql");
            let rows = self.admin(sql, &[(&last, Type::INT8), (&BATCH, Type::INT8)]).await?;
            let Some(row) = rows.last() else { return Ok(total) };
            last = row.try_get(0)?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                let old = Found::try_from(row)?;
                if keys.is_current(&old.text) {
                    total.current += 1;
                    continue;
                }
                match keys.open(&old.text) {
                    Ok(plain) => {
                        let text = keys.seal(&plain).map_err(unsealed)?;
                        found.push((old, Stored { text, public_key: public_key(&plain) }));
                    }
                    Err(error) => total.unopened.push(error),
                }
            }
            let mut done: Vec<i64> = found.iter().map(|(old, _)| old.number).collect();
            if !rehearse {
                done = self.restore(ADMIN, &found).await?;
            }
            for (old, _) in &found {
                match (done.contains(&old.number), is_sealed(&old.text)) {
                    (false, _) => total.changed += 1,
                    (true, true) => total.rewrapped += 1,
                    (true, false) => total.sealed += 1,
                }
            }
        }
    }

    /// Stores secrets in another form; returns the numbers of those that had not changed.
    async fn restore(
        &self,
        opening: Opening,
        secrets: &[(Found, Stored)],
    ) -> Result<Vec<i64>, StoreError> {
        // Without a row the statement would change nothing, and yet tell the daemons of a change.
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i64> = secrets.iter().map(|(old, _)| old.number).collect();
        let versions: Vec<&str> = secrets.iter().map(|(old, _)| &*old.row_version).collect();
        // What stays as it is may be plain, and is not sent.
        let fresh: Vec<Option<&str>> =
            secrets.iter().map(|(old, new)| (old.text != new.text).then_some(&*new.text)).collect();
        let keys: Vec<Option<&str>> =
            secrets.iter().map(|(_, new)| new.public_key.as_deref()).collect();
        let params: [super::Param<'_>; 4] = [
            (&numbers, Type::INT8_ARRAY),
            (&versions, Type::TEXT_ARRAY),
            (&fresh, Type::TEXT_ARRAY),
            (&keys, Type::TEXT_ARRAY),
        ];
        let sql = include_str!("../../sql/secrets_restore.sql");
        let rows = self.begin(opening).await?.last(sql, &params).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

fn unsealed(error: SealError) -> StoreError {
    StoreError::Unfit(error.to_string())
}
