//! The way to receivers: names, the address policy, connections, and the roots that verify them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use url::Url;

use crate::cli::checks::Check;
use crate::config::{Config, Listen};
use crate::daemon;
use crate::guard::{Policy, literal};
use crate::send::{self, Sender, SenderError};

const LOOK_UP: &str = "look-up";
const ROOTS: &str = "TLS roots";
/// Addresses of one name that are tried, as for deliveries.
const MAX_ADDRESSES: usize = 4;

/// The receiver to try.
pub(super) struct Target<'a> {
    /// Its URL.
    pub(super) url: &'a str,
    /// Whether somebody named it: then it has to work. Else the fault may be the receiver's.
    pub(super) asked_for: bool,
}

/// What went wrong on the way, and the mend.
type Trouble = (String, &'static str);

/// What sends deliveries, with the same policy and the same roots.
pub(super) async fn sender(config: &Config) -> Result<Sender, SenderError> {
    let admin = match &config.admin.listen {
        // Port 0 is whatever is free, and would stand for every port.
        Listen::Tcp(address) if address.port() != 0 => Some(*address),
        Listen::Tcp(_) | Listen::Unix(_) | Listen::Off => None,
    };
    daemon::build_sender(config, &daemon::own_addresses(config, admin).await)
}

/// Goes all the way to a receiver, but for the request.
pub(super) async fn look_up(
    config: &Config,
    sender: Option<&Sender>,
    target: Option<Target<'_>>,
) -> Check {
    let Some(Target { url, asked_for }) = target else {
        return Check::ok(
            LOOK_UP,
            "nothing to test; name a receiver with --probe https://example.com",
        );
    };
    let Some(sender) = sender else {
        return Check::warn(LOOK_UP, "not tried, for there are no roots to verify with");
    };
    let started = Instant::now();
    match walk(sender, url, config.delivery.connect_timeout).await {
        Ok(found) => {
            let took = started.elapsed().as_millis();
            Check::ok(LOOK_UP, format!("{found}, in {took} ms"))
        }
        Err((finding, mend)) if asked_for => Check::fail(LOOK_UP, finding).mend(mend),
        Err((finding, mend)) => Check::warn(LOOK_UP, finding).mend(format!(
            "{mend}\nor is it the receiver? try another: outboxd doctor --probe https://example.com"
        )),
    }
}

async fn walk(sender: &Sender, url: &str, limit: Duration) -> Result<String, Trouble> {
    const NO_URL: &str = "the daemon marks an endpoint with such a URL invalid; correct the URL";
    const BLOCKED: &str = "private addresses are refused to keep receivers' URLs out of your \
                           network; see delivery.allow";
    const DNS: &str = "does this host resolve names? try: getent ahosts example.com, and look at \
                       /etc/resolv.conf";
    const LOST: &str = "report this";
    let policy = sender.policy();
    let url = policy.check_url(url).map_err(|error| (error.to_string(), NO_URL))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let addresses = addresses(policy, &url).await.map_err(|error| match error {
        Unusable::Name(error) => (format!("{host}: {error}"), DNS),
        Unusable::Address(error) => (format!("{host}: {error}"), BLOCKED),
    })?;
    let tls = (url.scheme() == "https").then(|| Arc::new(sender.tls().clone()));
    // The handshake of rustls is driven here as the library has it, which blocks.
    let handshake = tokio::task::spawn_blocking(move || connect(&url, &addresses, tls, limit));
    let (address, version) = handshake.await.map_err(|error| (error.to_string(), LOST))??;
    Ok(match version {
        Some(version) => format!("{host} at {address}, {version}, its certificate is trusted"),
        None => format!("{host} at {address} accepts connections, without TLS"),
    })
}

/// Why a name leads to no address.
enum Unusable {
    Name(String),
    Address(String),
}

async fn addresses(policy: &Policy, url: &Url) -> Result<Vec<SocketAddr>, Unusable> {
    let port = url.port_or_known_default().unwrap_or(0);
    let name = url.host_str().unwrap_or_default();
    let addresses = match literal(url) {
        Some(ip) => vec![SocketAddr::new(ip, port)],
        None => send::look_up(name, port).await.map_err(Unusable::Name)?,
    };
    send::admit(policy, &addresses).map_err(|refusal| Unusable::Address(refusal.to_string()))?;
    Ok(addresses.into_iter().take(MAX_ADDRESSES).collect())
}

/// Connects to the first address that answers, and shakes hands.
fn connect(
    url: &Url,
    addresses: &[SocketAddr],
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
) -> Result<(SocketAddr, Option<&'static str>), Trouble> {
    const TCP: &str = "does a firewall let this host connect to that port?";
    const TLS: &str = "the receiver should send its whole chain of certificates; for one that a \
                       private authority signed, name that in delivery.ca_file";
    let mut failure = String::new();
    for address in addresses {
        let mut stream = match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => stream,
            Err(error) => {
                failure = format!("cannot connect to {address}: {error}");
                continue;
            }
        };
        let Some(tls) = tls else { return Ok((*address, None)) };
        return match handshake(&mut stream, url, tls, limit) {
            Ok(version) => Ok((*address, Some(version))),
            Err(error) => Err((format!("no TLS with {address}: {error}"), TLS)),
        };
    }
    Err((failure, TCP))
}

fn handshake(
    stream: &mut TcpStream,
    url: &Url,
    tls: Arc<ClientConfig>,
    limit: Duration,
) -> Result<&'static str, String> {
    let name = match literal(url) {
        Some(ip) => ServerName::from(ip),
        None => ServerName::try_from(url.host_str().unwrap_or_default().to_owned())
            .map_err(|error| error.to_string())?,
    };
    let mut session = ClientConnection::new(tls, name).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(limit)).map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        session.complete_io(stream).map_err(|error| error.to_string())?;
    }
    Ok(match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    })
}

/// Whether there is something to verify receivers with.
pub(super) fn roots(config: &Config, error: Option<&SenderError>) -> Check {
    if let Some(error) = error {
        let text = error.to_string();
        let (finding, mend) = text.split_once(": install").unwrap_or((&text, ""));
        let check = Check::fail(ROOTS, finding);
        return if mend.is_empty() { check } else { check.mend(format!("install{mend}")) };
    }
    let system = rustls_native_certs::load_native_certs().certs.len();
    let more = match &config.delivery.ca_file {
        Some(path) => format!(", and those in {}", path.display()),
        None => String::new(),
    };
    if system == 0 {
        return Check::warn(ROOTS, format!("none of the system{more}: public receivers fail"))
            .mend("apt-get install ca-certificates");
    }
    Check::ok(ROOTS, format!("{system} of the system{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(allow: &[&str]) -> Sender {
        let allow = allow.iter().map(|rule| rule.parse().expect("a rule")).collect();
        let policy = Policy { allow, ..Policy::default() };
        Sender::new(Arc::new(policy), Duration::from_secs(1), None).expect("a sender")
    }

    async fn walked(allow: &[&str], url: &str) -> Result<String, String> {
        walk(&sender(allow), url, Duration::from_secs(1)).await.map_err(|(finding, _)| finding)
    }

    #[tokio::test]
    async fn every_step_on_the_way_can_fail() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for mut stream in listener.incoming().flatten() {
                let mut hello = [0; 512];
                if stream.read(&mut hello).is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
                }
            }
        });
        let local = &["127.0.0.0/8"][..];
        for (allow, url, part) in [
            (&[][..], "ftp://example.com".to_owned(), "scheme"),
            (&[], format!("http://localhost:{port}"), "localhost: "),
            (&[], "https://127.0.0.1".to_owned(), "is refused: loopback"),
            (&[], "https://nowhere.invalid".to_owned(), "cannot resolve"),
            (local, "http://127.0.0.1:9".to_owned(), "is refused: of the ports"),
            (local, format!("https://127.0.0.1:{port}"), "no TLS with 127.0.0.1"),
        ] {
            let trouble = walked(allow, &url).await.expect_err(&url);
            assert!(trouble.contains(part), "{url}: {trouble}");
        }
        let found = walked(local, &format!("http://127.0.0.1:{port}/secret")).await;
        assert_eq!(
            found,
            Ok(format!("127.0.0.1 at 127.0.0.1:{port} accepts connections, without TLS"))
        );
    }
}
