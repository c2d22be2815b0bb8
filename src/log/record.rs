//! One thing that is logged, and how it is written as text and as JSON.

use std::fmt::{Debug, Write};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Bytes of a value that are kept.
const KEPT: usize = 8 * 1024;

/// Something that is logged.
#[derive(Debug)]
pub struct Record {
    /// When.
    at: Timestamp,
    /// How bad it is.
    pub level: Level,
    /// The module that says it.
    pub target: String,
    /// What happened.
    pub message: String,
    /// With which values, in order.
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// What a library or outboxd itself logs.
    pub fn of(event: &Event<'_>) -> Self {
        let about = event.metadata();
        let mut record = Self::new(*about.level(), about.target());
        event.record(&mut record);
        record
    }

    /// That so many lines about an endpoint were not written.
    pub fn of_left_out(endpoint: &str, left_out: u64) -> Self {
        let mut record = Self::new(Level::WARN, module_path!());
        "lines about this endpoint were left out in the last minute"
            .clone_into(&mut record.message);
        record.fields = vec![("endpoint", endpoint.into()), ("left_out", left_out.into())];
        record
    }

    /// That so many lines found no reader in time.
    pub fn of_dropped(dropped: u64) -> Self {
        let mut record = Self::new(Level::WARN, module_path!());
        "lines before this one were dropped: whatever reads the log does not keep up"
            .clone_into(&mut record.message);
        record.fields = vec![("dropped", dropped.into())];
        record
    }

    fn new(level: Level, target: &str) -> Self {
        let (at, target) = (Timestamp::now(), target.to_owned());
        Self { at, level, target, message: String::new(), fields: Vec::new() }
    }

    /// The endpoint that it is about.
    pub fn endpoint(&self) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| *name == "endpoint");
        found.and_then(|(_, value)| value.as_str())
    }

    /// Message and values in one line of text, without anything that could act on a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        escape(&self.message, &mut text);
        for (name, value) in &self.fields {
            write!(text, " {name}=").ok();
            match value {
                Value::String(value) if is_plain(value) => text.push_str(value),
                Value::String(value) => {
                    text.push('"');
                    escape(&value.replace('\\', "\\\\").replace('"', "\\\""), &mut text);
                    text.push('"');
                }
                other => write!(text, "{other}").unwrap_or_default(),
            }
        }
        text
    }

    /// The line of text, with the time.
    pub fn text_line(&self, colours: bool) -> String {
        let colour = match self.level {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            _ => "\x1b[2m",
        };
        let (on, off) = if colours { (colour, "\x1b[0m") } else { ("", "") };
        format!("{:.6} {on}{:>5}{off} {}\n", self.at, self.level, self.text())
    }

    /// One JSON object, in a line.
    pub fn json_line(&self) -> String {
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), format!("{:.6}", self.at).into());
        object.insert("level".to_owned(), self.level.as_str().into());
        object.insert("message".to_owned(), self.message.clone().into());
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), value.clone());
        }
        object.insert("target".to_owned(), self.target.clone().into());
        let mut line = String::new();
        for c in Value::Object(object).to_string().chars() {
            // Outside of strings there are none.
            if steers(c) {
                write!(line, "\\u{:04x}", u32::from(c)).ok();
            } else {
                line.push(c);
            }
        }
        line + "\n"
    }

    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, kept(value.to_owned()).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.take(field, u64::try_from(value).unwrap_or(u64::MAX).into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, kept(format!("{value:?}")).into());
    }
}

/// A text cut to what is kept, at a character.
fn kept(mut text: String) -> String {
    if text.len() > KEPT {
        let end = (0..=KEPT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Whether a value can be told from what is around it without quotes.
fn is_plain(value: &str) -> bool {
    let is_clear = |c: char| !c.is_whitespace() && !"\"=\\".contains(c) && !steers(c);
    !value.is_empty() && value.chars().all(is_clear)
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if steers(c) {
            into.extend(c.escape_default());
        } else {
            into.push(c);
        }
    }
}

/// Whether a terminal obeys the character in place of showing it: control characters, line
/// separators, and what changes the direction of text.
pub fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str, fields: &[(&'static str, Value)]) -> Record {
        let mut record = Record::new(Level::WARN, "outboxd::test");
        message.clone_into(&mut record.message);
        record.fields = fields.to_vec();
        record
    }

    #[test]
    fn values_cannot_pretend_to_be_lines_or_other_values() {
        let forged = "gone\n2026-01-01 ERROR all lost \x1b[2J\u{9b}1m\u{202e}";
        let record = record(
            "a\tb",
            &[
                ("error", forged.into()),
                ("plain", "acme-crm".into()),
                ("tricky", "x endpoint=\"other\"".into()),
                ("empty", "".into()),
                ("count", 3.into()),
            ],
        );
        let text = record.text();
        assert_eq!(
            text,
            "a\\tb error=\"gone\\n2026-01-01 ERROR all lost \\u{1b}[2J\\u{9b}1m\\u{202e}\" \
             plain=acme-crm tricky=\"x endpoint=\\\"other\\\"\" empty=\"\" count=3"
        );
        let json = record.json_line();
        assert!(!json.trim_end().contains(steers), "{json:?}");
        let back: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&back["error"], &back["count"]), (&forged.into(), &3.into()));
        assert_eq!((&back["level"], &back["target"]), (&"WARN".into(), &"outboxd::test".into()));
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let cut = kept("é".repeat(KEPT));
        assert!(cut.len() <= KEPT + 3 && cut.ends_with("é..."));
    }
}
