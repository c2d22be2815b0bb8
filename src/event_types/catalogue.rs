//! Catalogues as people write them, in files: read and judged as a whole.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Schema;

/// The event types of the seeds: what real affiliate and referral platforms send.
pub const SEEDS: &str = include_str!("seeds.json");

/// Longest description, in characters; what the table takes.
const DESCRIPTION_CHARS: usize = 1_000;
/// Largest schema, in bytes; what the table takes.
const SCHEMA_BYTES: usize = 256 * 1024;
/// Largest example, in bytes; what an event may hold.
const EXAMPLE_BYTES: usize = 1024 * 1024;

/// One event type of a catalogue. Schema and example are as written, byte for byte.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The type; in an object keyed by type, its key may say it alone.
    #[serde(rename = "type", default)]
    pub event_type: String,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<RawValue>>,
    /// A payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Box<RawValue>>,
}

/// Whether a text can be an event type: 1 to 128 of `A-Z a-z 0-9 . _ -`.
pub fn is_type_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// Reads a catalogue: a JSON array of entries, or an object of entries by their type.
///
/// # Errors
/// Everything that is wrong, one line each: the type, or the place where there is none, and why.
pub fn read(text: &str) -> Result<Vec<Entry>, Vec<String>> {
    let unreadable = |error: serde_json::Error| vec![format!("no JSON catalogue: {error}")];
    let items: Vec<(String, Box<RawValue>)> = if text.trim_start().starts_with('{') {
        let named: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).map_err(unreadable)?;
        named.into_iter().collect()
    } else {
        let listed: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(unreadable)?;
        listed.into_iter().map(|item| (String::new(), item)).collect()
    };
    let (mut entries, mut problems, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, (key, item)) in items.into_iter().enumerate() {
        match read_entry(&key, &item) {
            Ok(entry) => {
                let problem = judge(&entry).err().or_else(|| {
                    let first = seen.insert(entry.event_type.clone());
                    (!first).then(|| "it is there twice".to_owned())
                });
                if let Some(problem) = problem {
                    problems.push(format!("{}: {problem}", entry.event_type));
                }
                entries.push(entry);
            }
            Err(problem) if key.is_empty() => problems.push(format!("#{}: {problem}", number + 1)),
            Err(problem) => problems.push(format!("{}: {problem}", key.escape_debug())),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

fn read_entry(key: &str, item: &RawValue) -> Result<Entry, String> {
    let mut entry: Entry =
        serde_json::from_str(item.get()).map_err(|error| format!("no event type: {error}"))?;
    if entry.event_type.is_empty() {
        key.clone_into(&mut entry.event_type);
    }
    if !key.is_empty() && entry.event_type != key {
        return Err(format!("its type is another one, {:?}", entry.event_type));
    }
    if !is_type_name(&entry.event_type) {
        let name = &entry.event_type;
        return Err(format!("the type {name:?} is not 1 to 128 of A-Z a-z 0-9 . _ -"));
    }
    Ok(entry)
}

/// The first thing that the table, or a daemon, would not take.
fn judge(entry: &Entry) -> Result<(), String> {
    let description = entry.description.as_deref().map_or(1, |text| text.chars().count());
    if !(1..=DESCRIPTION_CHARS).contains(&description) {
        return Err(format!("the description is not 1 to {DESCRIPTION_CHARS} characters long"));
    }
    if entry.description.as_deref().is_some_and(|text| text.contains('\0')) {
        return Err("the description holds a NUL character".to_owned());
    }
    let bytes = |text: &Option<Box<RawValue>>| text.as_ref().map_or(0, |text| text.get().len());
    if bytes(&entry.schema) > SCHEMA_BYTES {
        return Err(format!("the schema is larger than {SCHEMA_BYTES} bytes"));
    }
    if bytes(&entry.example) > EXAMPLE_BYTES {
        return Err(format!("the example is larger than {EXAMPLE_BYTES} bytes"));
    }
    let Some(schema) = &entry.schema else { return Ok(()) };
    let schema = Schema::compile(schema.get())?;
    let Some(example) = &entry.example else { return Ok(()) };
    schema
        .check(example.get().as_bytes())
        .map_err(|reason| format!("the example does not match its own schema: {reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Type and payload of the samples.
    fn samples() -> Vec<(String, Value)> {
        let text = include_str!("../demo/events.json");
        let samples: Vec<Value> = serde_json::from_str(text).expect("samples");
        let pair = |sample: Value| {
            (sample["type"].as_str().unwrap_or_default().to_owned(), sample["payload"].clone())
        };
        samples.into_iter().map(pair).collect()
    }

    #[test]
    fn the_seeds_are_every_type_of_the_samples_but_the_test() {
        let seeds = read(SEEDS).expect("a catalogue without a mistake");
        let named: Vec<&str> = seeds.iter().map(|entry| entry.event_type.as_str()).collect();
        let samples = samples();
        let known: Vec<&str> =
            samples.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "test").collect();
        assert_eq!((named.len(), samples.len()), (37, 38));
        assert_eq!(named, known);
        for (entry, (name, payload)) in seeds.iter().zip(&samples) {
            assert!(entry.description.as_deref().is_some_and(|text| text.ends_with('.')), "{name}");
            let example = entry.example.as_ref().expect("an example").get();
            assert_eq!(example, payload.to_string(), "{name}");
        }
    }

    #[test]
    fn every_seed_takes_its_sample_and_refuses_what_is_missing_or_of_another_type() {
        for (entry, (name, payload)) in read(SEEDS).expect("a catalogue").iter().zip(samples()) {
            let text = entry.schema.as_ref().expect("a schema").get();
            let schema = Schema::compile(text).expect("it compiles");
            assert_eq!(schema.check(payload.to_string().as_bytes()), Ok(()), "{name}");
            let required: Value = serde_json::from_str(text).expect("JSON");
            let required = required["required"].as_array().expect("required members").clone();
            assert!(!required.is_empty(), "{name}");
            for member in required.iter().filter_map(Value::as_str) {
                let mut without = payload.clone();
                without.as_object_mut().expect("an object").remove(member);
                let refusal = schema.check(without.to_string().as_bytes()).expect_err(&name);
                assert_eq!(refusal, format!("the payload: required {member:?} is missing"));
                let mut other = payload.clone();
                other[member] = Value::Bool(true);
                if payload[member].is_boolean() {
                    other[member] = Value::from("text");
                }
                let refusal = schema.check(other.to_string().as_bytes()).expect_err(&name);
                let expected = format!("/{member}: does not match type ");
                assert!(refusal.starts_with(&expected), "{name}: {refusal}");
            }
            let mut more = payload.clone();
            more["a_member_of_a_later_version"] = Value::from(1);
            assert_eq!(schema.check(more.to_string().as_bytes()), Ok(()), "{name}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_type() {
        let text = r#"[
            {"type": "good", "example": {"n": 1.50}},
            {"type": "bad name"},
            {"type": "typo", "shema": {}},
            {"type": "no.schema", "schema": {"type": "strnig"}},
            {"type": "no.match", "schema": {"required": ["a"]}, "example": {}},
            {"type": "good"},
            {"type": "wordy", "description": ""},
            7
        ]"#;
        let problems = read(text).expect_err("mistakes");
        let expected = [
            "#2: the type \"bad name\"",
            "#3: no event type: unknown field `shema`",
            "no.schema: the schema is no JSON Schema: at /type: \"strnig\"",
            "no.match: the example does not match its own schema: the payload: required \"a\"",
            "good: it is there twice",
            "wordy: the description",
            "#8: no event type: invalid type",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.starts_with(part), "{problem}");
        }
        assert!(read("[{").expect_err("no JSON")[0].contains("line 1"));
    }

    #[test]
    fn an_object_by_type_is_a_catalogue_too_and_bytes_stay() {
        let text = r#"{"a.b": {"example": {"n":  1.50, "big": 1e400}}, "c": {"type": "c"}}"#;
        let entries = read(text).expect("a catalogue");
        assert_eq!((entries.len(), entries[0].event_type.as_str()), (2, "a.b"));
        let written = serde_json::to_string(&entries).expect("JSON");
        assert!(written.contains(r#"{"n":  1.50, "big": 1e400}"#), "{written}");
        let other = read(r#"{"a": {"type": "b"}}"#).expect_err("two names");
        assert_eq!(other, ["a: its type is another one, \"b\""]);
    }
}
