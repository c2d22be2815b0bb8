//! Standard Webhooks signatures: making them, and checking them as a receiver would.
//!
//! The signed text is `id.timestamp.body`; see <https://www.standardwebhooks.com>.

pub mod ed25519;
pub mod key;

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// What a written secret starts with.
const PREFIX: &str = "whsec_";
/// What a symmetric signature starts with.
const VERSION: &str = "v1,";
/// The key sizes that every public library accepts, in bytes.
const KEY_MIN: usize = 24;
const KEY_MAX: usize = 64;
/// A signature as sent, `v1,` and the base64 of 32 bytes, and the space before the next one.
const SIGNATURE_CHARS: usize = VERSION.len() + 44 + 1;

type Tag = [u8; 32];

/// A signing key, ready for use: the work on the key itself is done once, not for every message.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is not a secret. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// What follows the optional prefix does not decode.
    #[error("the secret must be `whsec_` followed by standard, padded base64")]
    NotBase64,
    /// The key decodes, but public libraries would refuse its size.
    #[error("the secret's key must be {KEY_MIN} to {KEY_MAX} bytes long, and it is {0}")]
    KeySize(usize),
}

/// The first thing that a receiver would find wrong with a signed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp header is not a whole number of seconds.
    #[error("the timestamp is not an integer number of unix seconds")]
    Timestamp,
    /// Sent longer ago than the tolerance; carries the message's age.
    #[error("the timestamp is too old, by {0} s against this clock")]
    TooOld(i64),
    /// Sent later than the tolerance allows; carries how far ahead the message is.
    #[error("the timestamp is too new, by {0} s against this clock")]
    TooNew(i64),
    /// The signature header breaks the format; says how.
    #[error("the signature header is malformed: {0}")]
    Malformed(&'static str),
    /// Well formed, but only signatures of other versions.
    #[error("there is no v1 signature")]
    NoSignature,
    /// Well formed, but made with another secret or over another id, timestamp or body.
    #[error("no v1 signature matches: another secret, or the id, timestamp or body was changed")]
    Mismatch,
}

impl Secret {
    /// Reads `whsec_<base64>`; the prefix may be missing, as in the oldest libraries.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let key = Self::key_bytes(text)?;
        // HMAC pads a key with zeros to one block of the hash, and a block is KEY_MAX bytes.
        let mut block = [0; KEY_MAX];
        block[..key.len()].copy_from_slice(&key);
        Ok(Self(Hmac::new(&block.into())))
    }

    /// The key of a secret, decoded.
    fn key_bytes(text: &str) -> Result<Vec<u8>, SecretError> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?;
        if (KEY_MIN..=KEY_MAX).contains(&key.len()) {
            Ok(key)
        } else {
            Err(SecretError::KeySize(key.len()))
        }
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> Tag {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// A new secret: `whsec_` and 24 random bytes, which need no base64 padding.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut key = [0; KEY_MIN];
    getrandom::fill(&mut key)?;
    Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(key)))
}

/// The value of `webhook-signature`: every secret signs, in the order given, newest first.
pub fn standard_signature<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    unix_seconds: i64,
    body: &[u8],
) -> String {
    let timestamp = unix_seconds.to_string();
    let mut header = String::with_capacity(SIGNATURE_CHARS);
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(VERSION);
        BASE64_STANDARD.encode_string(secret.tag(id, &timestamp, body), &mut header);
    }
    header
}

/// Checks a message as its receiver would; any of the secrets may match any `v1` signature.
///
/// Stricter about the format than the public libraries, which pass over what they cannot read:
/// whoever asks wants to hear why.
pub fn verify_standard(
    secrets: &[Secret],
    id: &str,
    timestamp_header: &str,
    signature_header: &str,
    body: &[u8],
    now_unix: i64,
    tolerance_s: i64,
) -> Result<(), VerifyError> {
    let sent: i64 = timestamp_header.parse().map_err(|_| VerifyError::Timestamp)?;
    let age = now_unix.saturating_sub(sent);
    if age > tolerance_s {
        return Err(VerifyError::TooOld(age));
    }
    let ahead = sent.saturating_sub(now_unix);
    if ahead > tolerance_s {
        return Err(VerifyError::TooNew(ahead));
    }

    let received = v1_tags(signature_header)?;
    if received.is_empty() {
        return Err(VerifyError::NoSignature);
    }
    // Every pair is compared in full, so that the time taken says nothing about a match.
    let mut matched = Choice::from(0);
    for secret in secrets {
        let expected = secret.tag(id, timestamp_header, body);
        for tag in &received {
            matched |= tag.ct_eq(&expected);
        }
    }
    if matched.into() { Ok(()) } else { Err(VerifyError::Mismatch) }
}

/// The `v1` signatures of a header, decoded; those of other versions are another key's concern.
fn v1_tags(header: &str) -> Result<Vec<Tag>, VerifyError> {
    let mut tags = Vec::new();
    for signature in header.split(' ') {
        if signature.is_empty() {
            return Err(VerifyError::Malformed(
                "signatures are separated by one space, with none in front or behind",
            ));
        }
        let Some((version, encoded)) = signature.split_once(',') else {
            return Err(VerifyError::Malformed(
                "a signature is a version, a comma and base64, such as v1,K5oZ…",
            ));
        };
        if version == "v1" {
            tags.push(decode_tag(encoded)?);
        }
    }
    Ok(tags)
}

fn decode_tag(encoded: &str) -> Result<Tag, VerifyError> {
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| VerifyError::Malformed("a v1 signature is not standard, padded base64"))?;
    bytes.try_into().map_err(|_| VerifyError::Malformed("a v1 signature is not 32 bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const KNOWN_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const KNOWN_AT: i64 = 1_614_265_330;
    const KNOWN_BODY: &[u8] = br#"{"test": 2432232314}"#;
    const KNOWN_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    const NEWER: &str = "whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO";
    const OLDER: &str = "whsec_+D5Pte7mM2Km8VRKbBRqfAFgkzoS6I9j";

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        let parsed = texts.iter().map(|text| Secret::parse(text));
        parsed.collect::<Result<_, _>>().expect("secrets that parse")
    }

    /// The known message, received with these headers this many seconds after it was sent.
    fn verify(timestamp: &str, signature: &str, later: i64) -> Result<(), VerifyError> {
        let now = KNOWN_AT + later;
        let keys = secrets(&[NEWER, KNOWN]);
        verify_standard(&keys, KNOWN_ID, timestamp, signature, KNOWN_BODY, now, 300)
    }

    fn malformed(signature: &str) -> bool {
        let verdict = verify(&KNOWN_AT.to_string(), signature, 0);
        matches!(verdict, Err(VerifyError::Malformed(_)))
    }

    #[test]
    fn the_known_answer_of_the_public_libraries() {
        let signed = standard_signature(&secrets(&[KNOWN]), KNOWN_ID, KNOWN_AT, KNOWN_BODY);
        assert_eq!(signed, KNOWN_SIGNATURE);
    }

    #[test]
    fn the_wire_vectors() {
        let body = concat!(
            r#"{"type":"commission.approved","timestamp":"2024-01-20T14:30:00.123Z","data":"#,
            r#"{"commission_id": 123,  "amount": 85.50, "who":"caf\u00e9 ☕", "rate":15.0}}"#,
        );
        let sign = |texts: &[&str]| {
            let (id, at) = ("evt_0190c0de7a11b0bca7", 1_705_761_007);
            standard_signature(&secrets(texts), id, at, body.as_bytes())
        };
        let newer = "v1,gCWWIbh8ZfPl8WMJmAPgT9+ksFk8rEeH2+kZAJhjXbo=";
        let older = "v1,MY6B0Njn4KyK/hWC6cCqRrx5KpLlH21kTCKMWfJCbGM=";
        assert_eq!(sign(&[NEWER]), newer);
        assert_eq!(sign(&[NEWER, OLDER]), format!("{newer} {older}"));
        assert_eq!(sign(&[]), "");
    }

    #[test]
    fn the_capacity_of_the_header_is_enough() {
        let signed = standard_signature(&secrets(&[NEWER, OLDER, KNOWN]), "id", 0, b"");
        assert_eq!(signed.len() + 1, 3 * SIGNATURE_CHARS);
    }

    #[test]
    fn the_prefix_is_optional() {
        let bare = KNOWN.strip_prefix(PREFIX).expect("a prefixed constant");
        let signed = standard_signature(&secrets(&[bare]), KNOWN_ID, KNOWN_AT, KNOWN_BODY);
        assert_eq!(signed, KNOWN_SIGNATURE);
    }

    #[test]
    fn keys_are_24_to_64_bytes() {
        let parse = |size: usize| Secret::parse(&BASE64_STANDARD.encode(vec![7; size])).err();
        assert_eq!(parse(23), Some(SecretError::KeySize(23)));
        assert_eq!(parse(24), None);
        assert_eq!(parse(64), None);
        assert_eq!(parse(65), Some(SecretError::KeySize(65)));
        assert_eq!(parse(0), Some(SecretError::KeySize(0)));
    }

    #[test]
    fn secrets_are_padded_standard_base64() {
        for bad in ["whsec_päss", "whsec_AAAA-_AA", "whsec_AAAAA", "whsk_AAAA", " AAAA", "AAAA\n"]
        {
            let error = Secret::parse(bad).expect_err(bad);
            assert_eq!(error, SecretError::NotBase64, "{bad:?}");
        }
    }

    #[test]
    fn nothing_printed_reveals_the_key() {
        assert_eq!(format!("{:?}", secrets(&[KNOWN])), "[Secret(..)]");
        let error = Secret::parse("whsec_hunter2!").expect_err("not base64");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn generated_secrets_parse_and_differ() {
        let (one, two) = (generate().expect("randomness"), generate().expect("randomness"));
        assert_ne!(one, two);
        assert_eq!(one.len(), PREFIX.len() + 32);
        secrets(&[&one, &two]);
    }

    #[test]
    fn any_v1_signature_may_match_any_secret() {
        let now = KNOWN_AT.to_string();
        let stale = "v1,gCWWIbh8ZfPl8WMJmAPgT9+ksFk8rEeH2+kZAJhjXbo=";
        assert_eq!(verify(&now, KNOWN_SIGNATURE, 0), Ok(()));
        assert_eq!(verify(&now, &format!("{stale} {KNOWN_SIGNATURE}"), 0), Ok(()));
        assert_eq!(verify(&now, &format!("v1a,any {KNOWN_SIGNATURE}"), 0), Ok(()));
        assert_eq!(verify(&now, stale, 0), Err(VerifyError::Mismatch));
        assert_eq!(verify(&now, "v1a,any", 0), Err(VerifyError::NoSignature));
    }

    #[test]
    fn the_timestamp_is_an_integer_within_the_tolerance() {
        let at = |later| verify(&KNOWN_AT.to_string(), KNOWN_SIGNATURE, later);
        assert_eq!(at(300), Ok(()));
        assert_eq!(at(301), Err(VerifyError::TooOld(301)));
        assert_eq!(at(-300), Ok(()));
        assert_eq!(at(-301), Err(VerifyError::TooNew(301)));
        for bad in ["", "1614265330.0", "2021-02-25T15:02:10Z", " 1614265330"] {
            let verdict = verify(bad, KNOWN_SIGNATURE, 0);
            assert_eq!(verdict, Err(VerifyError::Timestamp), "{bad:?}");
        }
        let far = i64::MIN.to_string();
        assert_eq!(verify(&far, KNOWN_SIGNATURE, 0), Err(VerifyError::TooOld(i64::MAX)));
    }

    #[test]
    fn a_malformed_signature_is_told_from_a_wrong_one() {
        assert!(malformed(""));
        assert!(malformed("v1"));
        assert!(malformed(&format!(" {KNOWN_SIGNATURE}")));
        assert!(malformed(&format!("{KNOWN_SIGNATURE} ")));
        assert!(malformed(&format!("{KNOWN_SIGNATURE}  {KNOWN_SIGNATURE}")));
        assert!(malformed(KNOWN_SIGNATURE.trim_end_matches('=')));
        assert!(malformed(&KNOWN_SIGNATURE.replace('+', "-")));
        assert!(malformed("v1,AAAA"));
    }
}
