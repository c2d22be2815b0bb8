//! `outboxd listen`: a throwaway receiver that prints and verifies what arrives.

mod arrival;
mod seen;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Global;
use super::failure::Failure;
use super::output::{self, Format};
use super::verify::{Clock, ProfileArgs, SecretArgs, Verifier};
use crate::config::duration;
use crate::guard;
use crate::sign;
use arrival::Arrival;
use seen::{Repeat, Seen};

/// Bytes of a body that are taken.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// Ids remembered.
const REMEMBERED: usize = 10_000;
/// How far a timestamp may be from now.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Time that open connections have at the end.
const CLOSE: Duration = Duration::from_millis(500);

/// Options of `listen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    /// HTTP status to answer
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
    /// Answer every Nth request with 500 instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fail_every: Option<u64>,
    /// Wait before answering
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    delay: Duration,
    /// End after N requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    format: Format,
}

/// Listens until it is interrupted, or has had enough.
///
/// # Errors
/// When the secret cannot be used or the address cannot be had.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let given = args.secret.read()?;
    let (secrets, shown) = match given {
        // It is in the subscription only, and nothing else has it: it may be shown.
        None => {
            let fresh = sign::generate().map_err(|error| Failure::failed(error.to_string()))?;
            (vec![fresh.clone()], fresh)
        }
        Some(secrets) => (secrets, "THE SECRET".to_owned()),
    };
    let verifier = Verifier::new(global, &args.profile, secrets)?;
    verifier.require_keys()?;
    let address = SocketAddr::new(args.address, args.port);
    let failed = |error: std::io::Error| {
        let hint = if error.kind() == ErrorKind::AddrInUse { "; try another --port" } else { "" };
        Failure::failed(format!("cannot listen on {address}: {error}{hint}"))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    eprint!("{}", greeting(bound, verifier.profile(), &shown));
    let stop = CancellationToken::new();
    let receiver =
        Arc::new(Receiver { verifier, args, tally: Mutex::default(), stop: stop.clone() });
    tokio::spawn(interrupted(stop.clone()));
    serve(listener, receiver.clone(), stop).await?;
    eprintln!("{}", receiver.summary());
    Ok(())
}

/// What to do with the receiver that just started.
fn greeting(bound: SocketAddr, profile: &str, secret: &str) -> String {
    let host = if bound.ip().is_unspecified() {
        format!("THIS-HOST:{}", bound.port())
    } else {
        bound.to_string()
    };
    let profile = match profile {
        "standard" => String::new(),
        other => format!(", profile => '{other}'"),
    };
    let mut text = format!(
        "listening on http://{host}/; Ctrl-C ends it. To subscribe it, in the database:\n  \
         SELECT outbox.subscribe(url => 'http://{host}/', secret => '{secret}'{profile});\n"
    );
    if guard::classify(bound.ip()).is_err() {
        text.push_str(&format!(
            "The daemon delivers to such an address only if its configuration permits it:\n  \
             delivery.allow = [\"{host}\"]\n"
        ));
    }
    text
}

async fn interrupted(stop: CancellationToken) {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
}

async fn serve(
    listener: TcpListener,
    receiver: Arc<Receiver>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let app = Router::new().fallback(receive).with_state(receiver);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(CLOSE).await;
    };
    tokio::select! {
        end = served => end.map_err(|error| Failure::failed(error.to_string())),
        // A connection that stays open does not hold up the end.
        () = late => Ok(()),
    }
}

/// What every request meets.
struct Receiver {
    verifier: Verifier,
    args: Args,
    tally: Mutex<Tally>,
    stop: CancellationToken,
}

/// What has arrived so far.
#[derive(Default)]
struct Tally {
    received: u64,
    verified: u64,
    duplicates: u64,
    retries: u64,
    seen: Seen,
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.ok();
    let Some((status, last)) = receiver.note(&parts, body) else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    tokio::time::sleep(receiver.args.delay).await;
    if last {
        receiver.stop.cancel();
    }
    status
}

impl Receiver {
    /// Counts and prints a request; a body that is too long is none. Returns how to answer, and
    /// whether this was the last one; `None` when there have been enough.
    fn note(
        &self,
        parts: &axum::http::request::Parts,
        body: Option<Bytes>,
    ) -> Option<(StatusCode, bool)> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if self.args.count.is_some_and(|count| tally.received >= count) {
            return None;
        }
        tally.received += 1;
        let number = tally.received;
        let status = match &body {
            None => StatusCode::PAYLOAD_TOO_LARGE,
            Some(_) if self.args.fail_every.is_some_and(|n| number.is_multiple_of(n)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Some(_) => StatusCode::from_u16(self.args.status).unwrap_or(StatusCode::OK),
        };
        let clock = Clock { now: jiff::Timestamp::now().as_second(), tolerance: Some(TOLERANCE) };
        let mut arrival = Arrival::new(parts, body, &self.verifier, clock);
        arrival.status = status.as_u16();
        if let Some(id) = &arrival.id {
            arrival.repeat = tally.seen.note(id, status.is_success());
        }
        match arrival.repeat {
            Some(Repeat::Duplicate) => tally.duplicates += 1,
            Some(Repeat::Retry) => tally.retries += 1,
            None => {}
        }
        tally.verified += u64::from(arrival.problem.is_none());
        let text = if self.args.format.json { arrival.json() } else { arrival.text() };
        // Whoever reads the output may be gone; requests are still answered and counted.
        output::write_out(&text).ok();
        Some((status, self.args.count == Some(number)))
    }

    fn summary(&self) -> String {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Tally { received, verified, duplicates, retries, .. } = &*tally;
        format!(
            "received {received}, verified {verified}, duplicates {duplicates}, \
             retries after a failure {retries}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_tells_how_to_subscribe_and_what_to_allow() {
        let local = greeting("127.0.0.1:8080".parse().expect("an address"), "standard", "whsec_x");
        assert!(local.contains("url => 'http://127.0.0.1:8080/', secret => 'whsec_x'"), "{local}");
        assert!(local.contains("delivery.allow = [\"127.0.0.1:8080\"]"), "{local}");
        let public = greeting("8.8.8.8:80".parse().expect("an address"), "github", "x");
        assert!(!public.contains("allow"), "{public}");
        assert!(public.contains("secret => 'x', profile => 'github'"), "{public}");
    }
}
