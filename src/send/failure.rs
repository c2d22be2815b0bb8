//! Why a request brought no reply.

use std::error::Error as StdError;

use rustls::InvalidMessage;

use super::reach::Refusal;
use super::reply::{capped, printable};
use super::resolver::NoSuchName;
use crate::outcome::{Outcome, Reply};

/// The chain of causes, without the URL: path and query of a webhook are often its credential.
pub fn describe(error: &reqwest::Error) -> String {
    // Our own refusals say all there is to say.
    if let Some(refused) = find::<Refusal>(error) {
        return capped(refused.to_string());
    }
    if let Some(unknown) = find::<NoSuchName>(error) {
        return capped(printable(unknown.to_string().as_bytes()));
    }
    if let Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) = find(error) {
        return "what the receiver sent is not TLS: does it speak TLS on this port?".to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    let mut cause = StdError::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        let repeats = parts.last().is_some_and(|last| last.contains(&text));
        // What the library calls its own layers tells nobody anything.
        if !repeats && !text.starts_with("client error") {
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

/// The outcome that an error is.
pub fn classify(error: &reqwest::Error) -> Outcome {
    if let Some(refusal) = find::<Refusal>(error) {
        refused(refusal).outcome
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

/// Whether this machine had no file descriptor or no memory left for a connection: ENOMEM, ENFILE, EMFILE
/// or ENOBUFS of errno(3), numbered as on Linux.
pub fn is_want_of_means(error: &reqwest::Error) -> bool {
    let number = find::<std::io::Error>(error).and_then(std::io::Error::raw_os_error);
    error.is_connect() && matches!(number, Some(12 | 23 | 24 | 105))
}

/// What an attempt comes to whose address was not dialled.
pub fn refused(refusal: &Refusal) -> Reply {
    let outcome = match refusal {
        Refusal::Blocked(_) => Outcome::Blocked,
        Refusal::Unknown(..) => Outcome::Tcp,
    };
    Reply::failure(outcome, refusal.to_string())
}

/// Whether the connection closed before a byte came back.
pub fn was_closed_unanswered(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    find::<hyper::Error>(error).is_some_and(|e| e.is_incomplete_message() || e.is_canceled())
        || find::<std::io::Error>(error)
            .is_some_and(|e| matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
}
