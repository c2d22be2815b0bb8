//! Replies: whatever a receiver answers, what is recorded of it is bounded, printable, and readable
//! by the database.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use outboxd::outcome::Outcome;
use outboxd::send::reply::{Body, judge};
use outboxd::statuses::Statuses;

/// What the record keeps of a body; of the head twice that, for escapes make it longer.
const KEPT: usize = 4 * 1024;
/// More than any error text has.
const ERROR: usize = 600;

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

// Status, size of the pieces that the body arrives in, a header field a line, an empty line, the body.
fuzz_target!(|input: (u16, u8, &[u8])| {
    let (status, piece, bytes) = input;
    let split = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = split.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let success = Statuses::default();
    let reply = judge(status, &headers, &success, 1_700_000_000);
    assert_eq!(reply.outcome == Outcome::Success, success.contains(status));
    assert!(reply.retry_after.is_none() || reply.outcome != Outcome::Success);
    assert_eq!(reply.error.is_none(), reply.outcome == Outcome::Success);
    let error = reply.error.unwrap_or_default();
    assert!(error.len() <= ERROR && is_printable(&error), "{error:?}");
    let kept = reply.headers.expect("headers");
    assert!(kept.len() <= 4 * KEPT && is_printable(&kept), "{kept:?}");
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&kept).expect("an object");
    for (name, value) in &object {
        let value = value.as_str().expect("a text");
        assert!(headers.contains_key(name) && is_printable(value) && value.is_ascii());
    }
    let mut record = Body::default();
    for chunk in body.chunks(usize::from(piece).max(1) * 64) {
        if !record.take(chunk) {
            break;
        }
    }
    let recorded = record.kept();
    assert_eq!(&recorded[..], &body[..body.len().min(KEPT)]);
});
