//! The HTTP library alone: what `outboxd bench` holds the daemon's rate against.
//!
//! It signs, for every delivery has to be signed; there is no database, no policy, no record, no
//! limit, and its body and its addresses are made once.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::{Client, redirect, retry};
use url::Url;

use super::failure::describe;
use super::{IDLE, SenderError, tls};
use crate::sign::{Secret, standard_signature};

/// Longest wait for a reply; nobody gets there but a receiver that is gone.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client and the secret it signs with.
#[derive(Debug)]
pub struct Bare {
    client: Client,
    secret: Secret,
}

impl Bare {
    /// One that keeps up to `idle` connections to each host.
    ///
    /// # Errors
    /// See [`SenderError`].
    pub fn new(secret: Secret, ca_file: Option<&Path>, idle: usize) -> Result<Self, SenderError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls(ca_file)?)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .http1_only()
            .tcp_nodelay(true)
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SenderError::Client(describe(&error)))?;
        Ok(Self { client, secret })
    }

    /// Signs, sends, and reads the reply to its end, so that the connection can be used again.
    ///
    /// # Errors
    /// What went wrong, for people; a status other than 2xx is wrong too.
    pub async fn post(&self, url: &Url, id: &str, body: &Bytes) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = standard_signature([&self.secret], id, now.cast_signed(), body);
        let request = self
            .client
            .post(url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(body.clone());
        let reply = request.send().await.and_then(reqwest::Response::error_for_status);
        let reply = reply.map_err(|error| describe(&error))?;
        reply.bytes().await.map(drop).map_err(|error| describe(&error))
    }
}
