use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::read::Fault;
use super::*;
use crate::retry::Schedule;
use crate::sign::ed25519;

/// The profile that is written in a text.
fn read(text: &str) -> Result<Profile, Vec<Fault>> {
    let file = DeTable::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let DeValue::Table(profiles) = file.get_ref()["profile"].get_ref() else { panic!("{text}") };
    let (name, value) = profiles.iter().next().expect("a profile");
    super::read::read(name.get_ref(), name.span().start, value.get_ref())
}

fn custom(text: &str) -> Profile {
    read(text).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"))
}

fn event(id: &str, tenant: Option<&str>, created_ms: i64) -> Event {
    Event {
        seq: 1,
        id: id.to_owned(),
        event_type: "commission.approved".to_owned(),
        tenant: tenant.map(str::to_owned),
        live: true,
        wanted_us: 0,
        created_us: created_ms * 1000,
        payload: None,
    }
}

fn keys(profile: &Profile, secrets: &[&str]) -> Keys {
    let secrets: Vec<_> = secrets.iter().map(|text| ((*text).to_owned(), None)).collect();
    profile.keys(&secrets).unwrap_or_else(|error| panic!("{error}"))
}

fn rendered(
    profile: &Profile,
    secrets: &[&str],
    payload: &str,
) -> Result<(String, BTreeMap<String, String>), Unsatisfied> {
    let event = event("evt_1", Some("acme \"ü\""), 1_705_761_000_123);
    let sending = Sending {
        event: &event,
        payload: payload.as_bytes(),
        url: "https://example.com/hooks",
        attempt_ms: 1_705_761_007_999,
    };
    let keys = keys(profile, secrets);
    let rendered = profile.render(&sending, &keys, Instant::now())?;
    let headers = rendered.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.to_string()));
    Ok((String::from_utf8(rendered.body.to_vec()).expect("text"), headers.collect()))
}

fn built_in(name: &str) -> Profile {
    Profile::clone(Profiles::default().named(name).expect("built in"))
}

#[test]
fn the_wire_vectors_are_met_byte_for_byte() {
    let file: Value =
        serde_json::from_str(include_str!("../../tests/wire/vectors.json")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of = &file["event"];
    let event = Event {
        live: of["live"].as_bool().expect("a truth"),
        event_type: text(&of["type"]),
        ..event(
            &text(&of["id"]),
            of["tenant"].as_str(),
            of["created_ms"].as_i64().expect("a number"),
        )
    };
    let payload = text(&of["payload"]);
    let vectors = file["vectors"].as_array().expect("vectors");
    for vector in vectors {
        let profile = built_in(&text(&vector["profile"]));
        let secrets: Vec<String> =
            vector["secrets"].as_array().into_iter().flatten().map(text).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let sending = Sending {
            event: &event,
            payload: payload.as_bytes(),
            url: "https://example.com/",
            attempt_ms: vector["attempt_unix"].as_i64().expect("a number") * 1000 + 999,
        };
        let keys = keys(&profile, &secrets);
        let rendered = profile.render(&sending, &keys, Instant::now()).expect("a request");
        assert_eq!(rendered.body, text(&vector["body"]), "{}", profile.name);
        for (name, value) in vector["headers"].as_object().expect("headers") {
            let found = rendered.headers.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
            assert_eq!(found.map(|(_, value)| value.as_ref()), value.as_str(), "{name}");
        }
        let id = rendered.headers.iter().find(|(name, _)| *name == ID_HEADER);
        assert_eq!(id.map(|(_, id)| id.as_ref()), Some(event.id.as_str()));
    }
    assert_eq!(vectors.len(), 11);
}

#[test]
fn what_is_written_reads_back_as_the_same_profile() {
    let odd = "[profile.odd]\ndescription = \"it's \\\"odd\\\" \\u0001\"\nbody = \"a={{payload}}\"\n\
         content_type = 'application/x-www-form-urlencoded'\nsuccess = '200 409'\ntimeout = '2s'\n\
         retry = 'until-success'\njitter = 0.5\nheaders = { 'X.Odd' = '{{attempt.unix_ms}}' }\n\
         [[profile.odd.signature]]\nheader = 'a'\nalgorithm = 'token'\nencoding = 'base64'\n\
         value = 'Basic {{signatures}}'\n[[profile.odd.signature]]\nheader = 'b'\n\
         algorithm = 'hmac-sha512'\nencoding = 'base64url'\nkey = 'hex'\nsecrets = 'oldest'\n";
    let all = Profiles::default();
    let profiles = all.all().map(|(profile, _)| Profile::clone(profile)).chain([custom(odd)]);
    let mut count = 0;
    for profile in profiles {
        let text = profile.to_string();
        assert_eq!(custom(&text), profile, "{text}");
        count += 1;
    }
    assert_eq!(count, 11);
}

#[test]
fn the_built_in_schedules_are_those_of_the_platforms() {
    let retries = |name: &str| {
        let schedule = built_in(name).retry.map(|(_, schedule)| schedule);
        schedule.unwrap_or_else(|| Schedule::parse("default").expect("a schedule"))
    };
    assert_eq!(retries("sprusify").to_string(), "1m 2m 4m 8m 16m 32m 1h4m 2h8m 4h16m 6hx10");
    assert_eq!(retries("saasquatch").max_attempts(), Some(72));
    assert_eq!(retries("saasquatch").longest(), Duration::from_secs(3600));
    assert_eq!(retries("sparkloop").max_attempts(), Some(4));
    assert_eq!(retries("sparkloop").total(), Some(Duration::from_secs(300)));
    assert_eq!(retries("shopify").max_attempts(), Some(8));
    assert_eq!(retries("shopify").total(), Some(Duration::from_secs(4 * 3600)));
    assert_eq!(retries("standard").max_attempts(), Some(10));
    for exact in ["sprusify", "saasquatch", "sparkloop", "shopify"] {
        assert_eq!(built_in(exact).jitter, 0.0, "{exact}");
    }
}

const SECRET: &str = "whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO";

#[test]
fn every_shape_of_payload_stays_as_it_is() {
    let nested = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let planes: String = (0..=16_u32).filter_map(|n| char::from_u32(n * 0x1_0000 + 0x41)).collect();
    let planes = format!("{{\"planes\":\"{planes}\"}}");
    let shapes = ["{}", "[]", " [1, 2.0 ,\t3e400]", "null", "0.10", &nested, &large, &planes];
    for (profile, _) in Profiles::default().all() {
        for payload in shapes {
            let object = payload.starts_with('{');
            let sent = rendered(profile, &[SECRET], payload);
            if (profile.name == "sparkloop") && !object {
                assert_eq!(sent, Err(Unsatisfied::NotAnObject), "{}", profile.name);
                continue;
            }
            let (body, _) = sent.unwrap_or_else(|error| panic!("{}: {error}", profile.name));
            let members = payload.trim_start_matches('{').trim_end_matches('}');
            let expected = if profile.name == "sparkloop" { members } else { payload };
            assert!(body.contains(expected), "{}", profile.name);
        }
    }
    let (body, _) = rendered(&built_in("sparkloop"), &["t"], "{ }").expect("a request");
    assert_eq!(body, r#"{"type":"commission.approved"}"#);
}

#[test]
fn texts_of_others_cannot_break_out_of_the_envelope() {
    let profile = built_in("saasquatch");
    let event = event("a\"b\\", None, 0);
    let sending = Sending { event: &event, payload: b"1", url: "", attempt_ms: 0 };
    let sent = profile.render(&sending, &keys(&profile, &["k"]), Instant::now()).expect("sent");
    let body: Value = serde_json::from_slice(&sent.body).expect("JSON");
    assert_eq!((&body["id"], &body["tenantAlias"]), (&Value::from("a\"b\\"), &Value::Null));
    let (body, _) = rendered(&profile, &["k"], "1").expect("a request");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["tenantAlias"], "acme \"ü\"");
}

#[test]
fn what_no_header_can_carry_is_not_sent() {
    let profile = custom("[profile.x]\nheaders = { X-Tenant = '{{tenant}}' }");
    let refused = rendered(&profile, &[], "{}").expect_err("an umlaut");
    assert_eq!(refused, Unsatisfied::Header("X-Tenant".to_owned()));
    assert!(refused.is_permanent());
}

#[test]
fn nothing_is_sent_half_signed() {
    for (profile, _) in Profiles::default().all() {
        let refused = rendered(profile, &[], "{}").expect_err("no secret");
        assert!(matches!(refused, Unsatisfied::NoSecret(_)) && !refused.is_permanent());
    }
    let whsk = ed25519::generate().expect("randomness");
    let refused = rendered(&built_in("github"), &[&whsk], "{}").expect_err("another kind of key");
    assert!(matches!(refused, Unsatisfied::NoSecret(_)));
    let unsigned = custom("[profile.x]\nheaders = { X-Api-Key = 'k' }");
    let (_, headers) = rendered(&unsigned, &[], "{}").expect("needs none");
    assert_eq!(headers["x-api-key"], "k");
}

#[test]
fn every_active_secret_signs_newest_first_whatever_its_kind() {
    let whsk = ed25519::generate().expect("randomness");
    let other = "whsec_+D5Pte7mM2Km8VRKbBRqfAFgkzoS6I9j";
    let (_, headers) =
        rendered(&built_in("standard"), &[SECRET, &whsk, other], "{}").expect("a request");
    let signatures: Vec<&str> = headers["webhook-signature"].split(' ').collect();
    let versions: Vec<_> = signatures.iter().filter_map(|s| s.split(',').next()).collect();
    assert_eq!(versions, ["v1", "v1a", "v1"]);
    // A signature of 64 bytes.
    assert_eq!(signatures[1].len(), "v1a,".len() + 88);
}

#[test]
fn where_one_signature_fits_the_newest_secret_signs_or_the_oldest_if_told() {
    let rule = "[[profile.x.signature]]\nheader = 'x-token'\nalgorithm = 'token'\n";
    let token = |rule: &str| {
        let profile = custom(&format!("[profile.x]\n{rule}"));
        rendered(&profile, &["new", "old"], "{}").expect("a request").1["x-token"].clone()
    };
    assert_eq!(token(rule), "new");
    assert_eq!(token(&format!("{rule}secrets = 'oldest'")), "old");
    assert_eq!(
        token(&format!("{rule}separator = '|'\nvalue = '<{{{{signatures}}}}>'")),
        "<new|old>"
    );
}

#[test]
fn an_expired_secret_signs_no_more() {
    let profile = built_in("stripe");
    let now = Instant::now();
    let secrets = [("new".to_owned(), None), ("old".to_owned(), Some(now))];
    let keys = profile.keys(&secrets).expect("keys");
    let event = event("evt_1", None, 0);
    let sending = Sending { event: &event, payload: b"{}", url: "", attempt_ms: 0 };
    let count = |at: Instant| {
        let rendered = profile.render(&sending, &keys, at).expect("a request");
        rendered.headers.iter().map(|(_, value)| value.matches("v1=").count()).sum::<usize>()
    };
    assert_eq!(count(now.checked_sub(Duration::from_millis(1)).expect("a moment ago")), 2);
    assert_eq!(count(now), 1);
}

#[test]
fn a_custom_profile_signs_what_it_says() {
    let profile = custom(
        "[profile.square]\nbody = '{\"kind\":\"{{type}}\",{{members}},\"at\":{{created.unix}}}'\n\
         headers = { X-Time = '{{attempt.rfc3339}}' }\n[[profile.square.signature]]\n\
         header = 'x-square'\nalgorithm = 'hmac-sha256'\nencoding = 'base64'\n\
         signed = '{{url}}{{body}}'\n",
    );
    let (body, headers) = rendered(&profile, &["k"], "{\"a\": 1}").expect("a request");
    assert_eq!(body, r#"{"kind":"commission.approved","a": 1,"at":1705761000}"#);
    assert_eq!(headers["x-time"], "2024-01-20T14:30:07.999Z");
    let mut mac = Vec::new();
    let key = crate::sign::key::Key::new(
        crate::sign::key::Algorithm::HmacSha256,
        crate::sign::key::KeyForm::Text,
        "k",
    );
    let signed = format!("https://example.com/hooks{body}");
    key.expect("a key").sign(
        crate::sign::key::Encoding::Base64,
        |take| take(signed.as_bytes()),
        &mut mac,
    );
    assert_eq!(headers["x-square"].as_bytes(), mac);
}

#[test]
fn mistakes_are_told_with_their_key_and_place() {
    let head = "[profile.x]\nbody = '{\"a\":{{payload}}}'\n";
    let rule = "[[profile.x.signature]]\nheader = 'a'\nalgorithm = 'hmac-sha256'\n";
    let hex = format!("{rule}encoding = 'hex'\n");
    let token = "[[profile.x.signature]]\nheader = 'a'\nalgorithm = 'token'\n";
    let ed25519 =
        "[[profile.x.signature]]\nheader = 'b'\nalgorithm = 'ed25519'\nencoding = 'hex'\n";
    let of = |keys: &str| format!("[profile.x]\n{keys}");
    let first = "profile.x.signature[1]";
    for (text, key, line, part) in [
        ("[profile]\nx = 1".to_owned(), "profile.x", 2, "write [profile.x]"),
        ("[profile.X]".to_owned(), "profile.X", 1, "a name is"),
        (of("bdy = ''"), "profile.x.bdy", 2, "did you mean body?"),
        (of("body = 1"), "profile.x.body", 2, "a string"),
        (of("body = '{{payload'"), "profile.x.body", 2, "not closed"),
        (of("body = '{{name}}'"), "profile.x.body", 2, "{{payload}}"),
        (of("body = '{{attempt.unix}}'"), "profile.x.body", 2, "every attempt"),
        (of("body = '{\"a\":{{payload}}'"), "profile.x.body", 2, "makes no JSON"),
        (of("body = '\"{{payload}}\"'"), "profile.x.body", 2, "makes no JSON"),
        (of("content_type = 'text/plain'\nbody = '{{members}}'"), "profile.x.body", 3, "JSON only"),
        (of("content_type = 'json'"), "profile.x.content_type", 2, "media type"),
        (of("content_type = ''"), "profile.x.content_type", 2, "media type"),
        (of("success = '20'"), "profile.x.success", 2, "`20`"),
        (of("timeout = '2m'"), "profile.x.timeout", 2, "at most 1m"),
        (of("retry = 'soon'"), "profile.x.retry", 2, "`soon`"),
        (of("jitter = 2"), "profile.x.jitter", 2, "from 0 to 0.5"),
        (of("headers = 1"), "profile.x.headers", 2, "a table"),
        (of("headers.Host = 'a'"), "profile.x.headers.Host", 2, "steers"),
        (of("headers.webhook-id = 'a'"), "profile.x.headers.webhook-id", 2, "every profile"),
        (of("headers.Webhook_Id = 'a'"), "profile.x.headers.Webhook_Id", 2, "every profile"),
        (of("headers.Content-Type = 'a'"), "profile.x.headers.Content-Type", 2, "content_type"),
        (of("headers.a = '{{payload}}'"), "profile.x.headers.a", 2, "is not a field"),
        (of("headers.a = \"b\\n\""), "profile.x.headers.a", 2, "printable"),
        (of("headers.x-a = '1'\nheaders.X_A = '2'"), "profile.x.headers.X_A", 3, "given twice"),
        (of("signature = 1"), first, 2, "a table"),
        ("[[profile.x.signature]]\nheader = 'a'".to_owned(), first, 2, "algorithm is missing"),
        (of("[[profile.x.signature]]\nalgorithm = 'token'"), first, 3, "one of the two"),
        (rule.replace("hmac-sha256", "md5"), "profile.x.signature[1].algorithm", 3, "one of"),
        (rule.to_owned(), first, 2, "encoding is missing"),
        (format!("{hex}member = 'b'"), first, 2, "one of the two"),
        (format!("{rule}encoding = 'plain'"), first, 4, "no text"),
        (format!("{hex}secrets = 'all'"), first, 5, "separator"),
        (format!("{hex}secrets = 'newest'\nseparator = ','"), first, 6, "leave separator out"),
        (format!("{hex}separator = ''"), "profile.x.signature[1].separator", 5, "empty"),
        (format!("{hex}each = 'x'"), "profile.x.signature[1].each", 5, "{{signature}}"),
        (
            format!("{hex}each = 'é{{{{signature}}}}'"),
            "profile.x.signature[1].each",
            5,
            "printable",
        ),
        (
            format!("{hex}value = '{{{{body}}}}'"),
            "profile.x.signature[1].value",
            5,
            "{{signatures}}",
        ),
        (
            format!("{hex}signed = '{{{{headers}}}}'"),
            "profile.x.signature[1].signed",
            5,
            "{{body}}",
        ),
        (format!("{hex}{hex}"), "profile.x.signature[2]", 6, "share a place"),
        (
            format!("{hex}[profile.x.headers]\nA = 'b'"),
            "profile.x.headers.A",
            6,
            "a signature goes",
        ),
        (format!("{hex}{ed25519}"), "profile.x.signature", 2, "no secret can make all"),
        (format!("{ed25519}key = 'text'"), first, 5, "leave key out"),
        (format!("{token}signed = '{{{{body}}}}'"), first, 4, "leave signed"),
        (format!("{token}encoding = 'base64url'"), first, 4, "plain or as base64"),
        (
            of("body = '[{{payload}}]'\nsignature = { member = 's', algorithm = 'token' }"),
            "profile.x.body",
            2,
            "a JSON object",
        ),
        (
            format!("{head}signature = {{ member = 'a', algorithm = 'token' }}"),
            "profile.x.body",
            2,
            "has a member a already",
        ),
    ] {
        let faults = read(&text).expect_err(&text);
        let [fault] = &faults[..] else { panic!("{text}: {faults:#?}") };
        let before = &text.as_bytes()[..fault.offset];
        let found = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((fault.key.as_str(), found), (key, line), "{text}: {faults:#?}");
        assert!(fault.reason.contains(part), "{text}: {faults:#?}");
    }
}

#[test]
fn what_a_header_holds_is_never_shown() {
    let faults =
        read("[profile.x.headers]\nauthorization = \"Bearer hunter2\\n\"").expect_err("no");
    assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
}

#[test]
fn the_examples_of_the_documentation_are_profiles() {
    let text = include_str!("../../docs/profiles.md");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 1);
    for example in examples {
        let profile = custom(example);
        let (body, headers) = rendered(&profile, &["k"], "{\"a\":1}").expect("a request");
        assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
        assert_eq!(headers["authorization"], "Bearer k");
    }
    // Every profile and every field has its place there.
    for (profile, _) in Profiles::default().all() {
        assert!(text.contains(&format!("| `{}` |", profile.name)), "{}", profile.name);
    }
    for (name, ..) in super::field::FIELDS {
        assert!(text.contains(&format!("`{{{{{name}}}}}`")), "{name}");
    }
}
