//! Wire profiles: what a receiver sees of an event, and how it is signed.

use bytes::Bytes;

use crate::sign::{self, Secret};

/// The wire contract of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The body and the headers of Standard Webhooks.
    Standard,
}

/// A profile name that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile '{0}'; there is: standard")]
pub struct UnknownProfile(String);

/// The header that carries the event id, the same on every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header that carries the time of the attempt, in unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header that carries the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Result<Self, UnknownProfile> {
        match name {
            "standard" => Ok(Self::Standard),
            _ => Err(UnknownProfile(name.to_owned())),
        }
    }

    /// The body of a request: `{"type","timestamp","data"}`, the payload verbatim.
    pub fn body(self, event_type: &str, created_us: i64, payload: &[u8]) -> Bytes {
        let Self::Standard = self;
        let mut body = Vec::with_capacity(payload.len() + event_type.len() + 64);
        // The event type needs no escaping: the database admits only A-Z a-z 0-9 . _ - in it.
        body.extend_from_slice(br#"{"type":""#);
        body.extend_from_slice(event_type.as_bytes());
        body.extend_from_slice(br#"","timestamp":""#);
        body.extend_from_slice(rfc3339_millis(created_us).as_bytes());
        body.extend_from_slice(br#"","data":"#);
        body.extend_from_slice(payload);
        body.push(b'}');
        body.into()
    }

    /// The value of the signature header.
    pub fn signature<'a>(
        self,
        secrets: impl IntoIterator<Item = &'a Secret>,
        id: &str,
        unix_seconds: i64,
        body: &[u8],
    ) -> String {
        let Self::Standard = self;
        sign::standard_signature(secrets, id, unix_seconds, body)
    }
}

/// RFC 3339 in UTC with milliseconds, `2024-01-20T14:30:00.123Z`. Out of the years 1970 to 9999,
/// which the database does not admit, it is the epoch.
fn rfc3339_millis(unix_us: i64) -> String {
    let whole_millis = unix_us.div_euclid(1000);
    let timestamp = jiff::Timestamp::from_millisecond(whole_millis).unwrap_or_default();
    format!("{timestamp:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two vectors of the wire contract.
    const PAYLOAD: &str =
        "{\"commission_id\": 123,  \"amount\": 85.50, \"who\":\"caf\\u00e9 ☕\", \"rate\":15.0}";
    const CREATED_US: i64 = 1_705_761_000_123_000;
    const SECRETS: [&str; 2] =
        ["whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO", "whsec_+D5Pte7mM2Km8VRKbBRqfAFgkzoS6I9j"];

    #[test]
    fn standard_vectors_are_met_byte_for_byte() {
        let body = Profile::Standard.body("commission.approved", CREATED_US, PAYLOAD.as_bytes());
        let expected = format!(
            "{{\"type\":\"commission.approved\",\"timestamp\":\"2024-01-20T14:30:00.123Z\",\
             \"data\":{PAYLOAD}}}"
        );
        assert_eq!(body, expected.as_bytes());
        let secrets = SECRETS.map(|text| Secret::parse(text).expect("a valid secret"));
        let signature =
            Profile::Standard.signature(&secrets, "evt_0190c0de7a11b0bca7", 1_705_761_007, &body);
        assert_eq!(
            signature,
            "v1,gCWWIbh8ZfPl8WMJmAPgT9+ksFk8rEeH2+kZAJhjXbo= \
             v1,MY6B0Njn4KyK/hWC6cCqRrx5KpLlH21kTCKMWfJCbGM="
        );
    }

    #[test]
    fn timestamps_have_three_decimals_always() {
        assert_eq!(rfc3339_millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_millis(1_705_761_000_999_999), "2024-01-20T14:30:00.999Z");
        assert_eq!(rfc3339_millis(253_370_764_799_999_999), "9998-12-31T23:59:59.999Z");
    }
}
