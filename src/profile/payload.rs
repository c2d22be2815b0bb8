//! The outside of a payload, which is JSON by the word of the database: is it an object, and where
//! do its members begin and end. Never parsed, never changed.

/// The members of an object, verbatim, without its braces: `Some(None)` when it has none, `None`
/// when the payload is no object.
pub fn members(payload: &[u8]) -> Option<Option<&[u8]>> {
    let inner = payload.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    Some((!inner.trim_ascii().is_empty()).then_some(inner))
}

/// Puts a last member into an object. `None`: the text is no object.
pub fn with_member(object: &[u8], name: &str, value: &[u8]) -> Option<Vec<u8>> {
    let has_members = members(object)?.is_some();
    let end = object.trim_ascii_end().len() - 1;
    let mut longer = Vec::with_capacity(object.len() + name.len() + value.len() + 8);
    longer.extend_from_slice(&object[..end]);
    if has_members {
        longer.push(b',');
    }
    longer.push(b'"');
    longer.extend_from_slice(name.as_bytes());
    longer.extend_from_slice(b"\":\"");
    longer.extend_from_slice(value);
    longer.push(b'"');
    longer.extend_from_slice(&object[end..]);
    Some(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_what_stands_between_the_outer_braces() {
        for (payload, expected) in [
            (r#"{"a":1}"#, Some(Some(r#""a":1"#))),
            (" {\n \"a\" : {} }\t", Some(Some("\n \"a\" : {} "))),
            ("{}", Some(None)),
            (" { \n } ", Some(None)),
            ("[]", None),
            ("[{}]", None),
            ("\"{}\"", None),
            ("null", None),
            ("1", None),
        ] {
            let found = members(payload.as_bytes());
            assert_eq!(found, expected.map(|m| m.map(str::as_bytes)), "{payload}");
        }
    }

    #[test]
    fn a_member_is_put_last() {
        let put = |object: &str| {
            with_member(object.as_bytes(), "s", b"x")
                .map(|out| String::from_utf8(out).expect("text"))
        };
        assert_eq!(put(r#"{"a":1}"#).as_deref(), Some(r#"{"a":1,"s":"x"}"#));
        assert_eq!(put("{}").as_deref(), Some(r#"{"s":"x"}"#));
        assert_eq!(put("{\"a\":{}} \n").as_deref(), Some("{\"a\":{},\"s\":\"x\"} \n"));
        assert_eq!(put("[1]"), None);
    }
}
