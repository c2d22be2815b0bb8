//! What events of a type look like: JSON Schemas, compiled. The only module that knows jsonschema.
//!
//! A payload is parsed beside its bytes and never changed. What is said of one that does not match
//! names places and keywords of the schema, and nothing that the payload holds.

pub mod catalogue;
mod cost;
mod references;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jsonschema::error::{ValidationError, ValidationErrorKind};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use cost::Cost;

/// Characters of a reason that are kept.
const REASON_CHARS: usize = 300;
/// Characters of what a schema expects, where a reason quotes it.
const EXPECTED_CHARS: usize = 100;
/// Sizes of a compiled pattern, and of the memory it may use while it is matched, in bytes; and the
/// steps that a pattern of this size takes for each byte of a text.
const PATTERN_SIZES: [(usize, u64); 3] = [(4 << 10, 100), (16 << 10, 400), (64 << 10, 1_000)];
/// Most steps of a check; of a few nanoseconds each.
const MOST_STEPS: u64 = 100_000_000;
/// Steps that are made between two looks at what else is to be done.
const QUICK_STEPS: u64 = 1_000_000;
/// Most steps of a check that is told about for each of several alternatives: each step may leave
/// an error in memory.
const MOST_STEPS_TOLD: u64 = 100_000;

/// A JSON Schema that payloads are checked against.
#[derive(Debug)]
pub struct Schema {
    source: String,
    value: Value,
    /// The property names that the schema mentions: others are the payload's own affair.
    names: HashSet<String>,
    validator: Validator,
    cost: Cost,
    /// What its patterns take for each byte of a text, in steps.
    pattern_steps: u64,
}

impl Schema {
    /// Compiles a schema, of draft 2020-12 unless its `$schema` says otherwise. References reach no
    /// further than the schema itself, and patterns are matched in linear time. One that could take
    /// too long is not even compiled.
    ///
    /// # Errors
    /// Why it is no usable schema, in one printable line.
    pub fn compile(source: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(source)
            .map_err(|error| format!("the schema cannot be read: {error}"))?;
        let cost = cost::of(&value)
            .map_err(|why| legible(&format!("the schema cannot be used: {why}")))?;
        let (validator, pattern_steps) = build(&value)?;
        let mut names = HashSet::new();
        collect_names(&value, &mut names);
        Ok(Self { source: source.to_owned(), value, names, validator, cost, pattern_steps })
    }

    /// Whether a payload of so many bytes is checked within a few milliseconds, whatever it holds.
    pub fn is_quick(&self, bytes: usize) -> bool {
        self.cost.steps_at_most(bytes, self.pattern_steps) <= QUICK_STEPS
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// The first thing that does not match: where, and what the schema expects there. One printable
    /// line of bounded length, without any value of the payload.
    pub fn check(&self, payload: &[u8]) -> Result<(), String> {
        let payload: Value = serde_json::from_slice(payload)
            .map_err(|error| legible(&format!("the payload cannot be checked: {error}")))?;
        let (for_values, for_bytes) = self.cost.steps(&payload, self.pattern_steps);
        let steps = for_values.saturating_add(for_bytes);
        if steps > MOST_STEPS {
            return Err(format!(
                "the payload cannot be checked: against a schema like this one, a payload of this \
                 size could take {steps} steps, more than {MOST_STEPS}"
            ));
        }
        if self.validator.is_valid(&payload) {
            return Ok(());
        }
        let told = if self.cost.has_alternatives { MOST_STEPS_TOLD } else { MOST_STEPS };
        if !self.cost.explains_in_time || for_values > told {
            return Err("the payload: does not match the schema".to_owned());
        }
        self.validator.validate(&payload).map_err(|error| {
            let (place, expected) = (self.place(&error, &payload), self.expected(&error));
            legible(&format!("{place}: {expected}"))
        })
    }

    /// Where in the payload, as a JSON pointer. A name that the schema does not mention may be
    /// private, and is shown as `*`.
    fn place(&self, error: &ValidationError<'_>, payload: &Value) -> String {
        let (mut place, mut at) = (String::new(), Some(payload));
        for segment in error.instance_path().as_str().split('/').skip(1) {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let shown = match at {
                Some(Value::Array(_)) => true,
                _ => self.names.contains(&name),
            };
            place.push('/');
            place.push_str(if shown { segment } else { "*" });
            at = at.and_then(|value| match value {
                Value::Array(items) => items.get(name.parse::<usize>().ok()?),
                other => other.get(&name),
            });
        }
        if place.is_empty() { "the payload".to_owned() } else { place }
    }

    /// The keyword, and its value where that is short enough to help.
    fn expected(&self, error: &ValidationError<'_>) -> String {
        if let ValidationErrorKind::Required { property } = error.kind() {
            return format!("required {property} is missing");
        }
        let keyword = error.kind().keyword();
        let scalar = |value: &Value| !value.is_object() && !value.is_array();
        let short = |value: &&Value| match value {
            Value::Array(items) => items.iter().all(scalar),
            other => scalar(other),
        };
        match self.value.pointer(error.schema_path().as_str()).filter(short) {
            Some(value) => {
                let value: String = value.to_string().chars().take(EXPECTED_CHARS).collect();
                format!("does not match {keyword} {value}")
            }
            None => format!("does not match {keyword}"),
        }
    }
}

/// Compiles a schema with patterns as small as possible, and says what they take.
fn build(schema: &Value) -> Result<(Validator, u64), String> {
    let mut reason = String::new();
    for (size, steps) in PATTERN_SIZES {
        let patterns = PatternOptions::regex().size_limit(size).dfa_size_limit(size);
        match jsonschema::options().offline().with_pattern_options(patterns).build(schema) {
            Ok(validator) => return Ok((validator, steps)),
            Err(error) => {
                let at = error.instance_path();
                let at = if at.is_empty() { String::new() } else { format!("at {at}: ") };
                reason = legible(&format!("the schema is no JSON Schema: {at}{error}"));
            }
        }
    }
    if reason.ends_with("is not a \"regex\"") {
        reason.push_str(", or is too large once compiled");
    }
    Err(reason)
}

/// The names under `properties` and in `required`, at any depth.
fn collect_names(schema: &Value, names: &mut HashSet<String>) {
    match schema {
        Value::Object(members) => {
            for (keyword, value) in members {
                match (keyword.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        names.extend(properties.keys().cloned());
                    }
                    ("required", Value::Array(required)) => {
                        names.extend(required.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
                collect_names(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}

/// One line that any terminal and any column of text can take.
fn legible(reason: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    reason.chars().map(shown).take(REASON_CHARS).collect()
}

/// The schemas of all event types that have one, as of one moment.
#[derive(Debug, Default)]
pub struct EventTypes {
    loaded: bool,
    schemas: HashMap<String, Arc<Schema>>,
    /// Type, and text of a schema that cannot be used.
    unusable: HashMap<String, String>,
}

impl EventTypes {
    /// Compiles what is not in `previous` yet, from pairs of a type and the text of its schema.
    /// Also returns the types whose schema cannot be used and was not known before, each with the
    /// reason: their events go unchecked.
    pub fn build(rows: Vec<(String, String)>, previous: &Self) -> (Self, Vec<(String, String)>) {
        let (mut types, mut fresh) = (Self { loaded: true, ..Self::default() }, Vec::new());
        for (event_type, source) in rows {
            let known = previous.schemas.get(&event_type).filter(|known| known.source == source);
            if let Some(known) = known {
                types.schemas.insert(event_type, Arc::clone(known));
                continue;
            }
            if previous.unusable.get(&event_type) == Some(&source) {
                types.unusable.insert(event_type, source);
                continue;
            }
            match Schema::compile(&source) {
                Ok(schema) => {
                    types.schemas.insert(event_type, Arc::new(schema));
                }
                Err(reason) => {
                    fresh.push((event_type.clone(), reason));
                    types.unusable.insert(event_type, source);
                }
            }
        }
        (types, fresh)
    }

    /// The schema that events of this type are checked against, if there is one.
    pub fn schema(&self, event_type: &str) -> Option<&Arc<Schema>> {
        self.schemas.get(event_type)
    }

    /// Whether they have been loaded at all.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether nothing is checked.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }
}
