//! What the references of a schema mean: places of the schema itself.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

/// Most schemas with an `$id` of their own within a schema.
const MOST_RESOURCES: usize = 100;
/// Where the schemas of schemas are, which come with the validator.
const SCHEMAS_OF_SCHEMAS: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// Whether a keyword refers to another place.
pub(super) fn is_reference(keyword: &str) -> bool {
    ["$ref", "$dynamicRef", "$recursiveRef"].contains(&keyword)
}

/// What can be referred to in a schema, and what else is found on the way there.
pub(super) struct Places<'a> {
    root: &'a Value,
    /// Schemas with an address of their own.
    resources: Vec<(&'a str, &'a Value)>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// How many patterns there are.
    pub(super) patterns: usize,
    /// Whether there are alternatives.
    pub(super) alternatives: bool,
}

impl<'a> Places<'a> {
    /// Finds them.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn of(root: &'a Value) -> Result<Self, String> {
        let (resources, anchors) = (Vec::new(), HashMap::new());
        let mut places = Self { root, resources, anchors, patterns: 0, alternatives: false };
        places.collect(root);
        let count = places.resources.len();
        if count > MOST_RESOURCES {
            return Err(format!(
                "{count} schemas in it have an $id of their own, more than {MOST_RESOURCES}"
            ));
        }
        Ok(places)
    }

    fn collect(&mut self, schema: &'a Value) {
        match schema {
            Value::Object(members) => {
                for (keyword, value) in members {
                    match (keyword.as_str(), value) {
                        ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                            self.anchors.entry(name).or_default().push(schema);
                        }
                        ("$id" | "id", Value::String(id)) => match id.strip_prefix('#') {
                            Some(name) => self.anchors.entry(name).or_default().push(schema),
                            None => self.resources.push((id, schema)),
                        },
                        ("pattern", Value::String(_)) => self.patterns += 1,
                        ("patternProperties", Value::Object(patterns)) => {
                            self.patterns += patterns.len();
                        }
                        ("anyOf" | "oneOf", _) => self.alternatives = true,
                        _ => {}
                    }
                    self.collect(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            _ => {}
        }
    }

    /// All that a reference may mean, which is one place as a rule; `None` when it means a schema
    /// of schemas.
    pub(super) fn meant_by(&self, keyword: &str, reference: &str) -> Option<Vec<&'a Value>> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if SCHEMAS_OF_SCHEMAS.iter().any(|known| address.starts_with(known)) {
            return None;
        }
        let fragment = decoded(fragment);
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return Some(self.anchors.get(&*fragment).cloned().unwrap_or_default());
        }
        let any = address.is_empty() || keyword == "$recursiveRef";
        let named = self
            .resources
            .iter()
            .filter(|(id, _)| any || last_segment(id) == last_segment(address))
            .map(|(_, resource)| *resource);
        let root = any.then_some(self.root);
        Some(root.into_iter().chain(named).filter_map(|at| at.pointer(&fragment)).collect())
    }
}

/// What of an address stays the same whatever it is relative to.
fn last_segment(address: &str) -> &str {
    let address = address.split_once('#').map_or(address, |(address, _)| address);
    address.rsplit_once('/').map_or(address, |(_, last)| last)
}

/// A fragment without its percent encoding.
fn decoded(fragment: &str) -> Cow<'_, str> {
    if !fragment.contains('%') {
        return Cow::Borrowed(fragment);
    }
    let (mut bytes, mut rest) = (Vec::new(), fragment.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
