//! Names into addresses that may be dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use crate::guard::{Blocked, Policy};

/// Longest look-up of a name.
const DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// A name that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
pub struct NoSuchName(String);

/// A name that resolves to a forbidden address.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(Blocked);

/// Resolves names, and hands on only addresses that the policy admits: what was judged is what is
/// dialled. One forbidden address refuses them all.
#[derive(Debug)]
pub struct GuardedResolver {
    policy: Arc<Policy>,
    port: u16,
}

impl GuardedResolver {
    /// For the requests to one port.
    pub fn new(policy: Arc<Policy>, port: u16) -> Self {
        Self { policy, port }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, port) = (self.policy.clone(), self.port);
        Box::pin(async move {
            let addresses = resolve(name.as_str(), port).await?;
            policy.check_all(&addresses).map_err(Refused)?;
            let chosen: Vec<SocketAddr> = addresses.into_iter().take(MAX_ADDRESSES).collect();
            Ok(Box::new(chosen.into_iter()) as Addrs)
        })
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, NoSuchName> {
    match timeout(DNS_TIMEOUT, tokio::net::lookup_host((name, port))).await {
        Err(_) => Err(NoSuchName(format!("no answer within {DNS_TIMEOUT:?}"))),
        Ok(Err(error)) => Err(NoSuchName(error.to_string())),
        Ok(Ok(found)) => {
            let addresses: Vec<SocketAddr> = found.collect();
            if addresses.is_empty() {
                return Err(NoSuchName("it has no address".to_owned()));
            }
            Ok(addresses)
        }
    }
}

/// Resolves a name as deliveries do, for `doctor`.
///
/// # Errors
/// What went wrong, for people.
pub async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    resolve(name, port).await.map_err(|error| error.to_string())
}
