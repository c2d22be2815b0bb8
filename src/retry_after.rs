//! The `Retry-After` response header: how long a receiver asks us to stay away.

use std::time::{Duration, UNIX_EPOCH};

/// Longest value that is looked at, in bytes; the longest HTTP-date has 33.
const MAX_BYTES: usize = 64;

/// Reads a `Retry-After` value (RFC 9110 section 10.2.3): whole seconds, or an HTTP-date, which is
/// turned into the time from `now_unix_seconds` until then, zero if it has passed.
///
/// None when it is neither, is longer than 64 bytes, or does not fit. A receiver may ask for
/// centuries: the caller caps the result.
#[must_use]
pub fn parse(value: &[u8], now_unix_seconds: i64) -> Option<Duration> {
    if value.len() > MAX_BYTES {
        return None;
    }
    let text = str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    // `u64` alone would take `+5`, and the date parser never sees a number.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(date.as_secs()).ok()?.saturating_sub(now_unix_seconds);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    const EXAMPLE: i64 = 784_111_777;

    fn seconds(value: &str, now: i64) -> Option<u64> {
        parse(value.as_bytes(), now).map(|hint| hint.as_secs())
    }

    #[test]
    fn whole_seconds_are_taken_as_they_are() {
        for (value, expected) in [
            ("0", 0),
            ("120", 120),
            ("007", 7),
            (" 5\t", 5),
            ("315360000", 315_360_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(seconds(value, EXAMPLE), Some(expected), "{value}");
        }
    }

    #[test]
    fn every_form_of_http_date_counts_from_now() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds(value, EXAMPLE - 90), Some(90), "{value}");
            assert_eq!(seconds(value, EXAMPLE), Some(0), "{value}");
            assert_eq!(seconds(value, EXAMPLE + 1), Some(0), "{value}");
        }
        let last = "Fri, 31 Dec 9999 23:59:59 GMT";
        assert_eq!(seconds(last, 0), Some(253_402_300_799));
        assert_eq!(seconds(last, i64::MAX), Some(0));
        assert!(seconds(last, i64::MIN).is_some());
    }

    #[test]
    fn anything_else_is_none() {
        for value in [
            "",
            " ",
            "-1",
            "+5",
            "1.5",
            "1e3",
            "1e400",
            "0x10",
            "NaN",
            "inf",
            "Infinity",
            "null",
            "5 s",
            "5s",
            "5, 6",
            "1_000",
            "٣",
            "18446744073709551616",
            "99999999999999999999999999999999999999999999999999999999999999",
            "1994-11-06T08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 (a(b(c(d)))) Nov 1994 08:49:37 GMT",
            "tomorrow",
        ] {
            assert_eq!(seconds(value, EXAMPLE), None, "{value}");
        }
        assert_eq!(parse(b"\xff\xfe5", EXAMPLE), None);
        assert_eq!(parse(b"5\0", EXAMPLE), None);
    }

    #[test]
    fn more_than_64_bytes_are_not_read() {
        assert_eq!(seconds(&"0".repeat(64), EXAMPLE), Some(0));
        assert_eq!(seconds(&"0".repeat(65), EXAMPLE), None);
        assert_eq!(seconds(&"(".repeat(10_000), EXAMPLE), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        // Every single-byte change of each date form, at both ends of time.
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            for at in 0..form.len() {
                for byte in 0..=u8::MAX {
                    let mut value = form.as_bytes().to_vec();
                    value[at] = byte;
                    for now in [i64::MIN, 0, EXAMPLE, i64::MAX] {
                        let _ = parse(&value, now);
                    }
                    let _ = parse(&value[..at], EXAMPLE);
                }
            }
        }
    }
}
