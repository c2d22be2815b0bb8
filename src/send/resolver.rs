//! Names into addresses that may be dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::look_up::addresses;
use super::reach::{Refusal, admit};
use crate::guard::Policy;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// A name that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
pub struct NoSuchName(String);

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
            let mut found = resolve(name.as_str(), port).await?;
            policy.check_all(&found).map_err(Refusal::from)?;
            found.truncate(MAX_ADDRESSES);
            // Of the others it does not matter whether they are this machine's.
            admit(&policy, &found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, NoSuchName> {
    let found = addresses(name).await.map_err(NoSuchName)?;
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Resolves a name as deliveries do, for `doctor` and for finding the database.
///
/// # Errors
/// What went wrong, for people.
pub async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    resolve(name, port).await.map_err(|error| error.to_string())
}
