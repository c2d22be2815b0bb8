//! Profiles as people write them: a table `[profile.NAME]` of TOML.

mod rule;

use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::escape::Escape;
use super::field::Site;
use super::signature::Group;
use super::template::Template;
use super::{CONTENT_TYPE, ID_HEADER, LONGEST_TIMEOUT, Profile, is_same_header};
use crate::config::duration;
use crate::config::keys::closest;
use crate::guard::{self, HeaderError};
use crate::retry::{JITTER, MOST_JITTER, Schedule};
use crate::statuses::Statuses;

/// Longest body template, in bytes.
const MOST_BODY: usize = 64 * 1024;
/// The keys of a profile.
const KEYS: [&str; 9] = [
    "description",
    "body",
    "content_type",
    "headers",
    "signature",
    "success",
    "timeout",
    "retry",
    "jitter",
];
/// One thing that is wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The dotted name of the key.
    pub key: String,
    /// Where the key stands in the file, in bytes.
    pub offset: usize,
    /// The value, where it can be shown.
    pub value: Option<String>,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

type Table<'a> = DeTable<'a>;

/// Reads the profile of that name, which stands at `offset`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(name: &str, offset: usize, value: &DeValue<'_>) -> Result<Profile, Vec<Fault>> {
    let mut reader = Reader { faults: Vec::new() };
    let key = format!("profile.{name}");
    let DeValue::Table(table) = value else {
        reader.fault(&key, offset, None, format!("a profile is a table; write [{key}]"));
        return Err(reader.faults);
    };
    if !is_name(name) {
        let reason = "a name is 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit";
        reader.fault(&key, offset, None, reason.to_owned());
    }
    let profile = reader.profile(name, &key, offset, table);
    match profile {
        Some(profile) if reader.faults.is_empty() => Ok(profile),
        _ => Err(reader.faults),
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    starts_well && name.len() <= 64 && name.bytes().all(allowed)
}

/// What has been found so far.
struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, key: &str, offset: usize, value: Option<String>, reason: String) {
        self.faults.push(Fault { key: key.to_owned(), offset, value, reason });
    }

    fn profile(
        &mut self,
        name: &str,
        key: &str,
        offset: usize,
        table: &Table<'_>,
    ) -> Option<Profile> {
        self.unknown(key, table, &KEYS);
        let known = self.faults.len();
        let description = self.text(key, table, "description");
        let body = self.parsed(key, table, "body", body_template);
        let content_type = self
            .parsed(key, table, "content_type", |text| media_type(text).map(|()| text.to_owned()));
        let headers = self.headers(key, table);
        let (rules, starts) = self.rules(key, table);
        let success = self.parsed(key, table, "success", |text| {
            Statuses::from_str(text).map_err(|error| error.to_string())
        });
        let timeout = self.parsed(key, table, "timeout", timeout);
        let retry = self.parsed(key, table, "retry", |text| {
            let schedule = Schedule::parse(text).map_err(|error| error.to_string())?;
            Ok((text.to_owned(), schedule))
        });
        let jitter = self.jitter(key, table);
        let groups = match Group::sort(&rules) {
            Ok(groups) => groups,
            Err((number, reason)) => {
                let place = starts.get(number).copied().unwrap_or(offset);
                self.fault(&format!("{key}.signature[{}]", number + 1), place, None, reason);
                return None;
            }
        };
        let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
        let payload = || Template::parse("{{payload}}", Site::Body).ok();
        let profile = Profile {
            name: name.to_owned(),
            description,
            body: body.or_else(payload)?,
            escape: Escape::of(&content_type),
            content_type,
            headers,
            rules,
            groups,
            success: success.unwrap_or_default(),
            timeout,
            retry,
            jitter: jitter.unwrap_or(JITTER),
        };
        // What could not be read would only cause further, misleading complaints.
        let unclear = |fault: &Fault| {
            let part = fault.key.strip_prefix(key).unwrap_or_default();
            [".body", ".content_type", ".signature"].iter().any(|name| part.starts_with(name))
        };
        if !self.faults[known..].iter().any(unclear) {
            let place = table.get("body").map_or(offset, |body| body.span().start);
            if let Err(reason) = profile.try_out() {
                self.fault(&format!("{key}.body"), place, None, reason);
            }
            if !profile.one_secret_suffices() {
                let place = starts.first().copied().unwrap_or(offset);
                let reason = "no secret can make all of these signatures: an Ed25519 key and a \
                              shared secret would both be needed";
                self.fault(&format!("{key}.signature"), place, None, reason.to_owned());
            }
        }
        self.overlaps(&profile, key, table);
        Some(profile)
    }

    fn unknown(&mut self, key: &str, table: &Table<'_>, known: &[&str]) {
        for (name, _) in table {
            let text = name.get_ref().as_ref();
            if !known.contains(&text) {
                let near = closest(text, known.iter().copied());
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                let reason = format!("unknown key{hint}");
                self.fault(&format!("{key}.{text}"), name.span().start, None, reason);
            }
        }
    }

    /// A string, if the key is there and is one.
    fn text(&mut self, key: &str, table: &Table<'_>, name: &str) -> Option<String> {
        self.parsed(key, table, name, |text| Ok(text.to_owned()))
    }

    /// A string that means something, if the key is there.
    fn parsed<T>(
        &mut self,
        key: &str,
        table: &Table<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.judged(key, table, name, |text| {
            parse(text).map_err(|reason| (Some(shown(text)), reason))
        })
    }

    /// The same; what is wrong comes with what of the value may be shown.
    fn judged<T>(
        &mut self,
        key: &str,
        table: &Table<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, (Option<String>, String)>,
    ) -> Option<T> {
        let value = table.get(name)?;
        let key = format!("{key}.{name}");
        let start = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => match parse(text) {
                Ok(parsed) => Some(parsed),
                Err((shown, reason)) => {
                    self.fault(&key, start, shown, reason);
                    None
                }
            },
            _ => {
                self.fault(&key, start, None, "has to be a string; write it in quotes".to_owned());
                None
            }
        }
    }

    fn jitter(&mut self, key: &str, table: &Table<'_>) -> Option<f64> {
        let value = table.get("jitter")?;
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let fits = number.filter(|number| (0.0..=MOST_JITTER).contains(number));
        if fits.is_none() {
            let reason = format!(
                "has to be a number from 0 to {MOST_JITTER}: how far a delay may stray, as a \
                 share of it"
            );
            self.fault(&format!("{key}.jitter"), value.span().start, None, reason);
        }
        fits
    }

    fn headers(&mut self, key: &str, table: &Table<'_>) -> Vec<(String, Template)> {
        let Some(value) = table.get("headers") else { return Vec::new() };
        let key = format!("{key}.headers");
        let DeValue::Table(headers) = value.get_ref() else {
            let reason = format!("headers are a table; write [{key}]");
            self.fault(&key, value.span().start, None, reason);
            return Vec::new();
        };
        if headers.len() > guard::MAX_HEADERS {
            let reason = format!("{} headers; at most {}", headers.len(), guard::MAX_HEADERS);
            self.fault(&key, value.span().start, None, reason);
        }
        let mut read = Vec::new();
        for (name, _) in headers {
            let text = name.get_ref().as_ref();
            if let Err(reason) = header_name(text) {
                self.fault(&format!("{key}.{text}"), name.span().start, None, reason);
            }
            // The value is often a credential, and is not shown.
            let template = self.judged(&key, headers, text, |value| {
                header_text(value)
                    .and_then(|()| {
                        Template::parse(value, Site::Header).map_err(|error| error.to_string())
                    })
                    .map_err(|reason| (None, reason))
            });
            read.extend(template.map(|template| (text.to_owned(), template)));
        }
        // A table has no order of its own; the file's is that of the people.
        read.sort_by_key(|(name, _)| headers.get(name.as_str()).map_or(0, |v| v.span().start));
        read
    }

    /// Headers that would be sent twice.
    fn overlaps(&mut self, profile: &Profile, key: &str, table: &Table<'_>) {
        let headers = table.get("headers").and_then(|value| value.get_ref().as_table());
        let place = |name: &str| headers.and_then(|h| h.get(name)).map_or(0, |v| v.span().start);
        for (number, (name, _)) in profile.headers.iter().enumerate() {
            let mut before = profile.headers[..number].iter();
            let reason = if profile.signs_header(name) {
                "a signature goes to this header; remove one of the two"
            } else if before.any(|(other, _)| is_same_header(other, name)) {
                "this header is given twice; case and _ for - make no other name"
            } else {
                continue;
            };
            self.fault(&format!("{key}.headers.{name}"), place(name), None, reason.to_owned());
        }
    }
}

/// Whether a text can be the value of a header, or a part of one.
fn header_text(text: &str) -> Result<(), String> {
    guard::check_header("x", text).map_err(|error| error.to_string())
}

/// Whether a text is a media type, such as `application/json; charset=utf-8`.
fn media_type(text: &str) -> Result<(), String> {
    header_text(text)?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| guard::check_header(part, "") != Err(HeaderError::Name);
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err("has to be a media type such as application/json".to_owned()),
    }
}

fn body_template(text: &str) -> Result<Template, String> {
    if text.len() > MOST_BODY {
        return Err("longer than 64 KiB".to_owned());
    }
    Template::parse(text, Site::Body).map_err(|error| error.to_string())
}

/// Whether a profile may set this header.
fn header_name(name: &str) -> Result<(), String> {
    match guard::check_header(name, "") {
        // Those are what profiles are for, but for the one that all of them have in common.
        Err(HeaderError::Signature) if !is_same_header(name, ID_HEADER) => Ok(()),
        Err(HeaderError::Signature) => Err("every profile sends the webhook-id".to_owned()),
        Err(error) => Err(error.to_string()),
        Ok(()) if is_same_header(name, CONTENT_TYPE) => {
            Err("write it as content_type, which also decides how fields are escaped".to_owned())
        }
        Ok(()) => Ok(()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::parse(text)?;
    if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
        return Err(format!("more than 0s and at most {}", duration::short(LONGEST_TIMEOUT)));
    }
    Ok(timeout)
}

/// A value as a message quotes it.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{:?}...", cut) } else { format!("{cut:?}") }
}
