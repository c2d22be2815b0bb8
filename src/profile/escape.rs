//! How the value of a field is written so that it means itself in a body.

use url::form_urlencoded;

/// The language that a template is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// JSON: the inside of a string. The payload is JSON already.
    Json,
    /// `application/x-www-form-urlencoded`: everything, the payload too.
    Form,
    /// No language.
    None,
}

impl Escape {
    /// That of a body with this content type.
    pub fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        if essence == "application/json" || essence.ends_with("+json") {
            Self::Json
        } else if essence == "application/x-www-form-urlencoded" {
            Self::Form
        } else {
            Self::None
        }
    }

    /// Appends a text.
    pub fn write(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Json => write_json(text, out),
            Self::Form => {
                form_urlencoded::byte_serialize(text)
                    .for_each(|piece| out.extend_from_slice(piece.as_bytes()));
            }
            Self::None => out.extend_from_slice(text),
        }
    }

    /// Appends the payload.
    pub fn write_payload(self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Json | Self::None => out.extend_from_slice(payload),
            Self::Form => self.write(payload, out),
        }
    }
}

/// RFC 8259, section 7: only what must be escaped is.
fn write_json(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control @ 0..0x20 => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            other => out.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_back_whatever_the_text() {
        let text: String =
            (0..0x300_u32).filter_map(char::from_u32).chain("\u{10ffff}☕".chars()).collect();
        let mut out = b"\"".to_vec();
        Escape::Json.write(text.as_bytes(), &mut out);
        out.push(b'"');
        let ours = String::from_utf8(out).expect("text");
        assert_eq!(serde_json::from_str::<String>(&ours).expect("JSON"), text);
        assert_eq!(ours, serde_json::to_string(&text).expect("JSON"));
    }

    #[test]
    fn forms_escape_the_payload_too() {
        let mut out = Vec::new();
        Escape::of("application/x-www-form-urlencoded").write_payload(br#"{"a": 1}"#, &mut out);
        assert_eq!(out, b"%7B%22a%22%3A+1%7D");
    }

    #[test]
    fn the_content_type_names_the_language() {
        for (content_type, expected) in [
            ("application/json", Escape::Json),
            ("Application/JSON; charset=utf-8", Escape::Json),
            ("application/cloudevents+json", Escape::Json),
            ("text/plain", Escape::None),
        ] {
            assert_eq!(Escape::of(content_type), expected, "{content_type}");
        }
    }
}
