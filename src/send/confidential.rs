//! What a request carries and nobody may read back out of the record of its reply: receivers echo
//! requests, and their error pages print what they know.

use std::borrow::Cow;

use crate::endpoint::Endpoint;

/// What stands in the place of each.
const REDACTED: &[u8] = b"[redacted]";
/// Shorter values are no secrets, and are found everywhere.
const SHORTEST: usize = 8;
/// A value of this length that is one word of letters and digits was made by a machine.
const LONG: usize = 20;
/// What secrets may begin with, and receivers leave out.
const PREFIXES: [&str; 2] = ["whsec_", "whsk_"];
/// Parts of the names of headers that carry credentials.
const TELLING: [&str; 9] =
    ["auth", "token", "key", "secret", "password", "cookie", "credential", "signature", "session"];

/// The secrets, credentials and signatures of one request. It cannot be printed.
#[derive(Default)]
pub struct Confidential<'a> {
    /// Longest first: one may be a part of another.
    values: Vec<&'a str>,
}

impl<'a> Confidential<'a> {
    /// What is confidential about a request.
    pub fn of(endpoint: &'a Endpoint, signatures: &'a [String]) -> Self {
        let mut found = Self::default();
        for signature in signatures {
            // All those in one value, such as `v1,... v1,...` and `t=...,v1=...`.
            signature.split([' ', ',', ';']).for_each(|part| found.add(value_of(part)));
        }
        for (name, value) in &endpoint.headers {
            if is_credential(name, value) {
                // `Bearer ...`, `Basic ...`: the scheme is no secret, and may be left out.
                found.add(value.rsplit(' ').next().unwrap_or(value));
                found.add(value);
            }
        }
        for secret in endpoint.written_secrets() {
            found.add(secret);
            PREFIXES.iter().filter_map(|it| secret.strip_prefix(it)).for_each(|it| found.add(it));
        }
        found.sort();
        found
    }

    fn add(&mut self, value: &'a str) {
        if value.len() >= SHORTEST {
            self.values.push(value);
        }
    }

    fn sort(&mut self) {
        self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        self.values.dedup();
    }

    /// The length of the longest, in whatever spelling.
    pub fn longest(&self) -> usize {
        let slashes = |value: &str| value.bytes().filter(|byte| *byte == b'/').count();
        self.values.iter().map(|value| value.len() + slashes(value)).max().unwrap_or(0)
    }

    /// The bytes without any of it, in the spellings in which receivers repeat it: as it is, and in
    /// JSON that escapes slashes.
    pub fn redacted<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let mut text = Cow::Borrowed(bytes);
        let has_escapes = bytes.contains(&b'\\');
        for value in &self.values {
            if has_escapes && value.contains('/') {
                redact(&mut text, value.replace('/', "\\/").as_bytes());
            }
            redact(&mut text, value.as_bytes());
        }
        text
    }
}

fn redact(text: &mut Cow<'_, [u8]>, value: &[u8]) {
    let mut from = 0;
    while let Some(at) = find(&text[from..], value) {
        let at = from + at;
        text.to_mut().splice(at..at + value.len(), REDACTED.iter().copied());
        from = at + REDACTED.len();
    }
}

/// Of a `name=value` the value; of base64, which ends in `=`, all.
fn value_of(part: &str) -> &str {
    part.split_once('=').map(|(_, value)| value).filter(|it| it.len() >= SHORTEST).unwrap_or(part)
}

fn is_credential(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let (letters, digits) = (|c: char| c.is_ascii_alphabetic(), |c: char| c.is_ascii_digit());
    let made_up = value.len() >= LONG
        && !value.contains([' ', ';', ','])
        && value.contains(letters)
        && value.contains(digits);
    made_up || TELLING.iter().any(|part| name.contains(part))
}

/// Where the value is. Most first bytes are wrong, so only those are looked at closely.
fn find(bytes: &[u8], value: &[u8]) -> Option<usize> {
    let (first, last) = (*value.first()?, bytes.len().checked_sub(value.len())?);
    (0..=last).find(|at| bytes[*at] == first && bytes[*at..].starts_with(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing<'a>(values: &[&'a str]) -> Confidential<'a> {
        let mut known = Confidential::default();
        values.iter().for_each(|value| known.add(value));
        known.sort();
        known
    }

    #[test]
    fn all_of_a_value_is_replaced_wherever_it_stands() {
        let known = knowing(&["c2VjcmV0", "prefix_c2VjcmV0"]);
        for (bytes, expected) in [
            ("", ""),
            ("fine", "fine"),
            ("c2VjcmV0", "[redacted]"),
            ("a c2VjcmV0c2VjcmV0 b prefix_c2VjcmV0", "a [redacted][redacted] b [redacted]"),
            ("c2VjcmV", "c2VjcmV"),
        ] {
            let redacted = known.redacted(bytes.as_bytes());
            assert_eq!(String::from_utf8_lossy(&redacted), expected);
        }
    }

    #[test]
    fn slashes_may_be_escaped_and_what_is_short_is_no_secret() {
        let known = knowing(&["ab/cd+ef/gh=", "no"]);
        let redacted = known.redacted(br#"no {"s":"ab\/cd+ef\/gh="} ab/cd+ef/gh="#);
        assert_eq!(String::from_utf8_lossy(&redacted), r#"no {"s":"[redacted]"} [redacted]"#);
    }

    #[test]
    fn nothing_changes_where_there_is_nothing_to_hide() {
        let known = knowing(&["c2VjcmV0"]);
        assert!(matches!(known.redacted(&[0, 255, b'c']), Cow::Borrowed(_)));
        assert_eq!(Confidential::default().longest(), 0);
    }

    #[test]
    fn credentials_are_known_by_their_name_or_their_looks() {
        for (name, value, expected) in [
            ("Authorization", "Basic dXNlcjpwYXNz", true),
            ("x-api-key", "hunter2hunter2", true),
            ("x-shop", "8f14e45fceea167a5a36dedd4bea2543", true),
            ("content-type", "application/json; charset=utf-8", false),
            ("x-environment", "production", false),
        ] {
            assert_eq!(is_credential(name, value), expected, "{name}");
        }
    }

    #[test]
    fn signatures_are_taken_out_of_their_names() {
        for (part, value) in [
            ("v1=5257a869e7ecebeda32affa62cdca3fa", "5257a869e7ecebeda32affa62cdca3fa"),
            (
                "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
                "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            ),
        ] {
            assert_eq!(value_of(part), value);
        }
    }
}
