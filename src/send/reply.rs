//! What a receiver answered: the head decides, the rest is recorded within bounds.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::sleep_until;

use super::confidential::Confidential;
use super::failure::describe;
use crate::outcome::{Directive, Outcome, Reply};
use crate::retry_after;
use crate::statuses::Statuses;

/// Bytes of a reply's body that are read, so that a short one leaves the connection reusable.
const BODY_READ: usize = 16 * 1024;
/// Bytes of a reply's body that are kept, and of its headers.
const REPLY_KEPT: usize = 4 * 1024;
/// Time for the body once the head has decided.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an error text.
const ERROR_KEPT: usize = 500;

/// The head has arrived and decides; the body only adds to the record.
/// What the receiver repeats of our secrets is kept nowhere.
pub(super) async fn read(
    response: Response,
    deadline: Instant,
    success: &Statuses,
    confidential: &Confidential<'_>,
) -> Reply {
    failpoint!("send.after_head");
    let headers = redacted(response.headers(), confidential);
    let mut reply = judge(response.status().as_u16(), &headers, success, unix_seconds());
    reply.remote_addr = response.remote_addr().map(|address| address.to_string());
    let until = deadline.min(Instant::now() + BODY_TIMEOUT);
    let (body, truncated, cut) = read_body(response, until, confidential).await;
    failpoint!("send.after_body");
    reply.body = body;
    reply.truncated = truncated;
    if let Some(cut) = cut {
        reply.error = Some(match reply.error {
            Some(error) => format!("{error}; {cut}"),
            None => cut,
        });
    }
    reply
}

/// The headers without anything confidential in their values.
fn redacted<'a>(headers: &'a HeaderMap, confidential: &Confidential<'_>) -> Cow<'a, HeaderMap> {
    let mut headers = Cow::Borrowed(headers);
    if headers.values().any(|it| matches!(confidential.redacted(it.as_bytes()), Cow::Owned(_))) {
        for value in headers.to_mut().values_mut() {
            let shown = HeaderValue::from_bytes(&confidential.redacted(value.as_bytes()));
            // What was a value without it is one with the word in its place.
            *value = shown.unwrap_or(HeaderValue::from_static(""));
        }
    }
    headers
}

/// What the head alone comes to. Nothing but a rule, so that it can be tried with any head.
pub fn judge(status: u16, headers: &HeaderMap, success: &Statuses, now: i64) -> Reply {
    let outcome = Outcome::of_status(status, success);
    let wanted = matches!(status, 429 | 502 | 503 | 504);
    let retry_after = headers.get(RETRY_AFTER).filter(|_| wanted);
    let directive = headers.get(Directive::HEADER);
    Reply {
        outcome,
        status: Some(status),
        headers: Some(headers_to_json(headers)),
        body: Bytes::new(),
        truncated: false,
        error: explain(outcome, status, headers),
        remote_addr: None,
        directive: directive.and_then(|value| Directive::parse(value.as_bytes())),
        retry_after: retry_after.and_then(|value| retry_after::parse(value.as_bytes(), now)),
        closed_unanswered: false,
        hopeless: false,
        unmade: false,
    }
}

/// The first bytes of the body, whether more came, and why it was not read to its end, if that was not its length.
async fn read_body(
    mut response: Response,
    until: Instant,
    confidential: &Confidential<'_>,
) -> (Bytes, bool, Option<String>) {
    // Nothing confidential may be left because only half of it fits.
    let longest = confidential.longest();
    let mut body = Body { beyond: longest, ..Body::default() };
    let late = sleep_until(until.into());
    tokio::pin!(late);
    let cut = loop {
        let chunk = tokio::select! {
            // First what is there: mostly that is all, and no timer is needed.
            biased;
            chunk = response.chunk() => chunk,
            () = &mut late => break Some("the body was cut short: it took too long".to_owned()),
        };
        match chunk {
            Ok(None) => break None,
            Ok(Some(chunk)) => {
                if !body.take(&chunk) {
                    break None;
                }
            }
            Err(error) => break Some(format!("the body was cut short: {}", describe(&error))),
        }
    };
    let truncated = body.read > REPLY_KEPT;
    let body = body.kept();
    let is_full = body.len() == REPLY_KEPT + longest;
    let mut body = match confidential.redacted(&body) {
        Cow::Borrowed(_) => body,
        Cow::Owned(redacted) => redacted.into(),
    };
    if is_full {
        // The beginning of one that was not found may be at the end.
        body.truncate(body.len().saturating_sub(longest.saturating_sub(1)));
    }
    body.truncate(REPLY_KEPT);
    (body, truncated, cut)
}

/// A body that arrives in pieces, and what is kept of it.
#[derive(Debug, Default)]
pub struct Body {
    kept: BytesMut,
    /// Bytes that are kept beyond what is recorded, for a closer look.
    beyond: usize,
    read: usize,
}

impl Body {
    /// Takes the next piece. False: that is enough.
    pub fn take(&mut self, chunk: &[u8]) -> bool {
        self.read += chunk.len();
        let room = REPLY_KEPT + self.beyond - self.kept.len();
        self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.read <= BODY_READ
    }

    /// What is kept.
    pub fn kept(self) -> Bytes {
        self.kept.freeze()
    }
}

fn explain(outcome: Outcome, status: u16, headers: &HeaderMap) -> Option<String> {
    match outcome {
        Outcome::Success => None,
        Outcome::Http3xx => {
            let target = headers.get("location").map(|value| printable(value.as_bytes()));
            let target = target.unwrap_or_else(|| "nowhere".to_owned());
            Some(capped(format!("redirects are not followed: {status} to {target}")))
        }
        Outcome::Http2xx => {
            Some(format!("the receiver answered {status}, which does not count as success"))
        }
        _ => Some(format!("the receiver answered {status}")),
    }
}

/// Headers as a JSON object; what only the connection needs is left out, and what does not fit.
fn headers_to_json(headers: &HeaderMap) -> String {
    let mut object = String::with_capacity(256);
    let mut size = 0;
    for name in headers.keys() {
        if matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding" | "date") {
            continue;
        }
        let mut value = String::new();
        for (number, one) in headers.get_all(name).iter().enumerate() {
            if number > 0 {
                value.push_str(", ");
            }
            print(one.as_bytes(), &mut value);
        }
        size += name.as_str().len() + value.len();
        if size > REPLY_KEPT {
            break;
        }
        object.push(if object.is_empty() { '{' } else { ',' });
        quote(name.as_str(), &mut object);
        object.push(':');
        quote(&value, &mut object);
    }
    if object.is_empty() {
        object.push('{');
    }
    object.push('}');
    object
}

/// Appends printable text as a JSON string: two characters of it have to be escaped.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        let plain = part.strip_suffix(['"', '\\']).unwrap_or(part);
        out.push_str(plain);
        if plain.len() < part.len() {
            out.push('\\');
            out.push_str(&part[plain.len()..]);
        }
    }
    out.push('"');
}

/// Bytes of a receiver as text that can neither break a log nor a terminal.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    print(bytes, &mut text);
    text
}

fn print(bytes: &[u8], text: &mut String) {
    text.reserve(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&byte.escape_ascii().to_string()),
        }
    }
}

/// A text cut to what is kept of an error, at a character.
pub fn capped(mut text: String) -> String {
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

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

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
        headers.insert("x-b", HeaderValue::from_bytes(b"\"a\\b\"\xff").expect("a value"));
        let read: serde_json::Value =
            serde_json::from_str(&headers_to_json(&headers)).expect("an object");
        assert_eq!(read, serde_json::json!({ "x-a": "1, 2", "x-b": r#""a\b"\xff"# }));
        for n in 0..60 {
            let name: HeaderName = format!("x-{n}").parse().expect("a header name");
            headers.insert(name, HeaderValue::from_str(&"v".repeat(1000)).expect("a value"));
        }
        assert!(headers_to_json(&headers).len() < 2 * REPLY_KEPT);
    }
}
