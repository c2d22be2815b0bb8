//! Where the demonstration takes place: a throwaway cluster, or a database that somebody named.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::DemoError;
use crate::config::{self, Config, ConnectionString, Listen, Sources};
use crate::store::Store;
use crate::throwaway::{Cluster, Options};

/// Connections for setting up and clearing away, which take turns.
const ADMIN_CONNECTIONS: usize = 1;
/// The receivers are on this machine, where nothing is delivered unless somebody allows it.
const RECEIVERS: &str = "127.0.0.0/8";

/// A database, and how each part of the demonstration reaches it.
#[derive(Debug)]
pub struct Place {
    /// Of the daemon.
    pub config: Config,
    /// Whoever owns the schema.
    admin: ConnectionString,
    /// The application.
    producer: ConnectionString,
    /// The server, which goes with the place.
    cluster: Option<Cluster>,
}

impl Place {
    /// A cluster of its own, where the daemon and the application have no more rights than they
    /// need. Takes a second or two. `flags` are settings as `config::load` takes them.
    ///
    /// # Errors
    /// When there is no server to start, or a flag is wrong.
    pub async fn throwaway(flags: Vec<(String, String, String)>) -> Result<Self, DemoError> {
        // A server that loses commits in a crash would be warned of.
        let options = Options { fsync: true, ..Options::default() };
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(options)).await??;
        let as_user = |user: &str| {
            let (host, port) = (cluster.socket_dir().display(), cluster.port());
            format!("host='{host}' port={port} user={user} dbname=postgres")
        };
        let connect = |user: &str| ConnectionString::parse(&as_user(user), &BTreeMap::new());
        let admin = connect("postgres")?;
        let store = store(&admin)?;
        let failed = |error| DemoError::Database(admin.target(), error);
        store.migrate().await.map_err(failed)?;
        store.add_login("outboxd", "outbox_daemon").await.map_err(failed)?;
        store.add_login("app", "outbox_producer").await.map_err(failed)?;
        // Nothing that is configured for another database applies.
        let sources = Sources {
            file: None,
            default_file: PathBuf::new(),
            env: BTreeMap::from([("DATABASE_URL".to_owned(), as_user("outboxd"))]),
            flags,
        };
        let config = on_this_machine(config::load(&sources)?.config);
        Ok(Self { config, producer: connect("app")?, admin, cluster: Some(cluster) })
    }

    /// The database of a configuration.
    pub fn named(config: Config) -> Self {
        let url = config.database.url.clone();
        let config = on_this_machine(config);
        Self { config, admin: url.clone(), producer: url, cluster: None }
    }

    /// Whether everything in it goes with it.
    pub fn is_throwaway(&self) -> bool {
        self.cluster.is_some()
    }

    /// How to have a look at it, or which it is.
    pub fn describe(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!("psql '{}'", cluster.url("postgres")),
            None => self.admin.target(),
        }
    }

    /// `user@host:port/database`, for messages.
    pub fn target(&self) -> String {
        self.admin.target()
    }

    /// As the owner of the schema.
    ///
    /// # Errors
    /// When the TLS files of the connection string cannot be used.
    pub fn admin(&self) -> Result<Store, DemoError> {
        store(&self.admin)
    }

    /// As the application.
    ///
    /// # Errors
    /// See [`Place::admin`].
    pub fn producer(&self) -> Result<Store, DemoError> {
        store(&self.producer)
    }
}

fn store(connection: &ConnectionString) -> Result<Store, DemoError> {
    Store::new(connection, ADMIN_CONNECTIONS)
        .map_err(|error| DemoError::Database(connection.target(), error))
}

/// May deliver here, and takes no port that somebody else may want.
fn on_this_machine(mut config: Config) -> Config {
    config.admin.listen = Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.delivery.allow.push(RECEIVERS.parse().expect("a network"));
    config
}
