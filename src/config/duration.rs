//! Durations as people write them: `15s`, `5m`, `1h 30m`, `1h30m`, `30d`.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a duration made of numbers and units: ms, s, m, h, d (24 hours) and w (7 days).
///
/// The text may be zero; it is never negative, and never finer than a millisecond, so that
/// [`short`] writes back exactly what was read.
///
/// # Errors
/// The reason, made to follow the text it is about: `not a duration; write it like 15s, ...`.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    const NOT_A_DURATION: &str = "not a duration; write it like 15s, 5m or 1h 30m";
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a duration needs a unit; write a unit, for example 15s");
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| NOT_A_DURATION)?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err("months and years differ in length; write days, for example 30d");
    }
    let signed =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| NOT_A_DURATION)?;
    let duration = Duration::try_from(signed).map_err(|_| "a duration cannot be negative")?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("a duration cannot be finer than a millisecond");
    }
    Ok(duration)
}

/// Writes a duration the short way that [`parse`] reads: `15s`, `90s`, `1h 30m`, `24h`, `30d`.
///
/// Seconds are kept up to two minutes and hours up to two days, as people write them. What is
/// finer than a millisecond is dropped.
pub fn short(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    let mut take = |unit: u64, from: u64, name: &str| {
        if rest >= from {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                parts.push(format!("{count}{name}"));
            }
        }
    };
    take(DAY, 2 * DAY, "d");
    take(HOUR, HOUR, "h");
    let whole_minute = duration == Duration::from_secs(MINUTE);
    let minutes_from = if duration.as_secs() < 2 * MINUTE && !whole_minute { u64::MAX } else { 1 };
    take(MINUTE, minutes_from, "m");
    take(1, 1, "s");
    match duration.subsec_millis() {
        0 => {}
        millis => parts.push(format!("{millis}ms")),
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_the_way_people_write_them() {
        for (text, millis) in [
            ("15s", 15_000),
            ("250ms", 250),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            (" 2w ", 14 * 86_400_000),
            ("30d", 30 * 86_400_000),
            ("1.5h", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_a_hint() {
        for (text, hint) in [
            ("abc", "write it like 15s"),
            ("", "write it like 15s"),
            ("15", "write a unit, for example 15s"),
            ("-5s", "negative"),
            ("5s ago", "negative"),
            ("1mo", "write days"),
            ("1y", "write days"),
            ("10us", "finer than a millisecond"),
        ] {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(hint), "{text}: {reason}");
        }
    }

    #[test]
    fn short_text_is_what_a_person_would_write() {
        for text in [
            "0s",
            "250ms",
            "1s",
            "1m",
            "90s",
            "2m",
            "3m",
            "1h",
            "1h 30m",
            "2h",
            "24h",
            "30d",
            "3d 3h 1m 1s 1ms",
            "90s 500ms",
            "1h 30s",
        ] {
            assert_eq!(short(parse(text).expect(text)), text);
        }
    }

    #[test]
    fn short_text_reads_back_as_the_same_duration() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let bits = random.u32(0..45);
            let duration = Duration::from_millis(random.u64(0..1 << bits));
            assert_eq!(parse(&short(duration)), Ok(duration), "{}", short(duration));
        }
    }
}
