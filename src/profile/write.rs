//! A profile written back in the form that people write, for `outboxd profiles show`.

use std::fmt::{self, Write};

use super::Profile;
use super::signature::{Place, Rule, Which};
use crate::config::duration;
use crate::retry::JITTER;
use crate::sign::key::{Algorithm, KeyForm, Named};
use crate::statuses::Statuses;

/// TOML that reads back as the same profile.
impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = format!("profile.{}", key(&self.name));
        writeln!(out, "[{table}]")?;
        if let Some(description) = &self.description {
            writeln!(out, "description = {}", text(description))?;
        }
        writeln!(out, "body = {}", text(self.body.source()))?;
        if self.content_type != "application/json" {
            writeln!(out, "content_type = {}", text(&self.content_type))?;
        }
        if self.success != Statuses::default() {
            writeln!(out, "success = {}", text(&self.success.to_string()))?;
        }
        if let Some(timeout) = self.timeout {
            writeln!(out, "timeout = {}", text(&duration::short(timeout)))?;
        }
        if let Some((written, _)) = &self.retry {
            writeln!(out, "retry = {}", text(written))?;
        }
        if self.jitter != JITTER {
            writeln!(out, "jitter = {}", self.jitter)?;
        }
        if !self.headers.is_empty() {
            writeln!(out, "\n[{table}.headers]")?;
        }
        for (name, template) in &self.headers {
            writeln!(out, "{} = {}", key(name), text(template.source()))?;
        }
        for rule in &self.rules {
            writeln!(out, "\n[[{table}.signature]]")?;
            write_rule(rule, out)?;
        }
        Ok(())
    }
}

fn write_rule(rule: &Rule, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &rule.place {
        Place::Header(name) => writeln!(out, "header = {}", text(name))?,
        Place::Member(name) => writeln!(out, "member = {}", text(name))?,
    }
    writeln!(out, "algorithm = {}", text(rule.algorithm.name()))?;
    if rule.key != KeyForm::Text {
        writeln!(out, "key = {}", text(rule.key.name()))?;
    }
    if let Some(signed) = &rule.signed {
        writeln!(out, "signed = {}", text(signed.source()))?;
    }
    if rule.algorithm != Algorithm::Token || rule.encoding.name() != "plain" {
        writeln!(out, "encoding = {}", text(rule.encoding.name()))?;
    }
    if rule.each.source() != "{{signature}}" {
        writeln!(out, "each = {}", text(rule.each.source()))?;
    }
    if let Some(separator) = &rule.separator {
        writeln!(out, "separator = {}", text(separator))?;
    }
    if rule.value.source() != "{{signatures}}" {
        writeln!(out, "value = {}", text(rule.value.source()))?;
    }
    if rule.secrets == Which::Oldest {
        writeln!(out, "secrets = {}", text(rule.secrets.name()))?;
    }
    Ok(())
}

/// A key of TOML, bare where it can be.
fn key(name: &str) -> String {
    let bare = |c: u8| c.is_ascii_alphanumeric() || b"_-".contains(&c);
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { basic(name) }
}

/// A string of TOML: a literal one where quotes would else have to be escaped.
fn text(text: &str) -> String {
    let literal = text.contains(['"', '\\']) && !text.contains('\'');
    if literal && !text.contains(char::is_control) { format!("'{text}'") } else { basic(text) }
}

fn basic(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            // A string cannot fail to be written to.
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(control)).unwrap_or_default();
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
