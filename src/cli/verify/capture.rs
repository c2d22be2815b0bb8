//! A request as somebody captured it.

/// Headers and body.
#[derive(Debug)]
pub(super) struct Capture {
    /// Names and values, in order.
    pub(super) headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub(super) body: Vec<u8>,
}

impl Capture {
    /// Reads a whole request as it went over the wire, with either kind of line end.
    pub(super) fn of_request(bytes: &[u8]) -> Result<Self, String> {
        let Some((head, body)) = split(bytes) else {
            return Err("there is no blank line between the headers and the body".to_owned());
        };
        let capture = Self { headers: headers(head)?, body: body.to_vec() };
        let encoding = capture.header("transfer-encoding").unwrap_or_default();
        if encoding.eq_ignore_ascii_case("chunked") {
            let reason = "the body is chunked; give it with --body as the receiver has it, and \
                          the headers with --headers";
            return Err(reason.to_owned());
        }
        Ok(capture)
    }

    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What stands before and behind the first blank line.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end_of_line = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, end_of_line) {
            (b'\n', Some(end)) => return Some((&bytes[..end], &bytes[at + 1..])),
            (b'\n', None) => end_of_line = Some(at),
            (b'\r', _) => {}
            _ => end_of_line = None,
        }
    }
    None
}

/// Reads `Name: value` lines; the request line in front of them may be there.
pub(super) fn headers(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut headers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_request_line = index == 0 && line.contains(" HTTP/");
        if is_request_line || line.trim().is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("line {} is no header, which is written Name: value", index + 1));
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_request_is_read_with_either_line_end() {
        for end in ["\r\n", "\n"] {
            let raw = ["POST /a:b HTTP/1.1", "Host: x", "Webhook-Id:  evt_1 ", "", "{}\n\n{}"];
            let capture = Capture::of_request(raw.join(end).as_bytes()).expect("a request");
            assert_eq!(capture.header("webhook-id"), Some("evt_1"));
            assert_eq!(capture.headers.len(), 2);
            assert_eq!(capture.body, b"{}\n\n{}");
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        let error = |text: &str| Capture::of_request(text.as_bytes()).expect_err(text);
        assert!(error("POST / HTTP/1.1\nHost: x\n").contains("no blank line"));
        assert!(error("POST / HTTP/1.1\nHost x\n\n").contains("line 2"));
        assert!(error("Transfer-Encoding: Chunked\n\n2\n{}\n0\n\n").contains("chunked"));
    }
}
