//! The database: the only module that knows tokio-postgres.
//!
//! Statements are in `sql/`, one file each. Behind a pooler every one of them is sent unnamed and in a
//! transaction whose settings are local to it; `opening.rs` and `sessions.rs` say what is done otherwise.

#[macro_use]
mod opening;

pub mod bench;
pub mod claim;
mod connect;
pub mod demo;
pub mod endpoints;
pub mod error;
pub mod event_types;
pub mod fan_out;
pub mod fitness;
pub mod home;
pub mod instance;
pub mod manage;
pub mod migrate;
pub mod overview;
pub mod promote;
pub mod record;
pub mod room;
pub mod sample;
pub mod secrets;
pub mod set_aside;
pub mod sweep;
mod sessions;
mod tls;
mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::Row;

use crate::config::connection::ConnectionString;
use connect::{Connection, Connector};
use error::StoreError;
use opening::{ADMIN, CHORE, LEASE, LEASE_ONCE, Opening, WORK};
use sessions::Sessions;
use transaction::{Param, Transaction};

/// Longest wait for a free connection.
const POOL_WAIT: Duration = Duration::from_secs(10);

/// The database, behind a pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    sessions: Sessions,
    connector: Connector,
    connection: ConnectionString,
    /// Told how long somebody waited for a connection.
    on_wait: Option<Arc<OnWait>>,
}

/// What is told of waits for a connection.
type OnWait = dyn Fn(Duration) + Send + Sync;

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.connection.target())
    }
}

impl Store {
    /// A pool that connects when it is first used.
    ///
    /// # Errors
    /// When the TLS files of the connection string cannot be used.
    pub fn new(connection: &ConnectionString, pool_size: usize) -> Result<Self, StoreError> {
        let connector = Connector::new(connection)?;
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(connection.to_tokio(), connector.clone(), config);
        let sessions = Sessions::default();
        let pool = Pool::builder(manager)
            .post_create(sessions.settling())
            .pre_recycle(sessions.retiring())
            .max_size(pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(connector.limit()))
            .build()
            .map_err(|error| StoreError::Pool(error.to_string()))?;
        Ok(Self { pool, sessions, connector, connection: connection.clone(), on_wait: None })
    }

    /// The same, and tells how long each wait for a connection was.
    #[must_use]
    pub fn telling_waits(self, on_wait: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { on_wait: Some(Arc::new(on_wait)), ..self }
    }

    /// A connection of the pool.
    async fn connection(&self) -> Result<Object, StoreError> {
        let asked = Instant::now();
        let connection = self.pool.get().await;
        if let Some(on_wait) = &self.on_wait {
            on_wait(asked.elapsed());
        }
        Ok(connection?)
    }

    /// A connection of its own, outside the pool.
    async fn dedicated(&self) -> Result<Connection, StoreError> {
        self.connector.connect_alone().await
    }

    /// The database is out of reach: nothing more is expected of any connection that was made so
    /// far, and whatever waits for an answer fails now.
    pub fn give_up(&self) {
        self.connector.give_up();
    }

    /// Tells whether the sessions of the pool are ours alone, with no pooler in between. Until it is
    /// known, they are not.
    pub fn own_sessions(&self, own: bool) {
        self.sessions.own(own);
    }

    /// `user@host:port/database`, for messages.
    pub fn target(&self) -> String {
        self.connection.target()
    }

    /// Connections open, idle and wanted, for the metrics.
    pub fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    async fn begin(&self, opening: Opening) -> Result<Transaction, StoreError> {
        let client = self.connection().await?;
        let settled = self.sessions.has_settled(&client);
        Ok(Transaction::new(client, settled, opening))
    }

    /// One statement in a working transaction of its own: one round trip.
    async fn work(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(WORK).await?.last(sql, params).await
    }

    /// One statement of the daemon's that is not made all the time, likewise.
    async fn chore(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(CHORE).await?.last(sql, params).await
    }

    /// One statement that leases, planned anew, in a transaction of its own: one round trip.
    async fn lease_once(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(LEASE_ONCE).await?.last(sql, params).await
    }

    /// One statement in an administrative transaction of its own: one round trip.
    async fn admin(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(ADMIN).await?.last(sql, params).await
    }
}

/// The state of the pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolStatus {
    /// Most connections.
    pub max: usize,
    /// Connections open.
    pub open: usize,
    /// Of these, those not in use.
    pub idle: usize,
    /// Tasks that wait for one.
    pub waiting: usize,
}

/// A duration as SQL takes it: microseconds.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
