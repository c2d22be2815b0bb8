//! A received request judged by its profile: every signature is made again and compared.
//!
//! What is signed has to be found again in the request: times, type and tenant in the headers that
//! carry them.

use std::collections::HashMap;
use std::time::Instant;

use subtle::{Choice, ConstantTimeEq};

use super::field::Field;
use super::signature::{Group, Keys, Place, Rule};
use super::template::{Context, Template};
use super::{ID_HEADER, Profile, Sending};
use crate::event::Event;

/// A request as its receiver has it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Names and values.
    pub headers: &'a [(String, String)],
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// The URL it was sent to, where that is known.
    pub url: Option<&'a str>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The time of the attempt in unix milliseconds, where a header says it.
    pub sent_ms: Option<i64>,
    /// Every place that should carry a signature, and why that is not right.
    pub signatures: Vec<(String, Result<(), String>)>,
}

/// What the request says of itself.
type Known<'a> = HashMap<Field, &'a str>;

impl Profile {
    /// Judges a request. The keys are those of [`Profile::keys`]; any of them may have signed.
    pub fn verify(&self, received: &Received<'_>, keys: &Keys, now: Instant) -> Findings {
        let known = self.known(received);
        let mut signatures = Vec::new();
        // From the outside in: what is in the body was there before the headers were made.
        let mut body = received.body.to_vec();
        for group in self.groups.iter().rev() {
            if let Place::Member(name) = group.place(&self.rules) {
                let place = format!("member {name}");
                let Some((before, value)) = cut_member(&body, name) else {
                    let reason = "the body does not end with this member".to_owned();
                    signatures.push((place, Err(reason)));
                    continue;
                };
                let covered = before.clone();
                signatures.push((place, Ok(Found { group, value, covered })));
                body = before;
            }
        }
        signatures.reverse();
        for group in &self.groups {
            if let Place::Header(name) = group.place(&self.rules) {
                let value = header(received, name).ok_or("the header is missing".to_owned());
                let found = value.map(|value| {
                    let (value, covered) = (value.to_owned(), received.body.to_vec());
                    Found { group, value, covered }
                });
                signatures.push((name.clone(), found));
            }
        }
        let request = Request { profile: self, known: &known, received, payload: &body };
        let judge = |(place, found): (String, Result<Found<'_>, String>)| {
            (place, found.and_then(|found| request.judge(&found, keys, now)))
        };
        let signatures = signatures.into_iter().map(judge).collect();
        Findings { sent_ms: sent_ms(&known), signatures }
    }

    /// What headers say, read by the templates that made them.
    fn known<'a>(&self, received: &Received<'a>) -> Known<'a> {
        let mut known = Known::new();
        let mut capture = |template: &Template, name: &str| {
            if let Some(value) = header(received, name) {
                known.extend(template.capture(value).unwrap_or_default());
            }
        };
        for (name, template) in &self.headers {
            capture(template, name);
        }
        for rule in &self.rules {
            if let Place::Header(name) = &rule.place {
                capture(&rule.value, name);
            }
        }
        known.extend(header(received, ID_HEADER).map(|id| (Field::Id, id)));
        known
    }
}

/// Signatures in their place.
struct Found<'a> {
    group: &'a Group,
    /// The value of the header or member.
    value: String,
    /// The body that they cover.
    covered: Vec<u8>,
}

/// What a signature is held against.
struct Request<'a> {
    profile: &'a Profile,
    known: &'a Known<'a>,
    received: &'a Received<'a>,
    /// The body without the members that are signatures: the payload, where that is all of it.
    payload: &'a [u8],
}

impl Request<'_> {
    fn judge(&self, found: &Found<'_>, keys: &Keys, now: Instant) -> Result<(), String> {
        let Found { group, value, covered } = found;
        let rules = &self.profile.rules;
        let speaker = group.speaker(rules);
        let shape = || format!("it does not look like {}", speaker.value.source());
        let captured = speaker.value.capture(value).ok_or_else(shape)?;
        let found = captured.into_iter().find(|(field, _)| *field == Field::Signatures);
        let (_, found) = found.ok_or_else(shape)?;
        for rule in group.members(rules) {
            self.derivable(rule)?;
        }
        let event = self.event();
        let sending = Sending {
            event: &event,
            payload: self.payload,
            url: self.received.url.unwrap_or_default(),
            attempt_ms: sent_ms(self.known).unwrap_or(0),
        };
        let context = Context { sending, body: covered };
        let expected = group.each(rules, keys, now, &context);
        if expected.is_empty() {
            return Err("none of the secrets is a key for it".to_owned());
        }
        let pieces: Vec<&str> = match &speaker.separator {
            Some(separator) => found.split(separator.as_str()).collect(),
            None => vec![found],
        };
        // Every pair is compared in full, so that the time taken says nothing about a match.
        let mut matched = Choice::from(0);
        for expected in &expected {
            for piece in &pieces {
                matched |= expected.as_slice().ct_eq(piece.as_bytes());
            }
        }
        if matched.into() {
            Ok(())
        } else {
            Err("does not match: another secret, or what it covers was changed".to_owned())
        }
    }

    /// Whether the request tells all that a signature covers.
    fn derivable(&self, rule: &Rule) -> Result<(), String> {
        let Some(signed) = &rule.signed else { return Ok(()) };
        for field in signed.fields() {
            let told = match field {
                Field::Body => true,
                Field::Payload => self.profile.sends_bare_payload(),
                Field::Url => self.received.url.is_some(),
                Field::AttemptUnix => sent_ms(self.known).is_some(),
                // Seconds do not tell the milliseconds.
                Field::AttemptUnixMs | Field::AttemptRfc3339 => {
                    self.known.contains_key(&Field::AttemptUnixMs)
                        || self.known.contains_key(&Field::AttemptRfc3339)
                }
                other => self.known.contains_key(&other),
            };
            if !told {
                return Err(format!(
                    "cannot be checked: it covers {field}, which is not known here"
                ));
            }
        }
        Ok(())
    }

    fn event(&self) -> Event {
        let text = |field: Field| self.known.get(&field).map(|text| (*text).to_owned());
        let created = |field, unit: i64| {
            self.known.get(&field).and_then(|text| text.parse::<i64>().ok()).map(|n| n * unit)
        };
        let written = self.known.get(&Field::CreatedRfc3339).and_then(|text| millis(text));
        Event {
            seq: 0,
            id: text(Field::Id).unwrap_or_default(),
            event_type: text(Field::Type).unwrap_or_default(),
            tenant: text(Field::Tenant),
            live: self.known.get(&Field::Live) == Some(&"true"),
            wanted_us: 0,
            created_us: created(Field::CreatedUnixMs, 1_000)
                .or(written.map(|ms| ms * 1_000))
                .or(created(Field::CreatedUnix, 1_000_000))
                .unwrap_or(0),
            payload: None,
        }
    }
}

fn header<'a>(received: &Received<'a>, name: &str) -> Option<&'a str> {
    let mut headers = received.headers.iter();
    headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn millis(rfc3339: &str) -> Option<i64> {
    rfc3339.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn sent_ms(known: &Known<'_>) -> Option<i64> {
    let number = |field| known.get(&field).and_then(|text: &&str| text.parse::<i64>().ok());
    number(Field::AttemptUnixMs)
        .or_else(|| known.get(&Field::AttemptRfc3339).and_then(|text| millis(text)))
        .or_else(|| number(Field::AttemptUnix).and_then(|seconds| seconds.checked_mul(1000)))
}

/// The body as it was before its last member was put in, and the value of that.
fn cut_member(body: &[u8], name: &str) -> Option<(Vec<u8>, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let inner = text.trim_end().strip_suffix('}')?;
    let at = inner.rfind(&format!("\"{name}\":\""))?;
    let value = inner[at..].split_once(':')?.1;
    let value = serde_json::from_str(value).ok()?;
    // It is the only member, or there is a comma before it.
    let before = match text[..at].strip_suffix(',') {
        Some(before) => before,
        None if text[..at].trim_end().ends_with('{') => &text[..at],
        None => return None,
    };
    Some((format!("{before}{}", &text[inner.len()..]).into_bytes(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_cut_out_as_it_was_put_in() {
        for (body, before, value) in [
            (r#"{"a":1,"s":"x"}"#, r#"{"a":1}"#, "x"),
            (r#"{"s":"x"}"#, "{}", "x"),
            ("{\"a\":{\"s\":\"y\"},\"s\":\"a\\\"b\\\\\"} \n", "{\"a\":{\"s\":\"y\"}} \n", "a\"b\\"),
        ] {
            let cut = cut_member(body.as_bytes(), "s");
            assert_eq!(cut, Some((before.as_bytes().to_vec(), value.to_owned())), "{body}");
        }
        for body in ["", "{}", r#"{"a":1"s":"x"}"#, r#"{"s":"x","a":1}"#, r#"{"s":1}"#, "[1]"] {
            assert_eq!(cut_member(body.as_bytes(), "s"), None, "{body}");
        }
    }
}
