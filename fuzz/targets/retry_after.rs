//! `Retry-After`: any bytes at any time, against a model of the plain form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outboxd::retry_after;

/// The end of the year 9999, after which no date can be written.
const LAST: i128 = 253_402_300_799;

fuzz_target!(|input: (i64, &[u8])| {
    let (now, value) = input;
    let found = retry_after::parse(value, now);
    let text = str::from_utf8(value).map(|text| text.trim_matches([' ', '\t'])).unwrap_or("x");
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (value.len() <= 64, digits) {
        (false, _) => assert_eq!(found, None),
        (true, true) => assert_eq!(found.map(|wait| wait.as_secs()), text.parse().ok()),
        (true, false) => {
            let Some(wait) = found else { return };
            assert!(text.contains(':'), "{text:?} is no date");
            let until = i128::from(now.max(0)) + i128::from(wait.as_secs());
            assert!(now < 0 || wait.is_zero() || until <= LAST, "{text:?} at {now}: {wait:?}");
        }
    }
});
