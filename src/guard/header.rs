//! Which static headers an endpoint may add to its requests.

use thiserror::Error;

/// Most static headers per endpoint.
pub const MAX_HEADERS: usize = 20;
/// Longest name of a static header, in bytes.
pub const MAX_HEADER_NAME_BYTES: usize = 128;
/// Longest value of a static header, in bytes.
pub const MAX_HEADER_VALUE_BYTES: usize = 1024;

/// Why a static header is refused. The value is never shown: it is often a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The name is no token (RFC 9110 section 5.6.2).
    #[error("a header name is 1 to {MAX_HEADER_NAME_BYTES} letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// The name steers the connection or the framing, which are outboxd's.
    #[error("this header steers the HTTP connection; outboxd sets it where it is needed")]
    Connection,
    /// The name belongs to the signature (Standard Webhooks).
    #[error("webhook-* headers carry the identity and signature of a message; choose another name")]
    Signature,
    /// The value has a byte that is not printable ASCII.
    #[error("byte {position} of the value is not printable ASCII; encode it, e.g. as base64")]
    Value {
        /// Where, counted from 1.
        position: usize,
    },
    /// The value is too long.
    #[error("the value has more than {MAX_HEADER_VALUE_BYTES} bytes; shorten it")]
    Length,
}

/// Hop-by-hop headers (RFC 9110 section 7.6.1) and those that decide routing and framing.
const CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Judges one static header of an endpoint, as written; names are compared without case.
/// The number of headers is the caller's to hold to [`MAX_HEADERS`].
///
/// # Errors
/// What is wrong with the name or the value.
pub fn check_header(name: &str, value: &str) -> Result<(), HeaderError> {
    if name.is_empty() || name.len() > MAX_HEADER_NAME_BYTES || !name.bytes().all(is_token) {
        return Err(HeaderError::Name);
    }
    // CGI and its heirs read `Content_Length` as `Content-Length`.
    let canonical = name.to_ascii_lowercase().replace('_', "-");
    if CONNECTION.contains(&canonical.as_str()) || canonical.starts_with("proxy-") {
        return Err(HeaderError::Connection);
    }
    if canonical.starts_with("webhook-") {
        return Err(HeaderError::Signature);
    }
    if value.len() > MAX_HEADER_VALUE_BYTES {
        return Err(HeaderError::Length);
    }
    match value.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
        Some(at) => Err(HeaderError::Value { position: at + 1 }),
        None => Ok(()),
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_pass() {
        for (name, value) in [
            ("Authorization", "Bearer abc.def-ghi"),
            ("X-Api-Key", ""),
            ("User-Agent", "acme/1.0 (+https://example.com)"),
            ("content-type", "application/cloudevents+json; charset=utf-8"),
            ("Cookie", "a=b; c=\"d\""),
            ("X-Webhook-Source", "acme"),
            ("svix-id", "x"),
            ("X_Odd!#$%&'*+-.^_`|~9", " padded ~"),
            ("Hostess", "x"),
            ("Tee", "x"),
        ] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_steer_the_connection_are_refused_in_any_case() {
        for name in [
            "Host",
            "HOST",
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "TRANSFER_encoding",
            "Connection",
            "Keep-Alive",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Proxy-Authorization",
            "Proxy-Connection",
            "proxy-x",
        ] {
            assert_eq!(check_header(name, "x"), Err(HeaderError::Connection), "{name}");
        }
    }

    #[test]
    fn names_of_the_signature_are_refused() {
        for name in ["webhook-id", "Webhook-Signature", "WEBHOOK_TIMESTAMP", "webhook-"] {
            assert_eq!(check_header(name, "x"), Err(HeaderError::Signature), "{name}");
        }
    }

    #[test]
    fn a_name_is_a_token() {
        for name in ["", "a b", "a:b", "a\r\nHost", "a\0", "é", "a(b", "a\"", "[a]", "{a}", "a\t"]
        {
            assert_eq!(check_header(name, "x"), Err(HeaderError::Name), "{name:?}");
        }
        let separators = "\"(),/:;<=>?@[\\]{} ";
        for byte in 0..=127_u8 {
            let name = char::from(byte).to_string();
            let token = byte.is_ascii_graphic() && !separators.contains(&name);
            assert_eq!(check_header(&name, "x").is_ok(), token, "{name:?}");
        }
    }

    #[test]
    fn a_value_is_printable_ascii() {
        for value in ["\r\n", "\nHost: x", "\r", "\0", "\t", "\u{7f}", "\u{1b}[31m", "é", "\u{80}"]
        {
            let expected = Err(HeaderError::Value { position: 3 });
            assert_eq!(check_header("X-A", &format!("ab{value}")), expected, "{value:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let value = "v".repeat(MAX_HEADER_VALUE_BYTES);
        let name = "n".repeat(MAX_HEADER_NAME_BYTES);
        assert_eq!(check_header(&name, &value), Ok(()));
        assert_eq!(check_header("a", &(value + "v")), Err(HeaderError::Length));
        assert_eq!(check_header(&(name + "n"), ""), Err(HeaderError::Name));
    }
}
