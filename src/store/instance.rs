//! This daemon among others: its number, the lock that proves it alive, and the leases of those
//! that died.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::connect::{Connection, answered};
use super::error::StoreError;
use super::migrate::SCHEMA_VERSION;
use super::{ADMIN, Param, Store};

/// How long a second transaction may take to begin.
const POOLER_WAIT: Duration = Duration::from_secs(5);

/// The settings of the session that holds the lock, which is ours alone. A sign of life a second
/// need not wait for the disk, and a default that ends idle sessions must not end this one. When the
/// daemon's machine vanishes, nobody tells the server: it has to ask, or the lock would be held for
/// hours.
const PRESENCE: &str = "SET synchronous_commit = off; SET statement_timeout = '30s'; \
    SET lock_timeout = '10s'; SET idle_session_timeout = 0; \
    SET default_transaction_isolation = 'read committed'; SET search_path = pg_catalog, pg_temp; \
    SET tcp_keepalives_idle = 4; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
    SET tcp_user_timeout = '10s'";

/// Longest wait for an answer that says whose leases are whose.
pub const ANSWER: Duration = Duration::from_secs(5);

/// Who registers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Host name, for people.
    pub host: String,
    /// Process id there.
    pub pid: i32,
}

/// The connection that holds this daemon's lock. While it lives, no other daemon takes its leases
/// before they end. Behind a pooler there is no such connection, and leases end by time alone.
pub struct Presence {
    client: Option<Connection>,
    /// Whom the leases belong to.
    pub place: Place,
}

/// A daemon's place among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instance number: the holder of its leases.
    pub id: i32,
    /// The process of the server that holds the lock.
    backend: i32,
}

/// A sign of life that was given.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// How many daemons live.
    pub alive: i64,
    /// When it was, by the clock of the database, in microseconds since the epoch.
    pub at_us: i64,
}

/// What a look at the dead found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buried {
    /// Daemons found dead.
    pub dead: i64,
    /// Leases released.
    pub released: i64,
}

impl Store {
    /// Registers this daemon, as the instance it was before if nobody has declared that dead.
    pub async fn join(
        &self,
        identity: &Identity,
        before: Option<Place>,
        pooled: bool,
    ) -> Result<Presence, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        let sql = include_str!("../../sql/instance_register.sql");
        if pooled {
            let params: [Param<'_>; 5] = [
                (&identity.host, Type::TEXT),
                (&identity.pid, Type::INT4),
                (&version, Type::TEXT),
                (&false, Type::BOOL),
                (&SCHEMA_VERSION, Type::INT4),
            ];
            let rows = self.admin(sql, &params).await?;
            let place = Place { id: rows[0].try_get(0)?, backend: 0 };
            return Ok(Presence { client: None, place });
        }
        let client = self.dedicated().await?;
        answered(ANSWER, client.batch_execute(PRESENCE)).await?;
        if let Some(Place { id, backend }) = before {
            let params: [Param<'_>; 2] = [(&id, Type::INT4), (&backend, Type::INT4)];
            let sql = include_str!("../../sql/instance_rejoin.sql");
            let row = answered(ANSWER, client.query_typed_one(sql, &params)).await?;
            if row.try_get(0)? {
                let place = Place { id, backend: row.try_get(1)? };
                return Ok(Presence { client: Some(client), place });
            }
        }
        let params: [Param<'_>; 5] = [
            (&identity.host, Type::TEXT),
            (&identity.pid, Type::INT4),
            (&version, Type::TEXT),
            (&true, Type::BOOL),
            (&SCHEMA_VERSION, Type::INT4),
        ];
        let row = answered(ANSWER, client.query_typed_one(sql, &params)).await?;
        let place = Place { id: row.try_get(0)?, backend: row.try_get(2)? };
        Ok(Presence { client: Some(client), place })
    }

    /// Releases what dead daemons had leased.
    pub async fn bury(&self, own: i32) -> Result<Buried, StoreError> {
        let sql = include_str!("../../sql/instance_bury.sql");
        let rows = self.chore(sql, &[(&own, Type::INT4)]).await?;
        Ok(Buried { dead: rows[0].try_get(0)?, released: rows[0].try_get(1)? })
    }

    /// Whether a pooler in transaction mode sits between: the same connection then meets
    /// different servers. Two connections take turns so that it has to show; one whose transaction
    /// cannot begin while the other's is open shows it too.
    pub async fn is_pooled(&self) -> Result<bool, StoreError> {
        let clients = [self.dedicated().await?, self.dedicated().await?];
        let mut pids = [Vec::new(), Vec::new()];
        for order in [[0, 1], [1, 0], [0, 1], [1, 0]] {
            let [first, second] = order.map(|turn| &clients[turn]);
            answered(ANSWER, first.batch_execute(ADMIN.sql)).await?;
            match answered(POOLER_WAIT, second.batch_execute(ADMIN.sql)).await {
                // As long as the first is heard, it is what keeps the second waiting.
                Err(StoreError::Silent(_)) => {
                    answered(ANSWER, first.batch_execute("ROLLBACK")).await?;
                    return Ok(true);
                }
                begun => begun?,
            }
            for turn in order {
                let client = &clients[turn];
                let pid = client.query_typed_one("SELECT pg_backend_pid()", &[]);
                pids[turn].push(answered(ANSWER, pid).await?.try_get::<_, i32>(0)?);
            }
            for client in &clients {
                answered(ANSWER, client.batch_execute("COMMIT")).await?;
            }
        }
        Ok(pids.iter().any(|seen| seen.iter().any(|pid| *pid != seen[0])))
    }
}

impl Presence {
    /// A sign of life; `None` when this daemon was declared dead.
    pub async fn beat(&self, store: &Store) -> Result<Option<Beat>, StoreError> {
        let sql = include_str!("../../sql/instance_beat.sql");
        let params: [Param<'_>; 1] = [(&self.place.id, Type::INT4)];
        let rows = match &self.client {
            // On the connection that holds the lock, so that its loss is noticed.
            Some(client) => answered(ANSWER, client.query_typed(sql, &params)).await?,
            None => {
                // A connection of the pool has to come free first.
                let beaten = tokio::time::timeout(2 * ANSWER, store.chore(sql, &params)).await;
                beaten.unwrap_or(Err(StoreError::Silent(2 * ANSWER)))?
            }
        };
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Beat { alive: row.try_get(0)?, at_us: row.try_get(1)? }))
    }

    /// Leaves in order; there are no leases left.
    pub async fn leave(self, store: &Store) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/instance_leave.sql");
        store.chore(sql, &[(&self.place.id, Type::INT4)]).await.map(drop)
    }
}
