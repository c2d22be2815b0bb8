//! The usual mistakes of senders and receivers: which one explains a signature that does not match.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The start of a written secret.
const PREFIX: &str = "whsec_";

/// A mistake, and the bytes as they were or should have been.
type Candidate = (&'static str, Vec<u8>);

/// The mistake that makes one of the signatures match, in words.
pub(super) fn find(
    texts: &[String],
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
) -> Option<&'static str> {
    let received = received(signature);
    let explains = |key: &[u8], text: &[u8]| received.contains(&tag(key, text));
    let signed = |body: &[u8]| [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
    let right_keys: Vec<Vec<u8>> = texts.iter().filter_map(|text| key(text)).collect();
    let with_right_key = |text: &[u8]| right_keys.iter().any(|key| explains(key, text));

    let by_body = bodies(body).into_iter().find(|(_, body)| with_right_key(&signed(body)));
    let by_text = || {
        let mut texts = signed_texts(id, timestamp, body).into_iter();
        texts.find(|(_, text)| with_right_key(text))
    };
    let by_key = || {
        let text = signed(body);
        let mut keys = texts.iter().flat_map(|secret| wrong_keys(secret));
        keys.find(|(_, key)| explains(key, &text))
    };
    by_body.or_else(by_text).or_else(by_key).map(|(mistake, _)| mistake)
}

fn tag(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any size.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The `v1` signatures of a header.
fn received(header: &str) -> Vec<Vec<u8>> {
    let encoded = header.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    encoded.filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok()).collect()
}

fn key(secret: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).ok()
}

/// What the secret becomes in wrong hands.
fn wrong_keys(secret: &str) -> Vec<Candidate> {
    let bare = secret.strip_prefix(PREFIX).unwrap_or(secret);
    // Some decoders take _ for /, and so swallow the prefix.
    let lenient = secret.trim_end_matches('=').replace('/', "_").replace('+', "-");
    let swallowed = BASE64_URL_SAFE_NO_PAD.decode(lenient).unwrap_or_default();
    vec![
        (
            "it matches when the whole secret is used as text: take whsec_ off, and decode the \
             rest from base64 to get the key",
            secret.as_bytes().to_vec(),
        ),
        (
            "it matches when the secret without whsec_ is used as text: decode it from base64 to \
             get the key",
            bare.as_bytes().to_vec(),
        ),
        (
            "it matches when whsec_ is decoded along with the secret: take it off before decoding",
            swallowed,
        ),
    ]
}

/// What is signed by mistake.
fn signed_texts(id: &str, timestamp: &str, body: &[u8]) -> Vec<Candidate> {
    let (id, time) = (id.as_bytes(), timestamp.as_bytes());
    let mut texts = vec![
        (
            "it matches without the id: the signed text is id.timestamp.body",
            [time, body].join(&b'.'),
        ),
        ("it matches without the timestamp: the signed text is id.timestamp.body", {
            [id, body].join(&b'.')
        }),
        ("it matches the body alone: the signed text is id.timestamp.body", body.to_vec()),
    ];
    if let Ok(time) = timestamp.parse::<i64>() {
        let others = [
            ("it matches with the timestamp in milliseconds: sign seconds", time.checked_mul(1000)),
            ("it matches with the timestamp in seconds: send seconds as well", Some(time / 1000)),
        ];
        for (mistake, time) in others {
            let time = time.unwrap_or_default().to_string();
            texts.push((mistake, [id, time.as_bytes(), body].join(&b'.')));
        }
    }
    texts
}

/// What the body may have been before something changed it.
fn bodies(body: &[u8]) -> Vec<Candidate> {
    const ADDED: &str = "it matches without the line end behind the body: something added that, \
                         perhaps an editor or echo";
    const LOST: &str = "it matches with a line end behind the body: something took that off, \
                        perhaps a trim or $(...)";
    const REWRITTEN: &str = "it matches when the JSON is written in another way: the body was \
                             parsed and written again; sign and verify the bytes as received";
    let with = |end: &[u8]| [body, end].concat();
    let mut bodies = vec![(LOST, with(b"\n")), (LOST, with(b"\r\n"))];
    if let Some(shorter) = body.strip_suffix(b"\n") {
        bodies.push((ADDED, shorter.to_vec()));
        bodies.push((ADDED, shorter.strip_suffix(b"\r").unwrap_or(shorter).to_vec()));
    }
    let unix = replaced(body, b"\r\n", b"\n");
    bodies.push((
        "it matches with CRLF line ends: something made them LF",
        replaced(&unix, b"\n", b"\r\n"),
    ));
    bodies.push(("it matches with LF line ends: something made them CRLF", unix));
    bodies.extend(rewritten(body).into_iter().map(|body| (REWRITTEN, body)));
    bodies
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(from) {
            result.extend_from_slice(to);
            rest = behind;
        } else {
            result.push(*first);
            rest = behind;
        }
    }
    result
}

/// The same JSON as the usual libraries write it.
fn rewritten(body: &[u8]) -> Vec<Vec<u8>> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let compact = respaced(body, b"");
    let mut bodies = vec![respaced(body, b" "), value.to_string().into_bytes()];
    bodies.extend(serde_json::to_vec_pretty(&value));
    // outboxd itself writes its envelope without spaces around the payload as it was inserted,
    // and jsonb and Python write spaces.
    const DATA: &[u8] = b"\"data\":";
    if let Some(at) = compact.windows(DATA.len()).position(|window| window == DATA) {
        let (envelope, payload) = compact.split_at(at + DATA.len());
        bodies.push([envelope, &respaced(payload, b" ")].concat());
    }
    bodies.push(compact);
    bodies
}

/// JSON with its spaces replaced: none but these behind `:` and `,`. Numbers and strings stay as
/// they are written.
fn respaced(json: &[u8], space: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        if !quoted && byte.is_ascii_whitespace() {
            continue;
        }
        text.push(byte);
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b':' | b',' if !quoted => text.extend_from_slice(space),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn header(key: &[u8], text: &[u8]) -> String {
        format!("v1,{}", BASE64_STANDARD.encode(tag(key, text)))
    }

    fn explained(signature: &str, body: &str) -> Option<&'static str> {
        find(&[SECRET.to_owned()], "evt_1", "1614265330", signature, body.as_bytes())
    }

    /// What explains a body that was signed as one text and received as another.
    fn changed(signed: &str, received: &str) -> &'static str {
        let key = key(SECRET).expect("base64");
        let signature = header(&key, format!("evt_1.1614265330.{signed}").as_bytes());
        explained(&signature, received).unwrap_or("nothing")
    }

    #[test]
    fn changed_bodies_are_recognised() {
        for (signed, received, part) in [
            ("{}\n", "{}", "something took that off"),
            ("{}\r\n", "{}", "something took that off"),
            ("{}", "{}\n", "something added that"),
            ("{}", "{}\r\n", "something added that"),
            ("{\r\n}\r\n", "{\n}\n", "CRLF line ends"),
            ("{\n}\n", "{\r\n}\r\n", "LF line ends"),
            ("{\"b\": 1.50, \"a\": \"x: y\"}", "{\"b\":1.50,\"a\":\"x: y\"}", "JSON"),
            (
                "{\"b\":[1,2.50],\"a\":\"\\\",\\u00e9\"}",
                "{ \"b\" : [1,\n2.50],\
             \"a\": \"\\\",\\u00e9\" }",
                "JSON",
            ),
            ("{\n  \"a\": [\n    1\n  ]\n}", "{\"a\":[1]}", "JSON"),
            ("{\"a\":\"é\"}", "{\"a\":\"\\u00e9\"}", "JSON"),
            (
                "{\"type\":\"a\",\"data\":{\"b\": [1, 2]}}",
                "{\"type\": \"a\", \"data\": {\"b\": [1, 2]}}",
                "JSON",
            ),
            ("{\"a\":1}", "{\"a\":2}", "nothing"),
            ("abc", "abd", "nothing"),
        ] {
            let mistake = changed(signed, received);
            assert!(mistake.contains(part), "{signed:?} {received:?}: {mistake}");
        }
    }

    #[test]
    fn wrong_keys_are_recognised() {
        let text = b"evt_1.1614265330.{}";
        let swallowed = BASE64_URL_SAFE_NO_PAD.decode(SECRET).expect("38 characters");
        for (key, part) in [
            (SECRET.as_bytes(), "the whole secret is used as text"),
            (&SECRET.as_bytes()[6..], "without whsec_ is used as text"),
            (&swallowed, "whsec_ is decoded along"),
        ] {
            let mistake = explained(&header(key, text), "{}").unwrap_or("nothing");
            assert!(mistake.contains(part), "{part}: {mistake}");
        }
        assert_eq!(explained(&header(b"another", text), "{}"), None);
    }

    #[test]
    fn wrong_texts_are_recognised() {
        let key = key(SECRET).expect("base64");
        for (text, part) in [
            ("1614265330.{}", "without the id"),
            ("evt_1.{}", "without the timestamp"),
            ("{}", "the body alone"),
            ("evt_1.1614265330000.{}", "in milliseconds"),
            ("evt_1.1614265.{}", "in seconds"),
        ] {
            let mistake = explained(&header(&key, text.as_bytes()), "{}").unwrap_or("nothing");
            assert!(mistake.contains(part), "{text}: {mistake}");
        }
    }
}
