//! One HTTP request: the only module that knows reqwest.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, redirect, retry};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::endpoint::Endpoint;
use crate::guard::{self, Blocked, Policy};
use crate::outcome::{Outcome, Reply};
use crate::profile::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::retry_after;

/// Connections of ours are closed before receivers close them: Node does after 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept per host.
const IDLE_PER_HOST: usize = 64;
/// Longest look-up of a name.
const DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Header fields of a reply.
const MAX_REPLY_HEADERS: usize = 64;
/// Bytes of a reply's body that are read, so that a short one leaves the connection reusable.
const BODY_READ: usize = 16 * 1024;
/// Bytes of a reply's body that are kept, and of its headers.
const REPLY_KEPT: usize = 4 * 1024;
/// Time for the body once the head has decided.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an error text.
const ERROR_KEPT: usize = 500;

/// A request, signed and ready.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub endpoint: &'a Endpoint,
    /// The `webhook-id`.
    pub id: &'a str,
    /// The `webhook-timestamp`, in unix seconds.
    pub timestamp: i64,
    /// The `webhook-signature`.
    pub signature: &'a str,
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
        let resolver = GuardedResolver { policy: self.policy.clone(), port };
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
        Ok(clients.entry(port).or_insert(client).clone())
    }

    /// The address policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Makes the request. Whatever the receiver does is a [`Reply`].
    pub async fn send(&self, request: Request<'_>) -> Reply {
        let started = Instant::now();
        let deadline = started + request.timeout;
        let url = &request.endpoint.url;
        let port = url.port_or_known_default().unwrap_or(0);
        // A literal address never reaches the resolver.
        if let Some(ip) = guard::literal(url)
            && let Err(blocked) = self.policy.check(SocketAddr::new(ip, port))
        {
            return Reply::failure(Outcome::Blocked, blocked.to_string());
        }
        let headers = match headers(&request) {
            Ok(headers) => headers,
            Err(error) => return Reply::failure(Outcome::Protocol, error),
        };
        let client = match self.client(port) {
            Ok(client) => client,
            Err(error) => return Reply::failure(Outcome::Protocol, error.to_string()),
        };
        let sent = client.post(url.clone()).headers(headers).body(request.body).send();
        match timeout_at(deadline.into(), sent).await {
            Ok(Ok(response)) => read(response, deadline).await,
            Ok(Err(error)) => self.failure(&error, started),
            Err(_) => late(request.timeout),
        }
    }

    fn failure(&self, error: &reqwest::Error, started: Instant) -> Reply {
        let outcome = classify(error);
        let mut reply = Reply::failure(outcome, describe(error));
        if outcome == Outcome::TimeoutConnect {
            reply.error = Some(format!("no connection within {:?}", self.connect_timeout));
        }
        let in_time = started.elapsed() < IDLE;
        reply.closed_unanswered = in_time && !error.is_connect() && was_closed_unanswered(error);
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

fn headers(request: &Request<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(8 + request.endpoint.headers.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Checked when the endpoint was loaded; kept as strings there so that only this module knows
    // the types of the HTTP library.
    for (name, value) in &request.endpoint.headers {
        let name: HeaderName = name.parse().map_err(|_| format!("bad header name '{name}'"))?;
        let value = value.parse().map_err(|_| format!("bad value of header '{name}'"))?;
        headers.insert(name, value);
    }
    let mut insert = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| format!("bad value of {name}"))?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, String>(())
    };
    insert(ID_HEADER, request.id)?;
    insert(TIMESTAMP_HEADER, &request.timestamp.to_string())?;
    insert(SIGNATURE_HEADER, request.signature)?;
    Ok(headers)
}

/// The head has arrived and decides; the body only adds to the record.
async fn read(response: Response, deadline: Instant) -> Reply {
    let status = response.status().as_u16();
    let outcome = Outcome::of_status(status);
    let wanted = matches!(status, 429 | 503);
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .filter(|_| wanted)
        .and_then(|value| retry_after::parse(value.as_bytes(), unix_seconds()));
    let mut reply = Reply {
        outcome,
        status: Some(status),
        headers: Some(headers_to_json(response.headers())),
        body: Bytes::new(),
        error: explain(outcome, status, response.headers()),
        remote_addr: response.remote_addr().map(|address| address.to_string()),
        retry_after,
        closed_unanswered: false,
    };
    let until = deadline.min(Instant::now() + BODY_TIMEOUT);
    let (body, cut) = read_body(response, until).await;
    reply.body = body;
    if let Some(cut) = cut {
        reply.error = Some(match reply.error {
            Some(error) => format!("{error}; {cut}"),
            None => cut,
        });
    }
    reply
}

/// The first bytes of the body, and why it was not read to its end, if that was not its length.
async fn read_body(mut response: Response, until: Instant) -> (Bytes, Option<String>) {
    let mut body = BytesMut::new();
    let mut read = 0;
    let late = sleep_until(until.into());
    tokio::pin!(late);
    let cut = loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            () = &mut late => break Some("the body was cut short: it took too long".to_owned()),
        };
        match chunk {
            Ok(None) => break None,
            Ok(Some(chunk)) => {
                read += chunk.len();
                let room = REPLY_KEPT - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if read > BODY_READ {
                    break None;
                }
            }
            Err(error) => break Some(format!("the body was cut short: {}", describe(&error))),
        }
    };
    (body.freeze(), cut)
}

fn explain(outcome: Outcome, status: u16, headers: &HeaderMap) -> Option<String> {
    match outcome {
        Outcome::Success => None,
        Outcome::Http3xx => {
            let target = headers.get("location").map(|value| printable(value.as_bytes()));
            let target = target.unwrap_or_else(|| "nowhere".to_owned());
            Some(capped(format!("redirects are not followed: {status} to {target}")))
        }
        _ => Some(format!("the receiver answered {status}")),
    }
}

/// Headers as a JSON object; what only the connection needs is left out, and what does not fit.
fn headers_to_json(headers: &HeaderMap) -> String {
    let mut object = serde_json::Map::new();
    let mut size = 0;
    for name in headers.keys() {
        if matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding" | "date") {
            continue;
        }
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| printable(value.as_bytes())).collect();
        let value = values.join(", ");
        size += name.as_str().len() + value.len();
        if size > REPLY_KEPT {
            break;
        }
        object.insert(name.as_str().to_owned(), value.into());
    }
    serde_json::Value::Object(object).to_string()
}

/// Bytes of a receiver as text that can neither break a log nor a terminal.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&byte.escape_ascii().to_string()),
        }
    }
    text
}

fn capped(mut text: String) -> String {
    if text.len() > ERROR_KEPT {
        let end = (0..=ERROR_KEPT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The chain of causes, without the URL: path and query of a webhook are often its credential.
fn describe(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = StdError::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !parts.last().is_some_and(|last| last.contains(&text)) {
            parts.push(text);
        }
        cause = inner.source();
    }
    if parts.is_empty() {
        parts.push(if error.is_timeout() { "timed out" } else { "the request failed" }.to_owned());
    }
    capped(printable(parts.join(": ").as_bytes()))
}

/// Looks for a cause of a type in the chain of an error, and inside I/O errors.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if let Some(found) = inside.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn classify(error: &reqwest::Error) -> Outcome {
    if find::<Refused>(error).is_some() {
        Outcome::Blocked
    } else if find::<NoSuchName>(error).is_some() {
        Outcome::Dns
    } else if find::<rustls::Error>(error).is_some() {
        Outcome::Tls
    } else if error.is_connect() && error.is_timeout() {
        Outcome::TimeoutConnect
    } else if error.is_connect() {
        Outcome::Tcp
    } else if error.is_timeout() {
        Outcome::TimeoutResponse
    } else if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        Outcome::Protocol
    } else if find::<hyper::Error>(error).is_some() || find::<std::io::Error>(error).is_some() {
        Outcome::Tcp
    } else {
        Outcome::Protocol
    }
}

fn was_closed_unanswered(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    find::<hyper::Error>(error).is_some_and(|e| e.is_incomplete_message() || e.is_canceled())
        || find::<std::io::Error>(error)
            .is_some_and(|e| matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
}

/// A name that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
struct NoSuchName(String);

/// A name that resolves to a forbidden address.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refused(Blocked);

/// Resolves names, and hands on only addresses that the policy admits: what was judged is what is
/// dialled. One forbidden address refuses them all.
#[derive(Debug)]
struct GuardedResolver {
    policy: Arc<Policy>,
    port: u16,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_receiver_cannot_act_on_a_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\0\r\n\xff"), r"a\x1b[2Jb\x00\r\n\xff");
    }

    #[test]
    fn error_texts_are_capped_at_a_character() {
        assert_eq!(capped("é".repeat(ERROR_KEPT)).len(), ERROR_KEPT);
    }

    #[test]
    fn recorded_headers_are_bounded_and_skip_the_connection() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        assert_eq!(headers_to_json(&headers), r#"{"x-a":"1, 2"}"#);
        for n in 0..60 {
            let name: HeaderName = format!("x-{n}").parse().expect("a header name");
            headers.insert(name, HeaderValue::from_str(&"v".repeat(1000)).expect("a value"));
        }
        assert!(headers_to_json(&headers).len() < 2 * REPLY_KEPT);
    }
}
