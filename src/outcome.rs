//! How one attempt ended. A receiver that fails is a value, never an error.

use std::time::Duration;

use bytes::Bytes;

use crate::statuses::Statuses;

/// The closed set of outcomes of an attempt, as `outbox.attempts.outcome` and the metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A status that the profile counts as success, usually 2xx.
    Success,
    /// A 2xx status that the profile does not count as success.
    Http2xx,
    /// A redirect; never followed.
    Http3xx,
    /// A 4xx status other than 410 and 429.
    Http4xx,
    /// 410 Gone: the receiver wants no more.
    Http410,
    /// 429 Too Many Requests.
    Http429,
    /// A 5xx status.
    Http5xx,
    /// No connection (or no TLS session) in time.
    TimeoutConnect,
    /// Connected, but no complete reply in time.
    TimeoutResponse,
    /// The name did not resolve.
    Dns,
    /// Refused, reset, unreachable, or closed without a reply.
    Tcp,
    /// The TLS handshake failed.
    Tls,
    /// The reply was not HTTP, or the request could not be put together.
    Protocol,
    /// The address policy refused the target; nothing was sent.
    Blocked,
    /// The daemon ended before it knew, or had not the means to ask.
    Interrupted,
}

impl Outcome {
    /// Every outcome, so that metrics can exist at zero before the first attempt.
    pub const ALL: [Self; 15] = [
        Self::Success,
        Self::Http2xx,
        Self::Http3xx,
        Self::Http4xx,
        Self::Http410,
        Self::Http429,
        Self::Http5xx,
        Self::TimeoutConnect,
        Self::TimeoutResponse,
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::Protocol,
        Self::Blocked,
        Self::Interrupted,
    ];

    /// The outcome of a complete reply head. A status outside 200 to 599 is no HTTP we know.
    pub fn of_status(status: u16, success: &Statuses) -> Self {
        match status {
            _ if success.contains(status) => Self::Success,
            200..=299 => Self::Http2xx,
            300..=399 => Self::Http3xx,
            410 => Self::Http410,
            429 => Self::Http429,
            400..=499 => Self::Http4xx,
            500..=599 => Self::Http5xx,
            _ => Self::Protocol,
        }
    }

    /// The name in SQL and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Http2xx => "http_2xx",
            Self::Http3xx => "http_3xx",
            Self::Http4xx => "http_4xx",
            Self::Http410 => "http_410",
            Self::Http429 => "http_429",
            Self::Http5xx => "http_5xx",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutResponse => "timeout_response",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Blocked => "blocked",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a receiver asks for in the reply header `webhook-delivery`, an open proposal of Standard
/// Webhooks that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Send nothing more to this endpoint.
    Disable,
    /// Do not send this message again.
    AbortMessage,
}

impl Directive {
    /// The header.
    pub const HEADER: &'static str = "webhook-delivery";

    /// Reads the value of the header; what is nothing known asks for nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if value.eq_ignore_ascii_case(b"disable") {
            Some(Self::Disable)
        } else if value.eq_ignore_ascii_case(b"abort-message") {
            Some(Self::AbortMessage)
        } else {
            None
        }
    }
}

/// What one request came to: everything that is recorded about it.
#[derive(Debug)]
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status, where there was a reply.
    pub status: Option<u16>,
    /// Headers of the reply as a JSON object of strings, capped.
    pub headers: Option<String>,
    /// First bytes of the body, capped.
    pub body: Bytes,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// The address that answered.
    pub remote_addr: Option<String>,
    /// Whether more of the body arrived than is kept.
    pub truncated: bool,
    /// What the receiver asks for besides.
    pub directive: Option<Directive>,
    /// What a `Retry-After` header of a 429 or 503 asked for.
    pub retry_after: Option<Duration>,
    /// The connection closed before a byte came back, as one does that the receiver had just
    /// retired from its keep-alive; worth one prompt repetition.
    pub closed_unanswered: bool,
    /// No request could be made of the event, and none ever can.
    pub hopeless: bool,
    /// No request was made, and that says nothing of event or receiver.
    pub unmade: bool,
}

impl Reply {
    /// A request that brought no reply.
    pub fn failure(outcome: Outcome, error: impl Into<String>) -> Self {
        Self {
            outcome,
            status: None,
            headers: None,
            body: Bytes::new(),
            truncated: false,
            error: Some(error.into()),
            remote_addr: None,
            directive: None,
            retry_after: None,
            closed_unanswered: false,
            hopeless: false,
            unmade: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_what_the_profile_says() {
        let only_2xx = Statuses::default();
        let others: Statuses = "200 404 410".parse().expect("statuses");
        for status in 0..1000 {
            let success = Outcome::of_status(status, &only_2xx) == Outcome::Success;
            assert_eq!(success, (200..300).contains(&status), "{status}");
            let success = Outcome::of_status(status, &others) == Outcome::Success;
            assert_eq!(success, [200, 404, 410].contains(&status), "{status}");
        }
        assert_eq!(Outcome::of_status(204, &others), Outcome::Http2xx);
    }

    #[test]
    fn directives_are_read_in_any_case_and_others_are_none() {
        assert_eq!(Directive::parse(b" Disable "), Some(Directive::Disable));
        assert_eq!(Directive::parse(b"abort-message"), Some(Directive::AbortMessage));
        for other in [&b""[..], b"abort", b"disable, abort-message", b"\xff"] {
            assert_eq!(Directive::parse(other), None);
        }
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::HashSet<_> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
    }
}
