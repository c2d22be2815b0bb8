//! One signature of a profile, as people write it.

use std::ops::Range;

use toml::de::DeValue;

use super::{Reader, Table, header_name, header_text};
use crate::profile::field::{Field, Site};
use crate::profile::signature::{Place, Rule, Which};
use crate::profile::template::{Template, TemplateError};
use crate::sign::key::{Algorithm, Encoding, KeyForm, Named};

/// Most signatures of a profile.
const MOST_SIGNATURES: usize = 10;
/// The keys of a signature.
const KEYS: [&str; 10] = [
    "header",
    "member",
    "algorithm",
    "key",
    "signed",
    "encoding",
    "each",
    "separator",
    "value",
    "secrets",
];

impl Reader {
    /// The signatures, and where each stands.
    pub(super) fn rules(&mut self, key: &str, table: &Table<'_>) -> (Vec<Rule>, Vec<usize>) {
        let Some(value) = table.get("signature") else { return (Vec::new(), Vec::new()) };
        let key = format!("{key}.signature");
        let tables: Vec<(&DeValue<'_>, Range<usize>)> = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|i| (i.get_ref(), i.span())).collect(),
            other => vec![(other, value.span())],
        };
        if tables.len() > MOST_SIGNATURES {
            let reason = format!("{} signatures; at most {MOST_SIGNATURES}", tables.len());
            self.fault(&key, value.span().start, None, reason);
        }
        let (mut rules, mut starts) = (Vec::new(), Vec::new());
        for (number, (table, span)) in tables.iter().enumerate() {
            let key = format!("{key}[{}]", number + 1);
            let start = first_key(table, span.start);
            match table {
                DeValue::Table(table) => {
                    if let Some(rule) = self.rule(&key, start, table) {
                        rules.push(rule);
                        starts.push(start);
                    }
                }
                _ => {
                    let list = key.split('[').next().unwrap_or_default();
                    let reason = format!("a signature is a table; write [[{list}]]");
                    self.fault(&key, start, None, reason);
                }
            }
        }
        (rules, starts)
    }

    fn rule(&mut self, key: &str, start: usize, table: &Table<'_>) -> Option<Rule> {
        self.unknown(key, table, &KEYS);
        let place = self.place(key, start, table);
        let algorithm = self.parsed(key, table, "algorithm", Algorithm::named);
        if !table.contains_key("algorithm") {
            let names: Vec<_> = Algorithm::NAMES.iter().map(|(name, _)| *name).collect();
            let reason = format!("algorithm is missing; write one of {}", names.join(", "));
            self.fault(key, start, None, reason);
        }
        let form = self.parsed(key, table, "key", KeyForm::named);
        let encoding = self.parsed(key, table, "encoding", Encoding::named);
        let error = |error: TemplateError| error.to_string();
        let signed = self.parsed(key, table, "signed", |text| {
            Template::parse(text, Site::Signed).map_err(error)
        });
        let each = self.parsed(key, table, "each", |text| {
            header_text(text)?;
            Template::with(text, Site::Each, Field::Signature).map_err(error)
        });
        let value = self.parsed(key, table, "value", |text| {
            header_text(text)?;
            Template::with(text, Site::Value, Field::Signatures).map_err(error)
        });
        let separator = self.parsed(key, table, "separator", |text| match text {
            "" => Err("empty; leave it out where a single secret signs".to_owned()),
            _ => header_text(text).map(|()| text.to_owned()),
        });
        let secrets = self.parsed(key, table, "secrets", Which::named);
        let algorithm = algorithm?;
        for (name, reason) in contradictions(algorithm, encoding, table) {
            let place = table.get(name).map_or(start, |value| value.span().start);
            self.fault(key, place, None, reason.to_owned());
        }
        let usual = if separator.is_some() { Which::All } else { Which::Newest };
        let bare = |text, site| Template::parse(text, site).ok();
        let signed = match algorithm {
            Algorithm::Token => None,
            _ => Some(signed.or_else(|| bare("{{body}}", Site::Signed))?),
        };
        Some(Rule {
            place: place?,
            algorithm,
            key: form.unwrap_or(KeyForm::Text),
            signed,
            encoding: encoding.unwrap_or(Encoding::Plain),
            each: each.or_else(|| bare("{{signature}}", Site::Each))?,
            separator,
            value: value.or_else(|| bare("{{signatures}}", Site::Value))?,
            secrets: secrets.unwrap_or(usual),
        })
    }

    fn place(&mut self, key: &str, start: usize, table: &Table<'_>) -> Option<Place> {
        let header = self.parsed(key, table, "header", |name| {
            header_name(name).map(|()| Place::Header(name.to_owned()))
        });
        let member = self.parsed(key, table, "member", |name| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
            if name.is_empty() || !name.bytes().all(plain) {
                return Err("a member is made of letters, digits and . _ -".to_owned());
            }
            Ok(Place::Member(name.to_owned()))
        });
        if table.contains_key("header") == table.contains_key("member") {
            let reason = "a signature goes to a header or to a member of the body; give one of the \
                          two";
            self.fault(key, start, None, reason.to_owned());
            return None;
        }
        header.or(member)
    }
}

/// What does not go together in one signature.
fn contradictions(
    algorithm: Algorithm,
    encoding: Option<Encoding>,
    table: &Table<'_>,
) -> Vec<(&'static str, &'static str)> {
    let given = |name: &str| table.contains_key(name);
    let secrets = table.get("secrets").and_then(|value| match value.get_ref() {
        DeValue::String(text) => Some(text.as_ref()),
        _ => None,
    });
    let mut found = Vec::new();
    if algorithm == Algorithm::Token {
        for name in ["signed", "key"].into_iter().filter(|name| given(name)) {
            found.push((name, "a token is sent as it is: leave signed and key out"));
        }
        if matches!(encoding, Some(Encoding::Hex | Encoding::Base64Url)) {
            found.push(("encoding", "a token is sent plain or as base64"));
        }
    } else {
        if !given("encoding") {
            found.push(("encoding", "encoding is missing; write one of hex, base64, base64url"));
        }
        if encoding == Some(Encoding::Plain) {
            let reason = "the bytes of a signature are no text: write hex, base64 or base64url";
            found.push(("encoding", reason));
        }
    }
    if algorithm == Algorithm::Ed25519 && given("key") {
        found.push(("key", "Ed25519 keys have one form only (whsk_...): leave key out"));
    }
    match (secrets, given("separator")) {
        (Some("all"), false) => {
            found.push(("secrets", "several secrets need a separator between their signatures"));
        }
        (Some("newest" | "oldest"), true) => {
            let reason = "one secret signs, so there is nothing to separate: leave separator out";
            found.push(("separator", reason));
        }
        _ => {}
    }
    found
}

/// Where a person looks for a signature: its first key, for a table has no place of its own.
fn first_key(value: &DeValue<'_>, otherwise: usize) -> usize {
    match value {
        DeValue::Table(table) => table.keys().map(|k| k.span().start).min().unwrap_or(otherwise),
        _ => otherwise,
    }
}
