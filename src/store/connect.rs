//! Connections: how they are made, and how long their answers are waited for.
//!
//! A network can take a connection away without a word. So every wait has an end: of a server that
//! is connected to, of an answer, and of all answers at once when one connection has shown that the
//! database is out of reach.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::StoreError;
use crate::config::connection::ConnectionString;

/// How long a connection that is no longer used may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Makes connections.
pub struct Connector {
    connection: ConnectionString,
    tls: MakeRustlsConnect,
    /// Cancelled when the connections made until then are given up.
    trusted: Mutex<CancellationToken>,
}

/// A connection, and the task that drives it.
pub struct Connection {
    client: Client,
    /// Cancelled when nothing is expected of it any more.
    given_up: CancellationToken,
    /// Ends the task.
    _dropped: DropGuard,
}

impl Connector {
    /// # Errors
    /// When the TLS files of the connection string cannot be used.
    pub fn new(connection: &ConnectionString) -> Result<Self, StoreError> {
        let tls = super::tls::connector(&connection.tls())?;
        Ok(Self { connection: connection.clone(), tls, trusted: Mutex::default() })
    }

    /// Gives up every connection there is: who waits for an answer hears of it at once.
    pub fn give_up(&self) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *trusted).cancel();
    }

    fn trusted(&self) -> CancellationToken {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects to the first server that is as wanted. Each of their addresses has the time limit
    /// of connecting for all of it: one that accepts and then is silent must not hide the next.
    pub async fn connect(&self) -> Result<Connection, StoreError> {
        let mut servers = self.connection.each_server();
        if servers.iter().any(|one| one.get_load_balance_hosts() == LoadBalanceHosts::Random) {
            fastrand::shuffle(&mut servers);
        }
        let mut failure = StoreError::Pool("the connection string names no server".to_owned());
        for server in servers {
            let limit = server.get_connect_timeout().copied().unwrap_or(Duration::MAX);
            let addresses = match timeout(limit, each_address(&server)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(error)) => {
                    failure = StoreError::Pool(format!("{}: {error}", name(&server)));
                    continue;
                }
                Err(_) => {
                    failure = StoreError::Silent(limit);
                    continue;
                }
            };
            for address in addresses {
                match timeout(limit, self.connect_to(&address)).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => failure = error.into(),
                    Err(_) => failure = StoreError::Silent(limit),
                }
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: &Config) -> Result<Connection, tokio_postgres::Error> {
        let given_up = self.trusted();
        let (client, connection) = address.connect(self.tls.clone()).await?;
        let dropped = CancellationToken::new();
        let guard = dropped.clone().drop_guard();
        tokio::spawn(async move {
            // It ends with the client, once all answers have come; or without, when none do.
            let abandoned = async {
                dropped.cancelled().await;
                sleep(GOODBYE).await;
            };
            tokio::select! {
                // The client's next use tells of a lost connection.
                _ = connection => {}
                () = abandoned => {}
            }
        });
        Ok(Connection { client, given_up, _dropped: guard })
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

fn name(server: &Config) -> String {
    match server.get_hosts() {
        [Host::Tcp(name), ..] => name.clone(),
        [Host::Unix(path), ..] => path.display().to_string(),
        [] => String::new(),
    }
}

impl Connection {
    /// Waits for an answer, not longer than the limit, and only while the database is in reach.
    pub async fn answered<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            answer = answer => Ok(answer?),
            () = self.given_up.cancelled() => {
                Err(StoreError::Pool("the database was out of reach, and is not waited for".into()))
            }
            () = sleep(limit) => Err(StoreError::Silent(limit)),
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Manager for Connector {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        self.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<StoreError> {
        if connection.is_closed() || connection.given_up.is_cancelled() {
            return Err(RecycleError::message("the connection is lost"));
        }
        Ok(())
    }
}
