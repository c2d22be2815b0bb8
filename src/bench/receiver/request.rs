//! As much of HTTP/1.1 as a receiver on this machine needs.

/// Longest head of a request.
pub const MAX_HEAD: usize = 16 * 1024;

/// A head that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, with the empty line.
    pub length: usize,
    /// Bytes of the body that follows.
    pub body: usize,
    /// The number in the path, `/17`.
    pub endpoint: u32,
    /// The number in `webhook-id`.
    pub event: u32,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request of the benchmark: {0}")]
pub struct NotOurs(&'static str);

/// The head at the start of these bytes; `None` if there is more to come. `seen` bytes of them were
/// looked at before.
pub fn head(bytes: &[u8], seen: usize) -> Result<Option<Head>, NotOurs> {
    let from = seen.saturating_sub(3);
    let Some(end) = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
        let too_long = bytes.len() > MAX_HEAD;
        return if too_long { Err(NotOurs("the head is too long")) } else { Ok(None) };
    };
    let length = from + end + 4;
    let mut lines = bytes[..length - 4].split(|byte| *byte == b'\n');
    let path = lines.next().and_then(|line| line.strip_prefix(b"POST /"));
    let path = path.ok_or(NotOurs("not a POST"))?;
    let endpoint = leading_number(path).ok_or(NotOurs("no number in the path"))?;
    let (mut body, mut event) = (None, None);
    for line in lines {
        if let Some(value) = value(line, b"content-length:") {
            body = leading_number(value);
        } else if let Some(value) = value(line, b"webhook-id:") {
            event = value.strip_prefix(b"evt_").and_then(leading_number);
        }
    }
    let body = body.ok_or(NotOurs("no content-length"))? as usize;
    let event = event.ok_or(NotOurs("no webhook-id of the benchmark"))?;
    Ok(Some(Head { length, body, endpoint, event }))
}

/// The value of a header line, if it has this name.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| rest.trim_ascii())
}

fn leading_number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let step =
        |number: u32, digit: &u8| number.checked_mul(10)?.checked_add(u32::from(digit - b'0'));
    text.first()?.is_ascii_digit().then(|| digits.into_iter().try_fold(0, step))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] =
        b"POST /12 HTTP/1.1\r\nhost: x\r\nWebhook-Id: evt_0000000000000000000345\r\n\
        content-length: 7\r\n\r\n{\"a\":1}POST /";

    #[test]
    fn a_head_says_what_follows_and_for_whom() {
        let length = REQUEST.len() - 13;
        let expected = Head { length, body: 7, endpoint: 12, event: 345 };
        assert_eq!(head(REQUEST, 0), Ok(Some(expected)));
        for seen in 0..length {
            assert_eq!(head(&REQUEST[..seen], 0), Ok(None));
            assert_eq!(head(REQUEST, seen), Ok(Some(expected)), "after {seen} bytes");
        }
    }

    #[test]
    fn what_is_not_of_the_benchmark_is_refused() {
        for text in [
            "GET /1 HTTP/1.1\r\n\r\n",
            "POST /x HTTP/1.1\r\ncontent-length: 1\r\nwebhook-id: evt_1\r\n\r\n",
            "POST /1 HTTP/1.1\r\nwebhook-id: evt_1\r\n\r\n",
            "POST /1 HTTP/1.1\r\ncontent-length: 1\r\nwebhook-id: 1\r\n\r\n",
            "POST /1 HTTP/1.1\r\ncontent-length: 99999999999\r\nwebhook-id: evt_1\r\n\r\n",
        ] {
            assert!(head(text.as_bytes(), 0).is_err(), "{text}");
        }
        assert!(head(&vec![b'a'; MAX_HEAD + 1], 0).is_err());
    }
}
