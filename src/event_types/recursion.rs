//! Whether telling what is wrong with a payload could take longer than anybody waits.
//!
//! Whether a payload matches is known in time, but why none of several alternatives matches is told
//! for each of them: where alternatives contain themselves, that doubles with every level.

use std::collections::HashSet;

use serde_json::Value;

/// The keywords of alternatives.
const ALTERNATIVES: [&str; 2] = ["anyOf", "oneOf"];
/// The keywords of references whose target depends on more than the place they name.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];
/// Most references that are followed; a schema of more is taken to contain itself.
const MOST_REFERENCES: usize = 500;

/// Whether alternatives may contain themselves.
pub(super) fn has_recursive_alternatives(schema: &Value) -> bool {
    let mut found = Found::default();
    found.collect(schema);
    found.has_alternatives && (found.has_dynamic || contains_itself(schema, &found.references))
}

#[derive(Default)]
struct Found {
    references: HashSet<String>,
    has_alternatives: bool,
    has_dynamic: bool,
}

impl Found {
    fn collect(&mut self, schema: &Value) {
        match schema {
            Value::Object(members) => {
                for (keyword, value) in members {
                    self.has_alternatives |= ALTERNATIVES.contains(&keyword.as_str());
                    self.has_dynamic |= DYNAMIC.contains(&keyword.as_str());
                    if let ("$ref", Value::String(reference)) = (keyword.as_str(), value) {
                        self.references.insert(reference.clone());
                    }
                    self.collect(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            _ => {}
        }
    }
}

/// Whether some reference leads back to itself. One that is no plain pointer into the schema is
/// taken to.
fn contains_itself(schema: &Value, references: &HashSet<String>) -> bool {
    if references.len() > MOST_REFERENCES {
        return true;
    }
    let mut known_end = HashSet::new();
    references
        .iter()
        .any(|reference| leads_back(schema, reference, &mut Vec::new(), &mut known_end))
}

fn leads_back(
    schema: &Value,
    reference: &str,
    path: &mut Vec<String>,
    known_end: &mut HashSet<String>,
) -> bool {
    if known_end.contains(reference) {
        return false;
    }
    if path.iter().any(|before| before == reference) {
        return true;
    }
    let Some(target) = reference.strip_prefix('#').and_then(|pointer| schema.pointer(pointer))
    else {
        return true;
    };
    let mut found = Found::default();
    found.collect(target);
    path.push(reference.to_owned());
    let back = found.references.iter().any(|next| leads_back(schema, next, path, known_end));
    path.pop();
    if !back {
        known_end.insert(reference.to_owned());
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alternatives_within_themselves_are_found() {
        for (schema, expected) in [
            (r##"{"anyOf":[{"items":{"$ref":"#"}},{"const":2}]}"##, true),
            (
                r##"{"oneOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"$ref":"#/$defs/b"}},
                "b":{"items":{"$ref":"#/$defs/a"}}}}"##,
                true,
            ),
            (r##"{"$dynamicAnchor":"x","anyOf":[{"items":{"$dynamicRef":"#x"}}]}"##, true),
            (r##"{"anyOf":[{"$ref":"#name"}],"$defs":{"a":{"$anchor":"name"}}}"##, true),
            (r##"{"items":{"$ref":"#"}}"##, false),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/a"},{"const":1}],"$defs":{"a":{"type":"object"}}}"##,
                false,
            ),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],
                "$defs":{"a":{"items":{"$ref":"#/$defs/b"}},"b":{"type":"object"}}}"##,
                false,
            ),
            ("true", false),
        ] {
            let value = serde_json::from_str(schema).expect("JSON");
            assert_eq!(has_recursive_alternatives(&value), expected, "{schema}");
        }
    }
}
