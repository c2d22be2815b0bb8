//! Who gets to a route of the admin listener. Whatever is not named open here needs a token, so that
//! a route which is added later is closed until somebody decides otherwise.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::config::{Config, Listen, Token};

/// Bytes of the body of a request.
const BODY_BYTES: usize = 1024 * 1024;
/// Wrong tokens that are answered as such at once, and then one in [`RECOVERY`].
const WRONG_TOKENS: u32 = 10;
const RECOVERY: Duration = Duration::from_secs(1);

/// Tells which site a page belongs to that makes a browser send a request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    /// Over TCP, to one of our addresses.
    Tcp {
        /// Ours, as the client has it.
        local: Option<SocketAddr>,
        /// The client's.
        peer: SocketAddr,
    },
    /// Through a unix socket, whose file mode has decided already.
    Unix,
}

/// What all requests are judged with.
pub(super) struct Guard {
    config: watch::Receiver<Arc<Config>>,
    /// Where it listens on TCP.
    bound: Option<SocketAddr>,
    /// Whether other machines get there.
    network: bool,
    wrong: Mutex<Allowance>,
}

impl Guard {
    /// Of a listener that is bound there; `None`: to no TCP address.
    pub(super) fn new(config: watch::Receiver<Arc<Config>>, bound: Option<SocketAddr>) -> Self {
        let network = bound.is_some_and(|bound| Listen::Tcp(bound).is_network());
        Self { config, bound, network, wrong: Mutex::new(Allowance::new(Instant::now())) }
    }

    /// Whether a path answers without a token. Who runs on this machine may see metrics and
    /// readiness; whether the daemon lives, which load balancers ask, says nothing about it.
    fn is_open(&self, path: &str) -> bool {
        match path {
            "/livez" => true,
            "/metrics" | "/readyz" => !self.network,
            _ => false,
        }
    }

    fn judge(&self, door: Door, request: &Request) -> Result<(), Refusal> {
        let config = self.config.borrow().clone();
        let headers = request.headers();
        let host = host(headers)?;
        if let Door::Tcp { local, .. } = door {
            // Probes of HTTP/1.0 may leave the host out; browsers never do.
            if host.is_none() && request.version() != Version::HTTP_10 {
                return Err(Refusal::NoHost);
            }
            let named = [host.as_ref(), request.uri().authority()];
            let ours = [local, self.bound].map(|address| address.map(|address| address.ip()));
            let answers = |name: &Authority| answers_for(name.host(), ours, &config.admin.hosts);
            if !named.into_iter().flatten().all(answers) {
                return Err(Refusal::ForeignHost);
            }
        }
        check_site(headers, host.as_ref())?;
        if body_is_too_long(headers) {
            return Err(Refusal::Body);
        }
        if self.is_open(request.uri().path()) {
            return Ok(());
        }
        let tokens = &config.admin.tokens;
        if tokens.is_empty() && !self.network {
            return Err(Refusal::Off);
        }
        self.check_token(door, headers, tokens)
    }

    /// The right token always passes: nobody can lock its owner out by sending wrong ones.
    fn check_token(
        &self,
        door: Door,
        headers: &HeaderMap,
        tokens: &[Token],
    ) -> Result<(), Refusal> {
        let given = bearer(headers).ok_or(Refusal::NoToken)?;
        if Token::new(given).is_among(tokens) {
            return Ok(());
        }
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.take(Instant::now()) {
            return Err(Refusal::TooManyWrong);
        }
        match door {
            Door::Tcp { peer, .. } => tracing::warn!(%peer, "a wrong admin token was refused"),
            Door::Unix => tracing::warn!("a wrong admin token was refused on the unix socket"),
        }
        Err(Refusal::WrongToken)
    }
}

/// Routes behind the guard, for requests that come in by one door.
pub(super) fn protected(routes: Router, guard: Arc<Guard>, door: Door) -> Router {
    routes
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state((guard, door), check))
}

async fn check(
    State((guard, door)): State<(Arc<Guard>, Door)>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.judge(door, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the request has no Host header, or more than one")]
    NoHost,
    #[error("requests for this host are not answered here; its name could be put in admin.hosts")]
    ForeignHost,
    #[error("a page of another site may not make requests here")]
    ForeignSite,
    #[error("the body has more than 1 MiB")]
    Body,
    #[error("there is nothing here")]
    Off,
    #[error("send a token: Authorization: Bearer ...")]
    NoToken,
    #[error("the token is wrong")]
    WrongToken,
    #[error("too many wrong tokens; try again later")]
    TooManyWrong,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignSite => StatusCode::FORBIDDEN,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Off => StatusCode::NOT_FOUND,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooManyWrong => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let headers = response.headers_mut();
        match self {
            Self::NoToken | Self::WrongToken => {
                let scheme = HeaderValue::from_static("Bearer realm=\"outboxd\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            Self::TooManyWrong => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RECOVERY.as_secs()));
            }
            _ => {}
        }
        response
    }
}

/// The one value of a header field; `Err`: there are several.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(()),
        (value, None) => Ok(value),
    }
}

/// What the Host header names, if there is one that names anything.
fn host(headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let value = only(headers, header::HOST).map_err(|()| Refusal::NoHost)?;
    let named = value.filter(|value| !value.is_empty());
    named
        .map(|value| Authority::try_from(value.as_bytes()))
        .transpose()
        .map_err(|_| Refusal::NoHost)
}

/// Whether a name may stand for this listener. A page whose name somebody has pointed at our address
/// is of the same origin for its browser; but its requests carry its own name.
fn answers_for(host: &str, ours: [Option<IpAddr>; 2], further: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let mut ours = ours.into_iter().flatten().map(|address| address.to_canonical());
    address.is_some_and(|address| ours.any(|one| one == address))
        || host.eq_ignore_ascii_case("localhost")
        || further.iter().any(|name| bare.eq_ignore_ascii_case(name))
}

/// Refuses what the page of another site makes a browser send.
fn check_site(headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Refusal> {
    let mut sites = headers.get_all(FETCH_SITE).iter();
    if !sites.all(|site| site == "same-origin" || site == "none") {
        return Err(Refusal::ForeignSite);
    }
    let own = |origin: &HeaderValue| {
        let origin = Uri::try_from(origin.as_bytes()).unwrap_or_default();
        // `null` is no address, though it reads like one.
        origin.scheme().is_some() && host.is_some() && origin.authority() == host
    };
    if headers.get_all(header::ORIGIN).iter().all(own) { Ok(()) } else { Err(Refusal::ForeignSite) }
}

/// Whether the length is known and too large. Of a body of unknown length, routes read no more than
/// the limit.
fn body_is_too_long(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > BODY_BYTES))
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = only(headers, header::AUTHORIZATION).ok()??.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// How many wrong tokens are answered as such, and logged; more get a shorter way out.
#[derive(Debug)]
struct Allowance {
    /// When all that was taken has come back.
    full_at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + RECOVERY;
        let taken = full_at - now <= RECOVERY * WRONG_TOKENS;
        if taken {
            self.full_at = full_at;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_wrong_tokens_at_once_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut wrong = Allowance::new(start);
        let mut taken = |now| (0..100).filter(|_| wrong.take(now)).count();
        let most = WRONG_TOKENS as usize;
        assert_eq!([taken(start), taken(start)], [most, 0]);
        assert_eq!([taken(start + RECOVERY), taken(start + RECOVERY * 3)], [1, 2]);
        assert_eq!(taken(start + RECOVERY * 1_000), most);
    }

    #[test]
    fn only_own_addresses_and_names_stand_for_the_listener() {
        let ours = ["127.0.0.1", "::ffff:192.0.2.1"].map(|text| text.parse().ok());
        let further = ["outboxd.example".to_owned(), "2001:db8::1".to_owned()];
        for (host, expected) in [
            ("127.0.0.1", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.1", true),
            ("LocalHost", true),
            ("Outboxd.Example", true),
            ("[2001:db8::1]", true),
            ("127.0.0.2", false),
            ("0.0.0.0", false),
            ("localhost.", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.outboxd.example", false),
            ("[::1]", false),
            ("2130706433", false),
            ("", false),
        ] {
            assert_eq!(answers_for(host, ours, &further), expected, "{host}");
        }
    }
}
