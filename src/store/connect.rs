//! Connections: how they are made, and how long their answers are waited for.
//!
//! A network can take a connection away without a word. So every wait has an end: of a server that
//! is connected to, of an answer, and of all answers at once when one connection has shown that the
//! database is out of reach.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::error::StoreError;
use crate::config::connection::ConnectionString;

/// The shortest and the longest time that connecting may take in all.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);
/// When connecting takes this long, another try begins beside it: of one whose bytes were lost on
/// the way nothing is ever heard, though the network may be well again.
const ANOTHER: Duration = Duration::from_secs(2);
/// Tries beside one another.
const TRIES: usize = 4;

/// A connection, and the task that drives it.
type Driven = (Client, JoinHandle<()>);

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    connection: ConnectionString,
    tls: MakeRustlsConnect,
    /// Cancelled when the connections made until then are given up.
    trusted: Arc<Mutex<CancellationToken>>,
}

/// A connection outside the pool.
pub struct Connection {
    client: Client,
    task: JoinHandle<()>,
}

impl Connector {
    /// # Errors
    /// When the TLS files of the connection string cannot be used.
    pub fn new(connection: &ConnectionString) -> Result<Self, StoreError> {
        let tls = super::tls::connector(&connection.tls())?;
        Ok(Self { connection: connection.clone(), tls, trusted: Arc::default() })
    }

    /// Gives up every connection there is: who waits for an answer hears of it at once.
    pub fn give_up(&self) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *trusted).cancel();
    }

    fn trusted(&self) -> CancellationToken {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long connecting may take, to all servers there are.
    pub fn limit(&self) -> Duration {
        let servers = self.connection.each_server();
        let each = servers.iter().filter_map(Config::get_connect_timeout).sum::<Duration>();
        // A name has two addresses or so.
        (each * 2).clamp(SHORTEST, LONGEST)
    }

    /// A connection of its own, outside the pool.
    pub async fn connect_alone(&self) -> Result<Connection, StoreError> {
        let limit = self.limit();
        let connected = timeout(limit, self.connect_hedged()).await;
        let (client, task) = connected.map_err(|_| StoreError::Silent(limit))??;
        Ok(Connection { client, task })
    }

    /// Connects, with another try beside those that take long. The first to end decides.
    async fn connect_hedged(&self) -> Result<Driven, Error> {
        let mut tries = FuturesUnordered::new();
        loop {
            if tries.len() < TRIES {
                tries.push(self.connect_to_any());
            }
            tokio::select! {
                Some(ended) = tries.next() => return ended,
                () = sleep(ANOTHER) => {}
            }
        }
    }

    /// Connects to the first server that is as wanted. Each of their addresses has the time limit
    /// of connecting for all of it: one that accepts and then is silent must not hide the next. The
    /// last one says what is wrong, and its silence is for the caller to end.
    async fn connect_to_any(&self) -> Result<Driven, Error> {
        let mut servers = self.connection.each_server();
        if servers.iter().any(|one| one.get_load_balance_hosts() == LoadBalanceHosts::Random) {
            fastrand::shuffle(&mut servers);
        }
        let mut addresses = Vec::new();
        for server in servers {
            let limit = server.get_connect_timeout().copied().unwrap_or(LONGEST);
            match timeout(limit, each_address(&server)).await {
                Ok(Ok(found)) => addresses.extend(found),
                // It cannot be looked up, which connecting will say.
                Ok(Err(_)) | Err(_) => addresses.push(server),
            }
        }
        let last = addresses.pop().unwrap_or_default();
        for address in addresses {
            let limit = address.get_connect_timeout().copied().unwrap_or(LONGEST);
            if let Ok(Ok(connection)) = timeout(limit, self.connect_to(&address)).await {
                return Ok(connection);
            }
        }
        self.connect_to(&last).await
    }

    async fn connect_to(&self, address: &Config) -> Result<Driven, Error> {
        let given_up = self.trusted();
        let (client, connection) = address.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            tokio::select! {
                // The client's next use tells of a lost connection.
                _ = connection => {}
                () = given_up.cancelled() => {}
            }
        });
        Ok((client, task))
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Driven, Error>> + Send + '_>> {
        Box::pin(self.connect_hedged())
    }
}

/// Waits for an answer, not longer than the limit.
pub async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Silent(limit)),
    }
}

/// The settings for each address of a server.
async fn each_address(server: &Config) -> std::io::Result<Vec<Config>> {
    let ([Host::Tcp(name)], []) = (server.get_hosts(), server.get_hostaddrs()) else {
        return Ok(vec![server.clone()]);
    };
    // The port is set beside.
    let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
    let one = |address: SocketAddr| {
        let mut one = server.clone();
        one.hostaddr(address.ip());
        one
    };
    Ok(found.into_iter().map(one).collect())
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
