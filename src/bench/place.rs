//! Where a benchmark takes place: a throwaway cluster, or an empty database that somebody named.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::interval;

use super::BenchError;
use crate::config::ConnectionString;
use crate::store::Store;
use crate::store::bench::Session;
use crate::store::error::StoreError;
use crate::store::migrate::SchemaState;
use crate::throwaway::{Cluster, Options, StartError};

/// Whom the daemon is in the throwaway cluster.
const DAEMON: &str = "bench_daemon";
/// Whom the application is.
const PRODUCER: &str = "bench_producer";
/// Counts statements; part of most packages of Postgres, but not of all.
const COUNTER: [(&str, &str); 2] = [
    ("shared_preload_libraries", "pg_stat_statements"),
    // What opens and ends a transaction is no statement of it.
    ("pg_stat_statements.track_utility", "off"),
];
/// Everything that a run leaves behind.
const EMPTY: &str = "TRUNCATE outbox.events, outbox.queue, outbox.work, outbox.history, outbox.quarantine,
    outbox.endpoint_minutes, outbox.endpoint_failures, outbox.secrets, outbox.endpoints, outbox.removed_endpoints
    RESTART IDENTITY";
/// Counting stops early, for it costs what it counts.
const UNFINISHED: &str = "SELECT count(*) FROM (SELECT FROM outbox.work LIMIT 10000) AS unfinished";
const QUEUED: &str = "SELECT max(seq) - min(seq) + 1 FROM outbox.queue";
const DEAD: &str = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'outbox'";
/// Nothing announces that the last outcome is recorded.
const LOOK: Duration = Duration::from_millis(20);
/// How long recording may stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// What must not be there before.
const USED: &str = "EXISTS (SELECT FROM outbox.events) OR EXISTS (SELECT FROM outbox.endpoints)
    OR EXISTS (SELECT FROM outbox.work) OR EXISTS (SELECT FROM outbox.history)
    OR EXISTS (SELECT FROM outbox.instances WHERE dead_at IS NULL AND seen_at > now() - interval '10 seconds')";

/// A database, and how each part of a benchmark reaches it.
#[derive(Debug)]
pub struct Place {
    /// For looking and for preparing.
    pub session: Session,
    /// How the daemon connects.
    pub daemon_url: String,
    /// How programs connect as the owner, where the server is ours.
    pub admin_url: Option<String>,
    admin: ConnectionString,
    producer: ConnectionString,
    cluster: Option<Cluster>,
}

impl Place {
    /// A cluster of its own, with these settings of the server.
    ///
    /// # Errors
    /// When there is no server to start, or it refuses a setting.
    pub async fn throwaway(settings: Vec<(String, String)>) -> Result<Self, BenchError> {
        let cluster = tokio::task::spawn_blocking(|| start(settings)).await??;
        let as_user = |user: &str| {
            let (host, port) = (cluster.socket_dir().display(), cluster.port());
            format!("host='{host}' port={port} user={user} dbname=postgres")
        };
        let admin = connection(&as_user("postgres"))?;
        let store = store(&admin)?;
        let failed = |error| BenchError::Database(admin.target(), error);
        store.migrate().await.map_err(failed)?;
        store.add_login(DAEMON, "outbox_daemon").await.map_err(failed)?;
        store.add_login(PRODUCER, "outbox_producer").await.map_err(failed)?;
        let session = store.session().await.map_err(failed)?;
        let preloaded = session.text("current_setting('shared_preload_libraries')").await;
        if !preloaded.map_err(failed)?.is_empty() {
            session.run("CREATE EXTENSION pg_stat_statements").await.map_err(failed)?;
        }
        Ok(Self {
            session,
            daemon_url: as_user(DAEMON),
            admin_url: Some(as_user("postgres")),
            producer: connection(&as_user(PRODUCER))?,
            admin,
            cluster: Some(cluster),
        })
    }

    /// A database that somebody named, and that must be empty.
    ///
    /// # Errors
    /// When it cannot be reached, or has something in it.
    pub async fn named(url: &str) -> Result<Self, BenchError> {
        let admin = connection(url)?;
        let store = store(&admin)?;
        let failed = |error| BenchError::Database(admin.target(), error);
        if store.schema_state().await.map_err(failed)? != SchemaState::Missing {
            let used = store.session().await.map_err(failed)?.text(USED).await.map_err(failed)?;
            if used == "true" {
                return Err(BenchError::InUse(admin.target()));
            }
        }
        store.migrate().await.map_err(failed)?;
        let session = store.session().await.map_err(failed)?;
        let (daemon_url, producer) = (url.to_owned(), admin.clone());
        Ok(Self { session, daemon_url, admin_url: None, admin, producer, cluster: None })
    }

    /// The process id of the server, where it is ours.
    pub fn server_pid(&self) -> Option<u32> {
        self.cluster.as_ref().and_then(Cluster::pid)
    }

    /// A program of the server's version, where the server is ours.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.cluster.as_ref().map(|cluster| cluster.program(name)).filter(|path| path.is_file())
    }

    /// `user@host:port/database`, for messages.
    pub fn target(&self) -> String {
        self.admin.target()
    }

    /// The database refused.
    pub fn failed(&self, error: StoreError) -> BenchError {
        BenchError::Database(self.target(), error)
    }

    /// Removes what a run has left behind, and writes out what is dirty, so that every run finds the
    /// same.
    ///
    /// # Errors
    /// Of the database.
    pub async fn clear(&self) -> Result<(), BenchError> {
        self.run(EMPTY).await?;
        self.settle().await
    }

    /// Writes out what is dirty, where the server is ours, and has segments of its log ready to be used
    /// again, as one that has been running for a while: a new segment holds up every commit.
    ///
    /// # Errors
    /// Of the database.
    pub async fn settle(&self) -> Result<(), BenchError> {
        match self.cluster {
            Some(_) => self.run("CHECKPOINT").await,
            None => Ok(()),
        }
    }

    /// A session of the application's.
    ///
    /// # Errors
    /// Of the database.
    pub async fn producer(&self) -> Result<Session, BenchError> {
        store(&self.producer)?.session().await.map_err(|error| self.failed(error))
    }

    /// One more session for preparing.
    ///
    /// # Errors
    /// Of the database.
    pub async fn another_session(&self) -> Result<Session, BenchError> {
        store(&self.admin)?.session().await.map_err(|error| self.failed(error))
    }

    /// Runs statements of preparation.
    ///
    /// # Errors
    /// Of the database.
    pub async fn run(&self, sql: &str) -> Result<(), BenchError> {
        self.session.run(sql).await.map_err(|error| self.failed(error))
    }

    /// Waits until the outcome of every delivery is recorded, or nothing gets less for a while; and
    /// returns how many are not.
    ///
    /// # Errors
    /// Of the database.
    pub async fn until_recorded(&self) -> Result<f64, BenchError> {
        self.until_none(UNFINISHED).await
    }

    /// Waits until every event is fanned out, or nothing gets less for a while; and returns how many
    /// are not.
    ///
    /// # Errors
    /// Of the database.
    pub async fn until_fanned_out(&self) -> Result<f64, BenchError> {
        self.until_none(QUEUED).await
    }

    async fn until_none(&self, count: &str) -> Result<f64, BenchError> {
        let (mut looks, mut least, mut since) = (interval(LOOK), f64::INFINITY, Instant::now());
        loop {
            looks.tick().await;
            let left = self.session.number(count).await;
            let left = left.map_err(|error| self.failed(error))?.unwrap_or(0.0);
            if left == 0.0 || since.elapsed() > PATIENCE {
                return Ok(left);
            }
            if left < least {
                (least, since) = (left, Instant::now());
            }
        }
    }

    /// Dead rows that no vacuum has removed yet. To be asked once the daemons are gone, which tell
    /// the server's statistics what they did when they end.
    pub async fn dead_tuples(&self) -> Option<f64> {
        self.number(DEAD).await
    }

    /// A number that the database knows; none if it is null, or may not be asked for.
    pub async fn number(&self, sql: &str) -> Option<f64> {
        self.session.number(sql).await.ok().flatten()
    }

    /// A text that the database knows; empty if it may not be asked for.
    pub async fn text(&self, sql: &str) -> String {
        self.session.text(sql).await.unwrap_or_default()
    }

    /// Several numbers that the database knows; none if they may not be asked for.
    pub async fn numbers(&self, sql: &str) -> Vec<f64> {
        self.session.numbers(sql).await.unwrap_or_default()
    }
}

fn start(settings: Vec<(String, String)>) -> Result<Cluster, StartError> {
    let own = COUNTER.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let with_counter = own.into_iter().chain(settings.clone()).collect();
    let options = |settings| Options { fsync: true, settings, ..Options::default() };
    match Cluster::start(options(with_counter)) {
        // Without the library, or for another reason, which then shows again.
        Err(StartError::Refused { .. }) => Cluster::start(options(settings)),
        outcome => outcome,
    }
}

fn connection(text: &str) -> Result<ConnectionString, BenchError> {
    Ok(ConnectionString::parse(text, &BTreeMap::new())?)
}

fn store(connection: &ConnectionString) -> Result<Store, BenchError> {
    Store::new(connection, 1).map_err(|error| BenchError::Database(connection.target(), error))
}
