//! What a schema costs, counted before anything is compiled or checked.
//!
//! References make a small schema a large one: what is referred to counts as often as it is
//! reached. A reference that leads back to itself counts once, since whether a part of a payload
//! matches it is found out once and remembered.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::references::{Places, is_reference};

/// Most parts of a schema, with everything that is referred to in its place.
const MOST_PARTS: u64 = 10_000;
/// Most parts within each other, along references too: all of them are on the stack at once.
const MOST_LEVELS: u64 = 200;
/// Most patterns of a schema.
const MOST_PATTERNS: usize = 100;
/// Bytes of an `enum` or a `const` that count as one part more.
const BYTES_A_PART: usize = 64;
/// Parts that stand for the schema of schemas, which is none of ours.
const OF_SCHEMAS: u64 = 2_000;
/// What a keyword does with each byte of a text, in steps.
const BY_BYTE: [(&str, u64); 8] = [
    ("minLength", 1),
    ("maxLength", 1),
    ("enum", 1),
    ("const", 1),
    ("uniqueItems", 10),
    ("format", 20),
    ("contentEncoding", 20),
    ("contentMediaType", 20),
];

/// What checking a payload takes, in steps: one part of a schema held against one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// What is held against one value at most, each.
    once: Parts,
    /// What is held against any number of values.
    each: Parts,
    /// Whether telling what is wrong takes about as long as finding out that something is.
    pub(super) explains_in_time: bool,
    /// Whether there are alternatives, of which each is told what is wrong with it.
    pub(super) has_alternatives: bool,
}

impl Cost {
    /// How many steps it takes to check a payload, at most: those for its values, and those for
    /// the bytes of its texts, where a pattern takes `pattern_steps` for each of them.
    pub(super) fn steps(&self, payload: &Value, pattern_steps: u64) -> (u64, u64) {
        let mut extent = Extent::default();
        extent.add(payload);
        self.of_extent(&extent, pattern_steps)
    }

    /// The same for any payload of so many bytes, and summed up.
    pub(super) fn steps_at_most(&self, payload_bytes: usize, pattern_steps: u64) -> u64 {
        let bytes = payload_bytes as u64;
        let extent = Extent { values: bytes, bytes, longest: bytes };
        let (values, bytes) = self.of_extent(&extent, pattern_steps);
        values.saturating_add(bytes)
    }

    fn of_extent(&self, extent: &Extent, pattern_steps: u64) -> (u64, u64) {
        let by_byte = |parts: Parts| {
            parts.patterns.saturating_mul(pattern_steps).saturating_add(parts.by_byte)
        };
        let values = self.each.count.saturating_mul(extent.values).saturating_add(self.once.count);
        let bytes = by_byte(self.each)
            .saturating_mul(extent.bytes)
            .saturating_add(by_byte(self.once).saturating_mul(extent.longest));
        (values, bytes)
    }
}

/// The extent of a payload; names of members are values too.
#[derive(Default)]
struct Extent {
    values: u64,
    /// Of all texts.
    bytes: u64,
    /// Of the longest text.
    longest: u64,
}

impl Extent {
    fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    self.add_text(name);
                    self.add(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::String(text) => self.add_text(text),
            _ => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        let length = text.len() as u64;
        self.values += 1;
        self.bytes += length;
        self.longest = self.longest.max(length);
    }
}

/// Parts of a schema, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    count: u64,
    /// Steps for each byte of a text.
    by_byte: u64,
    patterns: u64,
}

impl Parts {
    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.by_byte = self.by_byte.saturating_add(other.by_byte);
        self.patterns = self.patterns.saturating_add(other.patterns);
    }

    fn times(self, factor: u64) -> Self {
        Self {
            count: self.count.saturating_mul(factor),
            by_byte: self.by_byte.saturating_mul(factor),
            patterns: self.patterns.saturating_mul(factor),
        }
    }
}

/// The size of a part of a schema with all that is within.
#[derive(Clone, Copy, Default)]
struct Size {
    once: Parts,
    each: Parts,
    levels: u64,
    /// References that lead back.
    back: u64,
}

impl Size {
    fn one() -> Self {
        Self { once: Parts { count: 1, ..Parts::default() }, ..Self::default() }
    }

    /// Of the schema of schemas.
    fn of_schemas() -> Self {
        let each = Parts { count: OF_SCHEMAS, by_byte: OF_SCHEMAS, ..Parts::default() };
        Self { each, levels: MOST_LEVELS / 2, back: 2, ..Self::default() }
    }

    fn parts(self) -> Parts {
        let mut parts = self.once;
        parts.add(self.each);
        parts
    }

    fn add(&mut self, inner: Self) {
        self.once.add(inner.once);
        self.each.add(inner.each);
        self.back = self.back.saturating_add(inner.back);
        self.levels = self.levels.max(inner.levels.saturating_add(1));
    }

    fn times(self, factor: u64) -> Self {
        Self { once: self.once.times(factor), each: self.each.times(factor), ..self }
    }

    fn for_each(self) -> Self {
        Self { once: Parts::default(), each: self.parts(), ..self }
    }

    /// What is no less than both.
    fn or(self, other: Self) -> Self {
        let most = |a: Parts, b: Parts| Parts {
            count: a.count.max(b.count),
            by_byte: a.by_byte.max(b.by_byte),
            patterns: a.patterns.max(b.patterns),
        };
        Self {
            once: most(self.once, other.once),
            each: most(self.each, other.each),
            levels: self.levels.max(other.levels),
            back: self.back.max(other.back),
        }
    }
}

/// Counts a schema.
///
/// # Errors
/// Why it is too much, or cannot be counted.
pub(super) fn of(schema: &Value) -> Result<Cost, String> {
    let places = Places::of(schema)?;
    let patterns = places.patterns;
    if patterns > MOST_PATTERNS {
        return Err(format!("it has {patterns} patterns, more than {MOST_PATTERNS}"));
    }
    let mut count = Count { places: &places, known: HashMap::new(), targets: HashSet::new() };
    count.open(schema, 0)?;
    let size = count.known(schema).unwrap_or_default();
    if size.parts().count > MOST_PARTS {
        return Err(format!(
            "with what it refers to in place it has more than {MOST_PARTS} parts; refer to the \
             same thing less often"
        ));
    }
    if size.levels > MOST_LEVELS {
        return Err(too_deep());
    }
    let has_alternatives = places.alternatives;
    let explains_in_time = size.back == 0 || size.back == 1 && !has_alternatives;
    let Size { once, mut each, .. } = size;
    if size.back > 0 {
        // Any value may come to any of the targets.
        each.add(once);
        let targets = count.targets.iter().filter_map(|target| count.known.get(target)?.as_ref());
        targets.for_each(|target| each.add(target.parts()));
    }
    Ok(Cost { once, each, explains_in_time, has_alternatives })
}

fn too_deep() -> String {
    format!("more than {MOST_LEVELS} of its parts are within each other, or refer to each other")
}

struct Count<'a> {
    places: &'a Places<'a>,
    /// The sizes of the objects; none while one is being counted.
    known: HashMap<*const Value, Option<Size>>,
    /// What is referred to.
    targets: HashSet<*const Value>,
}

impl<'a> Count<'a> {
    fn known(&self, schema: &Value) -> Option<Size> {
        self.known.get(&std::ptr::from_ref(schema)).copied().flatten()
    }

    /// The size of a schema, `level` parts down.
    fn open(&mut self, schema: &'a Value, level: u64) -> Result<Size, String> {
        let Value::Object(members) = schema else {
            return Ok(Size::one());
        };
        let key = std::ptr::from_ref(schema);
        match self.known.get(&key) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Ok(Size { back: 1, ..Size::one() }),
            None => {}
        }
        if level > MOST_LEVELS {
            return Err(too_deep());
        }
        self.known.insert(key, None);
        let mut size = Size::one();
        for (keyword, value) in members {
            size.add(self.keyword(keyword, value, level + 1)?);
        }
        if members.keys().any(|keyword| keyword.starts_with("unevaluated")) {
            // What its parts say is asked for again, at each level of them.
            size = size.times(size.levels.saturating_add(2));
        }
        self.known.insert(key, Some(size));
        Ok(size)
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value, level: u64) -> Result<Size, String> {
        let by_byte = BY_BYTE.iter().find(|(known, _)| *known == keyword).map_or(0, |(_, n)| *n);
        let one = Size { once: Parts { by_byte, ..Size::one().once }, ..Size::one() };
        match (keyword, value) {
            (_, Value::String(reference)) if is_reference(keyword) => {
                self.reference(keyword, reference, level)
            }
            ("properties" | "dependentSchemas" | "dependencies", Value::Object(members)) => {
                self.all(members.values(), level)
            }
            ("patternProperties", Value::Object(members)) => {
                let mut all = self.all(members.values(), level)?;
                all.once.patterns = all.once.patterns.saturating_add(members.len() as u64);
                Ok(all.for_each())
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(items)) => {
                self.all(items.iter(), level)
            }
            ("not" | "if" | "then" | "else" | "contentSchema", _) => self.open(value, level),
            (
                "items"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains"
                | "propertyNames"
                | "additionalProperties"
                | "unevaluatedProperties",
                _,
            ) => Ok(self.open(value, level)?.for_each()),
            ("pattern", _) => Ok(Size { once: Parts { patterns: 1, ..one.once }, ..one }),
            ("enum" | "const", _) => {
                let more = (value.to_string().len() / BYTES_A_PART) as u64;
                Ok(Size { once: Parts { count: more.saturating_add(1), ..one.once }, ..one })
            }
            ("required", Value::Array(names)) => Ok(one.times(names.len() as u64)),
            // Each value is hashed, which takes as long as ten parts.
            ("uniqueItems", _) => Ok(one.times(10).for_each()),
            _ => Ok(one),
        }
    }

    fn all(
        &mut self,
        schemas: impl Iterator<Item = &'a Value>,
        level: u64,
    ) -> Result<Size, String> {
        let mut sum = Size::default();
        for schema in schemas {
            sum.add(self.open(schema, level)?);
        }
        Ok(sum)
    }

    /// The largest of what a reference may mean.
    fn reference(&mut self, keyword: &str, text: &str, level: u64) -> Result<Size, String> {
        let Some(meant) = self.places.meant_by(keyword, text) else {
            return Ok(Size::of_schemas());
        };
        let mut largest: Option<Size> = None;
        for target in meant {
            let size = self.open(target, level)?;
            self.targets.insert(std::ptr::from_ref(target));
            largest = Some(largest.map_or(size, |other| other.or(size)));
        }
        let reason = || format!("nothing in it is meant by its {keyword} {text:?}");
        largest.ok_or_else(reason)
    }
}
