//! The receivers: one that works, one that works on the second try, and one that is not there.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::{TcpListener, TcpSocket};

use super::ledger::Ledger;
use super::tally::{Latencies, Numbers};
use crate::profile::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::sign::{self, Secret, verify_standard};

/// The flaky receiver fails the first try of every third event.
const FAILS_EVERY: u64 = 3;
/// Of these, every fourth gets no answer in time instead of a bad one.
const STALLS_EVERY: u64 = 4;
/// Longer than the demonstration's deadline for a request.
const STALL: Duration = Duration::from_secs(3);
/// How far the clock of a message may be off, as the libraries of Standard Webhooks have it.
const TOLERANCE_S: i64 = 300;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything.
    Healthy,
    /// Fails some requests, and takes them on the second try.
    Flaky,
    /// Nobody listens.
    Dead,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Flaky, Self::Dead];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Flaky => "flaky",
            Self::Dead => "dead",
        }
    }

    /// The name of its endpoint.
    pub const fn endpoint(self) -> &'static str {
        match self {
            Self::Healthy => "demo-healthy",
            Self::Flaky => "demo-flaky",
            Self::Dead => "demo-dead",
        }
    }
}

/// A receiver at its address.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) manner: Manner,
    pub(super) url: String,
    pub(super) secret: String,
    inbox: Arc<Inbox>,
    /// Keeps the dead receiver's port from being given to somebody who would answer.
    _reserved: Option<TcpSocket>,
}

/// What a receiver has seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Events taken, each counted once.
    pub(super) taken: u64,
    /// Requests for events that had been taken already.
    pub(super) duplicates: u64,
    /// Requests whose signature was right.
    pub(super) verified: u64,
    /// Requests whose signature was wrong.
    pub(super) wrong: u64,
    /// Half of the events took no longer from their commit until they were taken.
    pub(super) p50: Option<Duration>,
    /// As `p50`, for 99 %.
    pub(super) p99: Option<Duration>,
}

impl Receiver {
    /// Starts listening, on a port that the system chooses.
    pub(super) async fn start(manner: Manner, ledger: Arc<Ledger>) -> io::Result<Self> {
        let secret = sign::generate().map_err(io::Error::other)?;
        let key = Secret::parse(&secret).map_err(io::Error::other)?;
        let inbox = Arc::new(Inbox { manner, key: [key], ledger, state: Mutex::default() });
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (address, reserved) = if manner == Manner::Dead {
            // Bound but not listening: connections are refused.
            let socket = TcpSocket::new_v4()?;
            socket.bind(any_port)?;
            (socket.local_addr()?, Some(socket))
        } else {
            let listener = TcpListener::bind(any_port).await?;
            let address = listener.local_addr()?;
            let app = Router::new().route("/hooks", post(receive)).with_state(inbox.clone());
            // Listens to the end of the process; it never ends by itself.
            tokio::spawn(async move { axum::serve(listener, app).await });
            (address, None)
        };
        let url = format!("http://{address}/hooks");
        Ok(Self { manner, url, secret, inbox, _reserved: reserved })
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> Seen {
        let state = self.inbox.state.lock().unwrap_or_else(PoisonError::into_inner);
        let [p50, p99] = state.latencies.percentiles([50, 99]);
        Seen {
            taken: state.taken.len(),
            duplicates: state.duplicates,
            verified: state.verified,
            wrong: state.wrong,
            p50,
            p99,
        }
    }
}

#[derive(Debug)]
struct Inbox {
    manner: Manner,
    key: [Secret; 1],
    ledger: Arc<Ledger>,
    state: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    taken: Numbers,
    latencies: Latencies,
    duplicates: u64,
    verified: u64,
    wrong: u64,
    /// Events seen for the first time.
    first_tries: u64,
    /// Events that were failed and have not come back yet.
    failed: HashSet<u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    WrongSignature,
    Unavailable,
    Stall,
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match inbox.answer(&headers, &body) {
        Answer::Taken => StatusCode::NO_CONTENT,
        Answer::WrongSignature => StatusCode::UNAUTHORIZED,
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Answer::Stall => {
            tokio::time::sleep(STALL).await;
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl Inbox {
    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let id = header(ID_HEADER);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let verified = verify_standard(
            &self.key,
            id,
            header(TIMESTAMP_HEADER),
            header(SIGNATURE_HEADER),
            body,
            i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            TOLERANCE_S,
        );
        let mut log = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.is_err() {
            log.wrong += 1;
            return Answer::WrongSignature;
        }
        log.verified += 1;
        // What is not of this run, such as a test event, is taken and not counted.
        let Some(number) = self.ledger.number(id) else { return Answer::Taken };
        if let Some(failure) = self.failure(&mut log, number) {
            return failure;
        }
        if !log.taken.insert(number) {
            log.duplicates += 1;
        } else if let Some(age) = self.ledger.age(number) {
            log.latencies.add(age);
        }
        Answer::Taken
    }

    /// Whether this try is one that fails. The second try of an event never is.
    fn failure(&self, log: &mut Log, number: u64) -> Option<Answer> {
        if self.manner != Manner::Flaky || log.failed.remove(&number) {
            return None;
        }
        log.first_tries += 1;
        if !log.first_tries.is_multiple_of(FAILS_EVERY) {
            return None;
        }
        log.failed.insert(number);
        let stalls = (log.first_tries / FAILS_EVERY).is_multiple_of(STALLS_EVERY);
        Some(if stalls { Answer::Stall } else { Answer::Unavailable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(manner: Manner) -> (Inbox, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::new(1));
        let secret = sign::generate().expect("randomness");
        let key = [Secret::parse(&secret).expect("a secret of ours")];
        (Inbox { manner, key, ledger: ledger.clone(), state: Mutex::default() }, ledger)
    }

    fn deliver(inbox: &Inbox, id: &str, body: &[u8]) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let seconds = now.as_secs().cast_signed();
        let signature = sign::standard_signature(&inbox.key, id, seconds, b"{}");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ID_HEADER, id),
            (TIMESTAMP_HEADER, &seconds.to_string()),
            (SIGNATURE_HEADER, &signature),
        ] {
            headers.insert(name, value.parse().expect("a header value"));
        }
        inbox.answer(&headers, body)
    }

    #[test]
    fn duplicates_and_wrong_signatures_are_counted() {
        let (inbox, ledger) = inbox(Manner::Healthy);
        assert_eq!(deliver(&inbox, &ledger.id(0), b"{}"), Answer::Taken);
        assert_eq!(deliver(&inbox, &ledger.id(0), b"{}"), Answer::Taken);
        assert_eq!(deliver(&inbox, &ledger.id(1), b"{} "), Answer::WrongSignature);
        assert_eq!(deliver(&inbox, "evt_of_somebody_else", b"{}"), Answer::Taken);
        let log = inbox.state.lock().expect("one thread");
        assert_eq!((log.taken.len(), log.duplicates, log.verified, log.wrong), (1, 1, 3, 1));
    }

    #[test]
    fn the_flaky_one_fails_every_third_event_once() {
        let (inbox, ledger) = inbox(Manner::Flaky);
        let failed: Vec<u64> =
            (0..12).filter(|n| deliver(&inbox, &ledger.id(*n), b"{}") != Answer::Taken).collect();
        assert_eq!(failed, [2, 5, 8, 11]);
        for number in failed {
            assert_eq!(deliver(&inbox, &ledger.id(number), b"{}"), Answer::Taken);
        }
        assert_eq!(inbox.state.lock().expect("one thread").taken.len(), 12);
    }
}
