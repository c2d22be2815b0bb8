//! Retry schedules: how long to wait after each failed attempt, and when to give up.
//!
//! A schedule is a text that people write in the configuration, in a profile or on an endpoint,
//! such as `5s 5m 30m 2h`, `1hx71` or `until-success`. To add a named schedule, add a line to
//! [`NAMED`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::duration;

/// No single delay may be longer than this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A schedule that ends may retry this often at most.
pub const MOST_RETRIES: u32 = 10_000;
/// How far a delay may stray, as a share of it in either direction, where nothing else is said.
pub const JITTER: f64 = 0.2;
/// The most that a profile may ask for.
pub const MOST_JITTER: f64 = 0.5;

/// The schedules that have a name, with what each stands for.
pub const NAMED: [(&str, &str); 5] = [
    ("default", "5s 5m 30m 2h 5h 10h 14h 20h 24h"),
    ("hourly-72", "1hx71"),
    ("until-success", "5m 15m 1h*"),
    ("three-in-five-minutes", "30s 90s 3m"),
    ("exponential", "exponential(1m,6h,3d)"),
];

/// The delays after each failed attempt of a delivery.
///
/// Equal neighbours are kept as one run, so `1hx71` costs no more than `1h`, and two texts that
/// mean the same schedule compare equal. By default there is no retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    runs: Vec<Run>,
}

/// One delay, repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    delay: Duration,
    /// How often; `None`: for ever.
    times: Option<u32>,
}

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There is no text.
    #[error("empty; write delays such as `5s 5m 30m`, the name of a schedule, or `none`")]
    Empty,
    /// An item is neither a delay nor a name.
    #[error(
        "`{0}` is neither a delay such as 5m, 1hx71 or 1h* nor one of none, default, hourly-72, \
         until-success, three-in-five-minutes, exponential(first,cap,age)"
    )]
    Unknown(String),
    /// A name, or `none`, stands beside other items.
    #[error("`{0}` is a whole schedule and stands alone")]
    NotAlone(String),
    /// The delay of an item is not a duration.
    #[error("`{item}`: {reason}")]
    Delay {
        /// The item as written.
        item: String,
        /// What is wrong with its delay.
        reason: &'static str,
    },
    /// A delay is zero, or passes [`LONGEST_DELAY`].
    #[error(
        "`{0}`: a delay is more than 0s and at most {most}",
        most = duration::short(LONGEST_DELAY)
    )]
    OutOfBounds(String),
    /// The number after `x` is not a number of times.
    #[error("`{0}`: after the x write how many times, from 1 to {MOST_RETRIES}; or * for ever")]
    Times(String),
    /// There are more than [`MOST_RETRIES`] retries.
    #[error("more than {MOST_RETRIES} retries; write * after the last delay to retry for ever")]
    TooMany,
    /// Something follows an item that never ends.
    #[error("`{0}` never ends, so nothing can follow it")]
    AfterForever(String),
    /// `exponential(...)` does not hold three durations that fit together.
    #[error(
        "`{0}`: write exponential(first,cap,age) with first <= cap and first <= age, \
         for example exponential(1m,6h,3d)"
    )]
    Exponential(String),
}

impl Schedule {
    /// Reads a schedule: delays separated by spaces (`5s 5m 1hx71`, `1h*` last), a name from
    /// [`NAMED`], `exponential(first,cap,age)`, or `none` for no retry at all.
    ///
    /// # Errors
    /// The first thing that is wrong with the text.
    pub fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if text == "none" {
            return Ok(Schedule { runs: Vec::new() });
        }
        if let Some((_, meaning)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Schedule::parse(meaning);
        }
        if let Some(arguments) = text.strip_prefix("exponential(") {
            return exponential(text, arguments);
        }
        let mut schedule = Schedule { runs: Vec::new() };
        let mut endless: Option<&str> = None;
        for item in text.split_whitespace() {
            if let Some(before) = endless {
                return Err(ScheduleError::AfterForever(before.to_owned()));
            }
            let run = parse_item(item)?;
            if run.times.is_none() {
                endless = Some(item);
            }
            schedule.push(run);
        }
        schedule.bounded()
    }

    /// The delay after the `failures`-th failed attempt, counted from 1; `None`: give up.
    ///
    /// No failure (0) is read as the first one, so that a wrong count never gives up early.
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        let mut left = failures.max(1);
        for run in &self.runs {
            match run.times {
                Some(times) if times < left => left -= times,
                _ => return Some(run.delay),
            }
        }
        None
    }

    /// The delays in order, each with how often it is waited for; `None`: for ever.
    pub fn runs(&self) -> impl Iterator<Item = (Duration, Option<u32>)> {
        self.runs.iter().map(|run| (run.delay, run.times))
    }

    /// The longest single delay; zero when the schedule never retries.
    pub fn longest(&self) -> Duration {
        self.runs.iter().map(|run| run.delay).max().unwrap_or_default()
    }

    /// How many attempts a delivery gets in all, the first included; `None`: without end.
    pub fn max_attempts(&self) -> Option<u64> {
        self.runs.iter().try_fold(1, |attempts, run| Some(attempts + u64::from(run.times?)))
    }

    /// The sum of all delays, before jitter and scale; `None`: without end.
    pub fn total(&self) -> Option<Duration> {
        self.runs.iter().try_fold(Duration::ZERO, |total, run| Some(total + run.delay * run.times?))
    }

    /// Appends a run, joined with the last one when the delay is the same.
    fn push(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.delay == run.delay => {
                let both = last.times.zip(run.times);
                last.times = both.map(|(some, more)| some.saturating_add(more));
            }
            _ => self.runs.push(run),
        }
    }

    /// The schedule, when what is finite in it stays within [`MOST_RETRIES`].
    fn bounded(self) -> Result<Schedule, ScheduleError> {
        let retries: u64 = self.runs.iter().filter_map(|run| run.times).map(u64::from).sum();
        if retries > u64::from(MOST_RETRIES) { Err(ScheduleError::TooMany) } else { Ok(self) }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        Schedule::parse(text)
    }
}

/// The canonical text: delays only, no names, equal neighbours joined (`5s 1h30m 1hx71`).
impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.runs.is_empty() {
            return out.write_str("none");
        }
        for (index, run) in self.runs.iter().enumerate() {
            if index > 0 {
                out.write_str(" ")?;
            }
            out.write_str(&duration::short(run.delay).replace(' ', ""))?;
            match run.times {
                Some(1) => {}
                Some(times) => write!(out, "x{times}")?,
                None => out.write_str("*")?,
            }
        }
        Ok(())
    }
}

/// Reads one item: `5m`, `1hx71` or `1h*`.
fn parse_item(item: &str) -> Result<Run, ScheduleError> {
    if !item.starts_with(|first: char| first.is_ascii_digit() || "-+.".contains(first)) {
        let name = item.split('(').next().unwrap_or(item);
        let known = name == "none" || NAMED.iter().any(|(known, _)| *known == name);
        let error = if known { ScheduleError::NotAlone } else { ScheduleError::Unknown };
        return Err(error(item.to_owned()));
    }
    let (delay, times) = if let Some(delay) = item.strip_suffix('*') {
        (delay, None)
    } else if let Some((delay, times)) = item.split_once('x') {
        let times = times.parse().ok().filter(|times| (1..=MOST_RETRIES).contains(times));
        (delay, Some(times.ok_or_else(|| ScheduleError::Times(item.to_owned()))?))
    } else {
        (item, Some(1))
    };
    Ok(Run { delay: parse_delay(item, delay)?, times })
}

/// Reads a delay, which is a duration within bounds; `item` is what messages quote.
fn parse_delay(item: &str, text: &str) -> Result<Duration, ScheduleError> {
    let delay = duration::parse(text)
        .map_err(|reason| ScheduleError::Delay { item: item.to_owned(), reason })?;
    if delay.is_zero() || delay > LONGEST_DELAY {
        return Err(ScheduleError::OutOfBounds(item.to_owned()));
    }
    Ok(delay)
}

/// Doubles from a first delay up to a cap, and ends before the sum of delays passes the age.
fn exponential(text: &str, arguments: &str) -> Result<Schedule, ScheduleError> {
    let bad = || ScheduleError::Exponential(text.to_owned());
    let arguments: Vec<&str> =
        arguments.strip_suffix(')').ok_or_else(bad)?.split(',').map(str::trim).collect();
    let [first, cap, age] = arguments[..] else {
        return Err(bad());
    };
    let (first, cap) = (parse_delay(text, first)?, parse_delay(text, cap)?);
    let age = duration::parse(age)
        .map_err(|reason| ScheduleError::Delay { item: text.to_owned(), reason })?;
    if first > cap || first > age {
        return Err(bad());
    }
    let mut schedule = Schedule { runs: Vec::new() };
    let (mut delay, mut left) = (first, age);
    while delay < cap && delay <= left {
        schedule.push(Run { delay, times: Some(1) });
        left -= delay;
        delay = (delay * 2).min(cap);
    }
    if delay == cap {
        let times = left.as_millis() / cap.as_millis();
        let times = u32::try_from(times).map_err(|_| ScheduleError::TooMany)?;
        if times > 0 {
            schedule.push(Run { delay: cap, times: Some(times) });
        }
    }
    schedule.bounded()
}

/// Moves a delay by up to a share of itself, so that retries of one outage do not come back
/// together.
///
/// `unit_random` is uniform in `[0, 1)`; anything else leaves the delay as it is.
pub fn jittered(delay: Duration, share: f64, unit_random: f64) -> Duration {
    if !(0.0..1.0).contains(&unit_random) {
        return delay;
    }
    let factor = 1.0 + share * (2.0 * unit_random - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn seconds(schedule: &Schedule) -> Vec<u64> {
        (1..).map_while(|failures| schedule.delay(failures)).map(|delay| delay.as_secs()).collect()
    }

    #[test]
    fn the_default_is_ten_attempts_in_75_hours_and_36_minutes() {
        let default = schedule("default");
        assert_eq!(default.to_string(), "5s 5m 30m 2h 5h 10h 14h 20h 24h");
        assert_eq!(
            seconds(&default),
            [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
        );
        assert_eq!(default.max_attempts(), Some(10));
        assert_eq!(default.delay(0), default.delay(1), "a wrong count never gives up early");
        assert_eq!(default.longest(), Duration::from_secs(86_400));
        assert_eq!(default.total().map(|total| total.as_secs()), Some(272_105));
    }

    #[test]
    fn a_repeated_delay_is_one_run_whether_counted_or_spelled_out() {
        let hourly = schedule("hourly-72");
        assert_eq!(hourly, schedule("1hx71"));
        assert_eq!(hourly, schedule(&"1h ".repeat(71)));
        assert_eq!(hourly.runs.len(), 1);
        assert_eq!(hourly.max_attempts(), Some(72));
        assert_eq!(hourly.delay(71), Some(Duration::from_secs(3_600)));
        assert_eq!(hourly.delay(72), None);
        assert_eq!(hourly.to_string(), "1hx71");
    }

    #[test]
    fn named_schedules_give_up_where_their_name_says() {
        let forever = schedule("until-success");
        assert_eq!(forever.to_string(), "5m 15m 1h*");
        assert_eq!(forever.delay(1), Some(Duration::from_secs(300)));
        assert_eq!(forever.delay(u32::MAX), Some(Duration::from_secs(3_600)));
        assert_eq!((forever.max_attempts(), forever.total()), (None, None));
        assert_eq!(schedule("1h 1h*").to_string(), "1h*");
        assert_eq!(schedule("three-in-five-minutes").total(), Some(Duration::from_secs(300)));
    }

    #[test]
    fn exponential_doubles_to_its_cap_and_ends_within_its_age() {
        let doubling = schedule("exponential");
        assert_eq!(doubling, schedule("exponential( 1m, 6h, 3d )"));
        assert_eq!(doubling.to_string(), "1m 2m 4m 8m 16m 32m 1h4m 2h8m 4h16m 6hx10");
        assert!(doubling.total().is_some_and(|total| total <= Duration::from_secs(3 * 86_400)));
        assert_eq!(schedule("exponential(1m,1m,5m)").to_string(), "1mx5");
        assert_eq!(schedule("exponential(1m,1h,3m)").to_string(), "1m 2m");
        assert_eq!(schedule("exponential(1m,1h,2m)").to_string(), "1m");
    }

    #[test]
    fn none_gives_up_at_once() {
        let none = schedule("none");
        assert_eq!((none.delay(1), none.max_attempts()), (None, Some(1)));
        assert_eq!((none.longest(), none.total()), (Duration::ZERO, Some(Duration::ZERO)));
        assert_eq!(none.to_string(), "none");
    }

    #[test]
    fn the_canonical_text_reads_back_as_the_same_schedule() {
        let texts = ["1ms 250msx3 90s", "1h30m 1d 30dx2 5m*", "none", "exponential(7s,2h,9d)"];
        for text in texts.into_iter().chain(NAMED.map(|(name, _)| name)) {
            let first = schedule(text);
            assert_eq!(first.to_string().parse(), Ok(first), "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused_with_the_item_named() {
        for (text, part) in [
            ("", "empty"),
            ("5s abc", "`abc`"),
            ("5s default", "stands alone"),
            ("none 5s", "stands alone"),
            ("5", "write a unit"),
            ("0s", "more than 0s"),
            ("31d", "at most 30d"),
            ("-5s", "negative"),
            ("1hx0", "how many times"),
            ("1hx", "how many times"),
            ("1hx10001", "how many times"),
            ("1hx9999 5s 5m", "more than 10000"),
            ("1h* 5s", "nothing can follow"),
            ("1mo", "write days"),
            ("exponential(1m,6h)", "exponential(first,cap,age)"),
            ("exponential(6h,1m,3d)", "first <= cap"),
            ("exponential(1m,6h,3d) 5s", "exponential(first,cap,age)"),
            ("exponential(1ms,1ms,30d)", "more than 10000"),
            ("exponential(1s,2s,4000d)", "more than 10000"),
        ] {
            let error = Schedule::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_covers_it() {
        let delay = Duration::from_secs(100);
        assert_eq!(jittered(delay, JITTER, 0.0), Duration::from_secs(80));
        assert_eq!(jittered(delay, JITTER, 0.5), delay);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let moved = jittered(delay, JITTER, random.f64());
            assert!((80.0..120.0).contains(&moved.as_secs_f64()), "{moved:?}");
        }
        for odd in [f64::NAN, f64::INFINITY, -1.0, 1.0] {
            assert_eq!(jittered(delay, JITTER, odd), delay);
        }
        assert_eq!(jittered(delay, 0.0, 0.99), delay);
        assert_eq!(jittered(Duration::MAX, JITTER, 0.99), Duration::MAX);
    }
}
