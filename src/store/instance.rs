//! This daemon among others: its number, the lock that proves it alive, and the leases of those
//! that died.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{ADMIN, Param, Store};

/// How long a second transaction may take to begin.
const POOLER_WAIT: Duration = Duration::from_secs(5);

/// The settings of the session that holds the lock, which is ours alone. A sign of life a second
/// need not wait for the disk, and a default that ends idle sessions must not end this one.
const PRESENCE: &str = "SET synchronous_commit = off; SET statement_timeout = '30s'; \
    SET lock_timeout = '10s'; SET idle_session_timeout = 0; \
    SET default_transaction_isolation = 'read committed'; SET search_path = pg_catalog, pg_temp";

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
    client: Option<Client>,
    /// The instance number: the holder of its leases.
    pub id: i32,
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
        before: Option<i32>,
        pooled: bool,
    ) -> Result<Presence, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        let sql = include_str!("../../sql/instance_register.sql");
        if pooled {
            let params: [Param<'_>; 4] = [
                (&identity.host, Type::TEXT),
                (&identity.pid, Type::INT4),
                (&version, Type::TEXT),
                (&false, Type::BOOL),
            ];
            let rows = self.admin(sql, &params).await?;
            return Ok(Presence { client: None, id: rows[0].try_get(0)? });
        }
        let client = self.dedicated().await?;
        client.batch_execute(PRESENCE).await?;
        if let Some(id) = before {
            let sql = include_str!("../../sql/instance_rejoin.sql");
            let row = client.query_typed_one(sql, &[(&id, Type::INT4)]).await?;
            if row.try_get(0)? {
                return Ok(Presence { client: Some(client), id });
            }
        }
        let params: [Param<'_>; 4] = [
            (&identity.host, Type::TEXT),
            (&identity.pid, Type::INT4),
            (&version, Type::TEXT),
            (&true, Type::BOOL),
        ];
        let row = client.query_typed_one(sql, &params).await?;
        Ok(Presence { id: row.try_get(0)?, client: Some(client) })
    }

    /// Releases what dead daemons had leased.
    pub async fn bury(&self, own: i32) -> Result<Buried, StoreError> {
        let sql = include_str!("../../sql/instance_bury.sql");
        let rows = self.work(sql, &[(&own, Type::INT4)]).await?;
        Ok(Buried { dead: rows[0].try_get(0)?, released: rows[0].try_get(1)? })
    }

    /// Whether a pooler in transaction mode sits between: the same connection then meets
    /// different servers. Two connections take turns so that it has to show; one whose transaction
    /// cannot begin while the other's is open shows it too.
    pub async fn is_pooled(&self) -> Result<bool, StoreError> {
        let clients = [self.dedicated().await?, self.dedicated().await?];
        let mut pids = [Vec::new(), Vec::new()];
        for order in [[0, 1], [1, 0], [0, 1], [1, 0]] {
            clients[order[0]].batch_execute(ADMIN).await?;
            let begun =
                tokio::time::timeout(POOLER_WAIT, clients[order[1]].batch_execute(ADMIN)).await;
            let Ok(begun) = begun else { return Ok(true) };
            begun?;
            for turn in order {
                let row = clients[turn].query_typed_one("SELECT pg_backend_pid()", &[]).await?;
                pids[turn].push(row.try_get::<_, i32>(0)?);
            }
            for client in &clients {
                client.batch_execute("COMMIT").await?;
            }
        }
        Ok(pids.iter().any(|seen| seen.iter().any(|pid| *pid != seen[0])))
    }
}

impl Presence {
    /// A sign of life. Returns how many daemons live; `None` when this one was declared dead.
    pub async fn beat(&self, store: &Store) -> Result<Option<i64>, StoreError> {
        let sql = include_str!("../../sql/instance_beat.sql");
        let params: [Param<'_>; 1] = [(&self.id, Type::INT4)];
        let rows = match &self.client {
            // On the connection that holds the lock, so that its loss is noticed.
            Some(client) => client.query_typed(sql, &params).await?,
            None => store.work(sql, &params).await?,
        };
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Leaves in order; there are no leases left.
    pub async fn leave(self, store: &Store) -> Result<(), StoreError> {
        let sql = include_str!("../../sql/instance_leave.sql");
        store.work(sql, &[(&self.id, Type::INT4)]).await.map(drop)
    }
}
