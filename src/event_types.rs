//! What events of a type look like: JSON Schemas, compiled. The only module that knows jsonschema.
//!
//! A payload is parsed beside its bytes and never changed. What is said of one that does not match
//! names places and keywords of the schema, and nothing that the payload holds.

pub mod catalogue;
mod recursion;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jsonschema::error::{ValidationError, ValidationErrorKind};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Characters of a reason that are kept.
const REASON_CHARS: usize = 300;
/// Characters of what a schema expects, where a reason quotes it.
const EXPECTED_CHARS: usize = 100;
/// Size of one compiled pattern, and of the memory it may use while it is matched, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A JSON Schema that payloads are checked against.
#[derive(Debug)]
pub struct Schema {
    source: String,
    value: Value,
    /// The property names that the schema mentions: others are the payload's own affair.
    names: HashSet<String>,
    validator: Validator,
    /// Whether a payload that does not match is told why: not where that could take for ever.
    explains: bool,
}

impl Schema {
    /// Compiles a schema, of draft 2020-12 unless its `$schema` says otherwise. References reach no
    /// further than the schema itself, and patterns are matched in linear time.
    ///
    /// # Errors
    /// Why it is no usable schema, in one printable line.
    pub fn compile(source: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(source)
            .map_err(|error| format!("the schema cannot be read: {error}"))?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let validator =
            jsonschema::options().offline().with_pattern_options(patterns).build(&value).map_err(
                |error| {
                    let at = error.instance_path();
                    let at = if at.is_empty() { String::new() } else { format!("at {at}: ") };
                    legible(&format!("the schema is no JSON Schema: {at}{error}"))
                },
            )?;
        let mut names = HashSet::new();
        collect_names(&value, &mut names);
        let explains = !recursion::has_recursive_alternatives(&value);
        Ok(Self { source: source.to_owned(), value, names, validator, explains })
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// The first thing that does not match: where, and what the schema expects there. One printable
    /// line of bounded length, without any value of the payload.
    pub fn check(&self, payload: &[u8]) -> Result<(), String> {
        let payload: Value = serde_json::from_slice(payload)
            .map_err(|error| legible(&format!("the payload cannot be checked: {error}")))?;
        if self.validator.is_valid(&payload) {
            return Ok(());
        }
        if !self.explains {
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
    schemas: HashMap<String, Arc<Schema>>,
    /// Type, and text of a schema that cannot be used.
    unusable: HashMap<String, String>,
}

impl EventTypes {
    /// Compiles what is not in `previous` yet, from pairs of a type and the text of its schema.
    /// Also returns the types whose schema cannot be used and was not known before, each with the
    /// reason: their events go unchecked.
    pub fn build(rows: Vec<(String, String)>, previous: &Self) -> (Self, Vec<(String, String)>) {
        let (mut types, mut fresh) = (Self::default(), Vec::new());
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
    pub fn schema(&self, event_type: &str) -> Option<&Schema> {
        self.schemas.get(event_type).map(|schema| &**schema)
    }

    /// Whether nothing is checked.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, payload: &str) -> Result<(), String> {
        Schema::compile(schema).expect("a schema").check(payload.as_bytes())
    }

    #[test]
    fn a_reason_names_place_and_keyword_and_no_value() {
        let schema = r#"{"type":"object","required":["id"],"properties":{
            "id":{"type":"string"},"n":{"minimum":3},"e":{"enum":["a","b"]},
            "list":{"items":{"properties":{"a/b":{"maxLength":2}}}},
            "any":{"anyOf":[{"type":"string"},{"type":"null"}]}},
            "additionalProperties":{"type":"integer"}}"#;
        for (payload, reason) in [
            (r#"{}"#, r#"the payload: required "id" is missing"#),
            (r#"["secret"]"#, r#"the payload: does not match type "object""#),
            (r#"{"id":7777}"#, r#"/id: does not match type "string""#),
            (r#"{"id":"x","n":2}"#, "/n: does not match minimum 3"),
            (r#"{"id":"x","e":"secret"}"#, r#"/e: does not match enum ["a","b"]"#),
            (
                r#"{"id":"x","list":[{},{"a/b":"secret"}]}"#,
                "/list/1/a~1b: does not match maxLength 2",
            ),
            (r#"{"id":"x","any":7777}"#, "/any: does not match anyOf"),
            // A name that only the payload knows is as private as a value, a number too.
            (r#"{"id":"x","ann@example.com":"secret"}"#, r#"/*: does not match type "integer""#),
            (r#"{"id":"x","4155551234":"secret"}"#, r#"/*: does not match type "integer""#),
        ] {
            assert_eq!(check(schema, payload), Err(reason.to_owned()), "{payload}");
        }
        assert_eq!(check(schema, r#"{"id":"x","n":3,"e":"b","any":null,"more":1}"#), Ok(()));
    }

    #[test]
    fn a_reason_is_one_short_line_that_a_column_takes() {
        let name = "\\u0000\\n".repeat(400);
        let schema = format!(r#"{{"required":["{name}"]}}"#);
        let reason = check(&schema, "{}").expect_err("it is missing");
        assert!(reason.chars().count() <= REASON_CHARS, "{reason}");
        assert!(!reason.contains(char::is_control), "{reason}");
        let (open, close) = (r#"{"a":"#.repeat(100), "}".repeat(100));
        let schema = r##"{"properties":{"a":{"$ref":"#"}},"type":"object"}"##;
        let reason = check(schema, &format!("{open}1{close}")).expect_err("1 is no object");
        assert!(reason.chars().count() <= REASON_CHARS, "{reason}");
    }

    #[test]
    fn what_cannot_be_parsed_beside_is_invalid_and_no_panic() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let array = r##"{"type":"array","items":{"$ref":"#"}}"##;
        for (schema, payload, part) in [
            (array, deep.as_str(), "recursion limit"),
            ("true", r#"{"n":1e400}"#, "number out of range"),
            ("true", r#""\ud800""#, "hex escape"),
        ] {
            let reason = check(schema, payload).expect_err(part);
            assert!(reason.starts_with("the payload cannot be checked: "), "{reason}");
            assert!(reason.contains(part), "{reason}");
        }
        let deepest = "[".repeat(127) + &"]".repeat(127);
        assert_eq!(check(array, &deepest), Ok(()));
    }

    #[test]
    fn integers_and_numbers_are_told_apart_as_written() {
        for (payload, is_integer) in
            [("1", true), ("1.0", true), ("1.5", false), ("18446744073709551615", true)]
        {
            assert_eq!(check(r#"{"type":"integer"}"#, payload).is_ok(), is_integer, "{payload}");
            assert_eq!(check(r#"{"type":"number"}"#, payload), Ok(()), "{payload}");
        }
    }

    #[test]
    fn schemas_that_point_outside_or_cannot_be_matched_in_linear_time_are_refused() {
        for schema in [
            r#"{"$ref":"http://example.com/schema.json"}"#,
            r#"{"$ref":"file:///etc/hostname"}"#,
            r#"{"pattern":"(?=a)b"}"#,
            r#"{"pattern":"(a)\\1"}"#,
            r#"{"pattern":"(a{1000}){1000}"}"#,
            r#"{"type":"strnig"}"#,
            "[]",
            "{",
        ] {
            let reason = Schema::compile(schema).expect_err(schema);
            assert!(reason.starts_with("the schema "), "{reason}");
        }
        let started = std::time::Instant::now();
        let payload = format!("\"{}!\"", "a".repeat(100_000));
        assert!(check(r#"{"pattern":"^(a+)+$"}"#, &payload).is_err());
        assert!(started.elapsed().as_secs() < 10, "a backtracking engine would never end");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for schema in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"}]}"##,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
            r##"{"allOf":[{"$dynamicRef":"#x"}],"$dynamicAnchor":"x"}"##,
            r##"{"if":{"$ref":"#"},"then":{"$ref":"#"}}"##,
        ] {
            assert_eq!(check(schema, r#"{"a":[1]}"#), Ok(()), "{schema}");
        }
        // What is wrong with each alternative, at each level, would be told by the end of days.
        let schema = r##"{"anyOf":[{"type":"array","items":{"$ref":"#"}},
            {"type":"array","items":{"$ref":"#"}},{"const":2}]}"##;
        let nested = "[".repeat(100) + "1" + &"]".repeat(100);
        let reason = "the payload: does not match the schema";
        assert_eq!(check(schema, &nested), Err(reason.to_owned()));
        let deep = "{\"items\":".repeat(126) + "true" + &"}".repeat(126);
        assert_eq!(check(&deep, "[[[]]]"), Ok(()));
    }

    #[test]
    fn a_bad_schema_leaves_its_type_unchecked_and_is_told_once() {
        let rows = |bad: &str| {
            let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
            vec![pair("bad", bad), pair("good", r#"{"type":"object"}"#)]
        };
        let (first, told) = EventTypes::build(rows(r#"{"type":1}"#), &EventTypes::default());
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "bad");
        assert!(first.schema("bad").is_none() && first.schema("good").is_some());
        let (second, told) = EventTypes::build(rows(r#"{"type":1}"#), &first);
        assert!(told.is_empty());
        let kept = |types: &EventTypes| types.schema("good").map(std::ptr::from_ref);
        assert_eq!(kept(&first), kept(&second));
        let (mended, told) = EventTypes::build(rows("true"), &second);
        assert!(told.is_empty() && mended.schema("bad").is_some());
        assert!(EventTypes::build(Vec::new(), &mended).0.is_empty());
    }
}
