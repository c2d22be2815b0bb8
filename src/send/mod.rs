//! One HTTP request: the only module that knows reqwest.

pub mod bare;
mod confidential;
mod failure;
mod look_up;
mod reach;
pub mod reply;
mod resolver;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect, retry};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout_at;

use crate::endpoint::Endpoint;
use crate::guard::{self, Policy};
use crate::outcome::{Outcome, Reply};
use confidential::Confidential;
use failure::describe;
use resolver::GuardedResolver;

pub use reach::{Refusal, admit};
pub use resolver::look_up;

/// Connections of ours are closed before receivers close them: Node does after 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept per host, which many endpoints may share: as many as there may be requests.
const IDLE_PER_HOST: usize = 512;
/// Header fields of a reply.
const MAX_REPLY_HEADERS: usize = 64;
/// Clients, one for each port in use; whoever writes endpoints chooses their ports.
const MAX_CLIENTS: usize = 256;
/// What is added when the connection ended while a reply was awaited.
const UNKNOWN_FATE: &str = "the event may have been received all the same";

/// A request, signed and ready.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub endpoint: &'a Endpoint,
    /// The headers of its profile; a static header of the endpoint overrides those that are no
    /// signature.
    pub headers: &'a [(&'a str, Cow<'a, str>)],
    /// The signatures among headers and body.
    pub signatures: &'a [String],
    /// The body.
    pub body: Bytes,
    /// For the whole exchange.
    pub timeout: Duration,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The extra roots cannot be read.
    #[error("delivery.ca_file: cannot read {0}: {1}")]
    CaFile(String, String),
    /// There is nothing to verify receivers with.
    #[error(
        "there is no root certificate to verify https receivers with: install the package \
         ca-certificates, or name a PEM file in delivery.ca_file"
    )]
    NoRoots,
    /// The client refused its settings.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

/// Sends requests.
#[derive(Debug)]
pub struct Sender {
    /// One client for each port: the library does not tell a resolver the port, and the policy
    /// judges addresses with it.
    clients: RwLock<HashMap<u16, Client>>,
    tls: rustls::ClientConfig,
    policy: Arc<Policy>,
    connect_timeout: Duration,
}

impl Sender {
    /// A sender that obeys the policy.
    ///
    /// # Errors
    /// See [`SenderError`].
    pub fn new(
        policy: Arc<Policy>,
        connect_timeout: Duration,
        ca_file: Option<&Path>,
    ) -> Result<Self, SenderError> {
        let tls = tls(ca_file)?;
        let sender = Self { clients: RwLock::default(), tls, policy, connect_timeout };
        // Whether a client can be built at all is better known now than at the first delivery.
        sender.client(443)?;
        Ok(sender)
    }

    fn client(&self, port: u16) -> Result<Client, SenderError> {
        let known = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(&port).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let resolver = GuardedResolver::new(self.policy.clone(), port);
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Arc::new(resolver))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_only()
            .http1_max_headers(MAX_REPLY_HEADERS)
            .tcp_nodelay(true)
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SenderError::Client(describe(&error)))?;
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS {
            // Requests under way keep theirs; idle connections are lost.
            clients.clear();
        }
        Ok(clients.entry(port).or_insert(client).clone())
    }

    /// The address policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How receivers are verified, for `doctor`.
    pub fn tls(&self) -> &rustls::ClientConfig {
        &self.tls
    }

    /// Makes the request. Whatever the receiver does is a [`Reply`].
    pub async fn send(&self, request: Request<'_>) -> Reply {
        let started = Instant::now();
        let deadline = started + request.timeout;
        let url = &request.endpoint.url;
        let port = url.port_or_known_default().unwrap_or(0);
        // The configuration may have changed since the endpoint was loaded.
        if let Err(error) = self.policy.check_parsed(url) {
            return Reply::failure(Outcome::Blocked, error.to_string());
        }
        // A literal address never reaches the resolver.
        if let Some(ip) = guard::literal(url)
            && let Err(refusal) = admit(&self.policy, &[SocketAddr::new(ip, port)])
        {
            return failure::refused(&refusal);
        }
        let headers = match headers(&request) {
            Ok(headers) => headers,
            Err(error) => return Reply::failure(Outcome::Protocol, error),
        };
        let client = match self.client(port) {
            Ok(client) => client,
            Err(error) => return Reply::failure(Outcome::Protocol, error.to_string()),
        };
        failpoint!("send.before_connect");
        let confidential = Confidential::of(request.endpoint, request.signatures);
        let sent = client.post(url.clone()).headers(headers).body(request.body).send();
        match timeout_at(deadline.into(), sent).await {
            Ok(Ok(response)) => match response.remote_addr().map(|peer| self.policy.check(peer)) {
                // Only judged addresses are dialled; should that ever fail, nothing is read there.
                Some(Err(blocked)) => Reply::failure(Outcome::Blocked, blocked.to_string()),
                _ => {
                    let success = &request.endpoint.success;
                    reply::read(response, deadline, success, &confidential).await
                }
            },
            Ok(Err(error)) => self.failure(&error, started),
            Err(_) => late(request.timeout),
        }
    }

    fn failure(&self, error: &reqwest::Error, started: Instant) -> Reply {
        if failure::is_want_of_means(error) {
            let reply = Reply::failure(Outcome::Interrupted, describe(error));
            return Reply { unmade: true, ..reply };
        }
        let outcome = failure::classify(error);
        let mut reply = Reply::failure(outcome, describe(error));
        if outcome == Outcome::TimeoutConnect {
            reply.error = Some(format!("no connection within {:?}", self.connect_timeout));
        }
        if !error.is_connect() && failure::was_closed_unanswered(error) {
            // Whoever reads it should look for a duplicate there.
            reply.error = reply.error.map(|error| format!("{error}; {UNKNOWN_FATE}"));
            reply.closed_unanswered = started.elapsed() < IDLE;
        }
        reply
    }
}

fn late(limit: Duration) -> Reply {
    Reply::failure(Outcome::TimeoutResponse, format!("no complete reply within {limit:?}"))
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, SenderError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unreadable = |error: &dyn fmt::Display| {
            SenderError::CaFile(path.display().to_string(), error.to_string())
        };
        let pem = std::fs::read(path).map_err(|error| unreadable(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            roots.add(certificate).map_err(|error| unreadable(&error))?;
        }
    }
    if roots.is_empty() {
        return Err(SenderError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SenderError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The headers of a request. They were checked when they were loaded, and are kept as strings there
/// so that only this module knows the types of the HTTP library.
fn headers(request: &Request<'_>) -> Result<HeaderMap, String> {
    let own = &request.endpoint.headers;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + own.len());
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let profile = request.headers.iter().map(|(name, value)| (*name, value.as_ref()));
    for (name, value) in profile.chain(own) {
        let key = HeaderName::from_bytes(name.as_bytes());
        let key = key.map_err(|_| format!("bad header name '{name}'"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("bad value of '{name}'"))?;
        headers.insert(key, value);
    }
    Ok(headers)
}
