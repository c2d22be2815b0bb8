//! What schemas say of payloads, and schemas that mean harm or look as if.

use std::time::{Duration, Instant};

use super::*;

/// Far above what anything here takes, far below what it would take without a bound.
const SOON: Duration = Duration::from_secs(20);

/// `levels` definitions, each of them twice the one before, around `core`.
fn doubling(keyword: &str, levels: usize, core: &str) -> String {
    let level = |n: usize| {
        let reference = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, n - 1);
        format!(r#""a{n}":{{"{keyword}":[{reference},{reference}]}}"#)
    };
    let defs: Vec<String> = (1..=levels).map(level).collect();
    let defs = format!(r#""a0":{core},{}"#, defs.join(","));
    format!(r##"{{"$ref":"#/$defs/a{levels}","$defs":{{{defs}}}}}"##)
}

fn refusal(schema: &str) -> String {
    Schema::compile(schema).expect_err(schema)
}

fn check(schema: &str, payload: &str) -> Result<(), String> {
    Schema::compile(schema).expect(schema).check(payload.as_bytes())
}

#[test]
fn what_doubles_with_every_reference_is_refused_at_once() {
    let started = Instant::now();
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for levels in [13, 22, 40, 90] {
            let reason = refusal(&doubling(keyword, levels, r#"{"type":"object"}"#));
            let expected = "the schema cannot be used: with what it refers to in place";
            assert!(reason.starts_with(expected), "{reason}");
        }
    }
    // Other ways to name the same places.
    let schema = doubling("allOf", 30, r#"{"type":"object"}"#);
    let anchored =
        schema.replace("\"#/$defs/a", "\"#b").replace("{\"allOf\"", "{\"$anchor\":\"_\",\"allOf\"");
    let mut named = String::new();
    for (n, part) in anchored.split("\"$anchor\":\"_\"").enumerate() {
        if n > 0 {
            named.push_str(&format!("\"$anchor\":\"b{n}\""));
        }
        named.push_str(part);
    }
    let named = named.replace(r#""a0":{"#, r#""a0":{"$anchor":"b0","#);
    for schema in [
        schema.replace("#/$defs/", "#/%24def%73/"),
        named.clone(),
        named.replace("$ref", "$dynamicRef").replace("$anchor", "$dynamicAnchor"),
        schema
            .replacen('{', r#"{"$id":"http://example.com/s.json","#, 1)
            .replace("\"#/", "\"s.json#/"),
    ] {
        assert!(refusal(&schema).contains("cannot be used: with what it refers to"), "{schema}");
    }
    assert!(started.elapsed() < SOON);
}

#[test]
fn what_is_just_small_enough_works() {
    let started = Instant::now();
    let schema = doubling("allOf", 10, r#"{"type":"object"}"#);
    assert_eq!(check(&schema, "{}"), Ok(()));
    assert_eq!(check(&schema, "1"), Err("the payload: does not match type \"object\"".to_owned()));
    let schema = doubling("anyOf", 10, r#"{"const":2}"#);
    assert_eq!(check(&schema, "2"), Ok(()));
    assert_eq!(check(&schema, "1"), Err("the payload: does not match anyOf".to_owned()));
    // For many values only whether they match is told, not what is wrong with each alternative.
    let schema = format!(r#"{{"items":{schema}}}"#).replace("#/$defs", "#/items/$defs");
    let payload = format!("[{}1]", "2,".repeat(1_000));
    let reason = "the payload: does not match the schema";
    assert_eq!(check(&schema, &payload), Err(reason.to_owned()));
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_chain_of_references_does_not_reach_the_end_of_the_stack() {
    let chain = |levels: usize| {
        let link = |n: usize| format!(r##""a{n}":{{"items":{{"$ref":"#/$defs/a{}"}}}}"##, n - 1);
        let links: Vec<String> = (1..=levels).map(link).collect();
        let links = links.join(",");
        format!(r##"{{"$ref":"#/$defs/a{levels}","$defs":{{"a0":{{"type":"null"}},{links}}}}}"##)
    };
    assert_eq!(check(&chain(40), &("[".repeat(40) + "null" + &"]".repeat(40))), Ok(()));
    assert!(refusal(&chain(5_000)).contains("cannot be used: more than"));
    // Round and round, as deep as a payload can be.
    let round = chain(40).replace(r#"{"type":"null"}"#, r##"{"items":{"$ref":"#"}}"##);
    assert_eq!(check(&round, &("[".repeat(126) + "1" + &"]".repeat(126))), Ok(()));
    let place = |n: usize| {
        let next = (n + 1) % 60;
        format!(r##""a{n}":{{"allOf":[{{"$ref":"#/$defs/a{next}"}}],"items":{{"$ref":"#"}}}}"##)
    };
    let places: Vec<String> = (0..60).map(place).collect();
    let round = format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{}}}}}"##, places.join(","));
    let _ = check(&round, &("[".repeat(126) + "1" + &"]".repeat(126)));
}

#[test]
fn many_values_against_many_parts_are_refused_before_they_are_tried() {
    let started = Instant::now();
    let parts: Vec<String> = (0..2_000).map(|n| format!(r#"{{"minimum":{n}}}"#)).collect();
    let schema = format!(r#"{{"items":{{"allOf":[{}]}}}}"#, parts.join(","));
    let payload = format!("[{}1]", "9999,".repeat(200_000));
    let reason = check(&schema, &payload).expect_err("too many");
    assert!(reason.starts_with("the payload cannot be checked: against a schema like"), "{reason}");
    assert_eq!(check(&schema, "[9999,9999]"), Ok(()));
    // Parts that look at all of a large value, though at one only.
    let unique = vec![r#"{"uniqueItems":true}"#; 500].join(",");
    assert!(check(&format!(r#"{{"allOf":[{unique}]}}"#), &payload).is_err());
    let lengths = vec![r#"{"maxLength":9999999}"#; 3_000].join(",");
    let text = format!("\"{}\"", "a".repeat(1_000_000));
    assert!(check(&format!(r#"{{"allOf":[{lengths}]}}"#), &text).is_err());
    let pattern = r#"{"pattern":"(a|b)*a[ab]{300}c"}"#;
    assert!(check(pattern, &text).is_err());
    assert!(started.elapsed() < SOON);
}

#[test]
fn an_ordinary_schema_takes_the_largest_payload() {
    let item = r#"{"type":"object","required":["id","amount"],"properties":{
        "id":{"type":"string","pattern":"^[a-z0-9]{1,20}$"},"amount":{"type":"number","minimum":0},
        "currency":{"enum":["EUR","USD","GBP"]},"note":{"type":["string","null"],"maxLength":200}}}"#;
    let schema = format!(r#"{{"type":"object","properties":{{"list":{{"items":{item}}}}}}}"#);
    let one = r#"{"id":"abc123","amount":12.5,"currency":"EUR","note":null}"#;
    let payload = format!(r#"{{"list":[{}{one}]}}"#, format!("{one},").repeat(15_000));
    assert!(payload.len() > 850_000);
    assert_eq!(check(&schema, &payload), Ok(()));
}

#[test]
fn patterns_are_few_and_small() {
    let started = Instant::now();
    let patterns = |count: usize, pattern: &str| {
        let one = |n: usize| format!(r#"{{"pattern":"{pattern}|x{n}"}}"#);
        let all: Vec<String> = (0..count).map(one).collect();
        format!(r#"{{"anyOf":[{}]}}"#, all.join(","))
    };
    let reason = refusal(&patterns(6_500, "(a{90}){100}"));
    assert!(reason.contains("it has 6500 patterns, more than 100"), "{reason}");
    assert!(refusal(&patterns(1, "(a{90}){100}")).contains("the schema is no JSON Schema"));
    // The most that is admitted.
    assert_eq!(check(&patterns(100, "\\\\w{100}"), "\"x99\""), Ok(()));
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn what_refers_to_itself_twice_is_checked_in_time() {
    let started = Instant::now();
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for more in ["", r#","unevaluatedItems":false"#] {
            let to = |name: &str| format!(r##"{{"items":{{"$ref":"#/$defs/{name}"}}}}"##);
            let (a, b) = (to("a"), to("b"));
            let schema = format!(
                r##"{{"$ref":"#/$defs/a","$defs":{{"a":{{"type":"array","{keyword}":[{b},{b}]{more}}},
                "b":{{"type":"array","{keyword}":[{a},{a}]{more}}}}}}}"##
            );
            let nested = "[".repeat(100) + "1" + &"]".repeat(100);
            let reason = "the payload: does not match the schema";
            assert_eq!(check(&schema, &nested), Err(reason.to_owned()), "{schema}");
        }
    }
    let schema = r##"{"properties":{"a":{"$ref":"#"}},"allOf":[{"properties":{"a":{"$ref":"#"}}}],
        "unevaluatedProperties":false}"##;
    let nested = "{\"a\":".repeat(100) + "1" + &"}".repeat(100);
    assert_eq!(check(schema, &nested), Ok(()));
    assert!(started.elapsed() < SOON);
}

#[test]
fn the_schema_of_schemas_and_schemas_within_can_be_referred_to() {
    let meta = r#"{"$ref":"https://json-schema.org/draft/2020-12/schema"}"#;
    assert_eq!(check(meta, r#"{"type":"object"}"#), Ok(()));
    assert!(check(meta, r#"{"type":1}"#).is_err());
    let bundle = r#"{"$id":"https://example.com/order","$ref":"amount","$defs":{
        "x":{"$id":"https://example.com/amount","$ref":"\#/$defs/n","$defs":{"n":{"minimum":3}}}}}"#
        .replace("\\#", "#");
    assert_eq!(check(&bundle, "3"), Ok(()));
    assert!(check(&bundle, "2").is_err());
    assert!(refusal(r#"{"$ref":"other"}"#).contains("nothing in it is meant by its $ref"));
}

#[test]
fn a_catalogue_of_a_thousand_types_loads_soon() {
    let seeds: Vec<_> = catalogue::read(catalogue::SEEDS).expect("the seeds");
    let texts: Vec<&str> =
        seeds.iter().filter_map(|entry| entry.schema.as_ref().map(|text| text.get())).collect();
    let rows = (0..1_000).map(|n| (format!("t{n}"), texts[n % texts.len()].to_owned())).collect();
    let started = Instant::now();
    let (types, unusable) = EventTypes::build(rows, &EventTypes::default());
    assert!(unusable.is_empty() && types.schema("t999").is_some());
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
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
        (r#"{"id":"x","list":[{},{"a/b":"secret"}]}"#, "/list/1/a~1b: does not match maxLength 2"),
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
    let kept = |types: &EventTypes| types.schema("good").map(Arc::as_ptr);
    assert_eq!(kept(&first), kept(&second));
    let (mended, told) = EventTypes::build(rows("true"), &second);
    assert!(told.is_empty() && mended.schema("bad").is_some());
    assert!(EventTypes::build(Vec::new(), &mended).0.is_empty());
}
