//! The database: the only module that knows tokio-postgres.
//!
//! Statements are in `sql/`, one file each. Every one of them is sent unnamed and in a transaction
//! of its own whose settings are local to it, so that a pooler in transaction mode can sit between.

/// How a transaction begins, whatever the defaults of the role or of the database are: nothing that
/// stands in `public` can take the place of what the statements mean, and the time between two of
/// them is not limited to less than they need. Then the settings of this kind of transaction.
macro_rules! opening {
    ($($setting:literal),*) => {
        concat!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; \
             SET LOCAL idle_in_transaction_session_timeout = '10s'",
            $("; SET LOCAL ", $setting),*
        )
    };
}

pub mod bench;
pub mod claim;
mod connect;
pub mod demo;
pub mod endpoints;
pub mod error;
pub mod event_types;
pub mod fan_out;
pub mod fitness;
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
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::config::connection::ConnectionString;
use connect::{Connection, Connector, answered};
use error::StoreError;

/// Longest wait for a free connection.
const POOL_WAIT: Duration = Duration::from_secs(10);

/// How a transaction begins.
#[derive(Clone, Copy)]
struct Opening {
    sql: &'static str,
    /// How long each of its answers is waited for: longer than the server's own limit, which is
    /// what ends a statement as long as the server can be heard.
    limit: Duration,
}

/// How the daemon's transactions begin. The planner is held to the indexes the statements were written
/// for: statistics of a queue are wrong most of the time.
macro_rules! work {
    ($durability:literal) => {
        Opening {
            limit: Duration::from_secs(35),
            sql: opening!(
                $durability,
                "statement_timeout = '30s'",
                "lock_timeout = '10s'",
                "jit = off",
                "enable_seqscan = off",
                "enable_bitmapscan = off",
                "enable_hashjoin = off",
                "enable_mergejoin = off"
            ),
        }
    };
}

/// For outcomes and what goes on beside. Losing the last of them to a crash of the database costs
/// duplicates, never events, so they do not wait for the disk.
const WORK: Opening = work!("synchronous_commit = off");

/// For what leases deliveries: requests are made on the strength of it, so it must not be forgotten.
const LEASE: Opening = work!("synchronous_commit = on");

/// How administrative transactions begin: durable, planned freely.
const ADMIN: Opening = Opening {
    sql: opening!("statement_timeout = '60s'", "lock_timeout = '10s'", "jit = off"),
    limit: Duration::from_secs(65),
};

/// How secrets are stored in another form: work that can be done again later must not hold up what
/// comes after it.
const BRIEF: Opening = Opening {
    sql: opening!("statement_timeout = '60s'", "lock_timeout = '250ms'", "jit = off"),
    limit: Duration::from_secs(65),
};

/// A parameter with its type, as unnamed statements need it.
type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The database, behind a pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
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
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(connector.limit()))
            .build()
            .map_err(|error| StoreError::Pool(error.to_string()))?;
        Ok(Self { pool, connector, connection: connection.clone(), on_wait: None })
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
        let Opening { sql, limit } = opening;
        Ok(Transaction { client: Some(client), opening: Some(sql), limit })
    }

    /// One statement in a working transaction of its own: one round trip.
    async fn work(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(WORK).await?.last(sql, params).await
    }

    /// One statement that leases, in a transaction of its own: one round trip.
    async fn work_durably(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.begin(LEASE).await?.last(sql, params).await
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

/// A transaction whose opening travels with its first statement, and whose commit with its last.
///
/// Dropped before its end, it closes the connection rather than hand an open transaction to the
/// next user of the pool.
struct Transaction {
    client: Option<Object>,
    opening: Option<&'static str>,
    limit: Duration,
}

impl Transaction {
    fn client(&self) -> &Client {
        self.client.as_ref().expect("taken only when the transaction ends or is dropped")
    }

    async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let Some(opening) = self.opening.take() else {
            let client = self.client();
            return answered(self.limit, client.query_typed(sql, params)).await;
        };
        // Both are written before either answer is awaited: `join` polls in order.
        let client = self.client();
        let both = join(client.batch_execute(opening), client.query_typed(sql, params));
        let both = async {
            let (opened, rows) = both.await;
            opened.and(rows)
        };
        answered(self.limit, both).await
    }

    /// The last statement, and the commit.
    async fn last(mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let opening = self.opening.take().unwrap_or("");
        let client = self.client();
        let open =
            async { if opening.is_empty() { Ok(()) } else { client.batch_execute(opening).await } };
        // Polled once all is on its way, and before an answer is looked at.
        let passed = async {
            failpoint!("store.committing");
        };
        let end = join(client.batch_execute("COMMIT"), passed);
        let all = join(open, join(client.query_typed(sql, params), end));
        let answers = answered(self.limit, async { Ok(all.await) });
        let (opened, (rows, (committed, ()))) = answers.await?;
        opened?;
        // After a failed statement the commit has rolled back, without an error of its own.
        let rows = match (rows, committed) {
            (Ok(rows), committed) => committed.map(|()| rows)?,
            (Err(error), Ok(())) => {
                self.client = None;
                return Err(error.into());
            }
            (Err(error), Err(_)) => return Err(error.into()),
        };
        self.client = None;
        Ok(rows)
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let client = self.client();
        answered(self.limit, client.batch_execute("COMMIT")).await?;
        self.client = None;
        Ok(())
    }

    async fn rollback(mut self) -> Result<(), StoreError> {
        let client = self.client();
        answered(self.limit, client.batch_execute("ROLLBACK")).await?;
        self.client = None;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Where nothing has been sent yet, there is nothing open.
        if let Some(client) = self.client.take()
            && self.opening.is_none()
        {
            drop(Object::take(client));
        }
    }
}

/// A duration as SQL takes it: microseconds.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
