//! One frame of `top`: text in less than 80 columns.

use std::fmt::Write;

use jiff::Timestamp;

use crate::cli::output::escaped;
use crate::store::overview::{Overview, PERIODS, Standing};

/// Columns of a name.
const NAME: usize = 24;
/// Lines above the endpoints.
const HEAD: usize = 9;

/// What a frame shows.
pub struct Frame<'a> {
    /// Which database.
    pub target: &'a str,
    /// How deliveries stand.
    pub overview: &'a Overview,
    /// Why that is not how they stand now.
    pub problem: Option<&'a str>,
}

impl Frame<'_> {
    /// The frame in so many lines; `live`: how to end it.
    pub fn text(&self, lines: usize, live: bool) -> String {
        let Self { target, overview, problem } = self;
        let now = Timestamp::now().strftime("%H:%M:%S UTC");
        let end = if live { "   q quits" } else { "" };
        let mut text = format!("outboxd top   {}   {now}{end}\n", cut(&escaped(target), 40));
        match problem {
            Some(problem) => writeln!(text, "NOT CURRENT: {}", cut(&escaped(problem), 66)),
            None => writeln!(text),
        }
        .ok();
        self.rates(&mut text);
        let counts = &overview.counts;
        let [queued, due, in_flight, behind, scheduled] = [
            counts.queued,
            counts.due,
            counts.in_flight,
            counts.behind,
            counts.scheduled.iter().sum::<i64>(),
        ]
        .map(count);
        writeln!(
            text,
            "waiting queued {queued}, due {due}, scheduled {scheduled}, in flight {in_flight}, \
             behind {behind}"
        )
        .ok();
        let (lag, states) = (seconds(overview.lag()), states(&overview.endpoints));
        writeln!(text, "lag     {lag}; {states}").ok();
        writeln!(
            text,
            "\n{:<NAME$} {:<9}{:>9}{:>9}{:>10}{:>8}{:>8}",
            "endpoint", "state", "per s 1m", "ok 5m", "pending", "oldest", "drain"
        )
        .ok();
        let all = overview.worst_first();
        let room = lines.saturating_sub(HEAD + 2);
        for endpoint in all.iter().take(room) {
            text.push_str(&row(endpoint));
        }
        if all.len() > room {
            writeln!(text, "and {} more", all.len() - room).ok();
        }
        text
    }

    fn rates(&self, text: &mut String) {
        let (mut head, mut rate, mut ok) =
            (format!("{:<12}", ""), format!("{:<12}", "attempts/s"), format!("{:<12}", "success"));
        for (place, (name, length)) in PERIODS.iter().enumerate() {
            let attempts = self.overview.attempts(place);
            write!(head, "{name:>12}").ok();
            write!(rate, "{:>12.1}", (attempts.delivered + attempts.failed) / length).ok();
            write!(ok, "{:>12}", percent(attempts.success_ratio())).ok();
        }
        writeln!(text, "{head}\n{rate}\n{ok}").ok();
    }
}

fn row(endpoint: &Standing) -> String {
    let lately = endpoint.attempts[0];
    format!(
        "{:<NAME$} {:<9}{:>9.1}{:>9}{:>10}{:>8}{:>8}\n",
        cut(&escaped(&endpoint.name), NAME),
        endpoint.state,
        (lately.delivered + lately.failed) / PERIODS[0].1,
        percent(endpoint.attempts[1].success_ratio()),
        count(endpoint.pending),
        endpoint.oldest_due.map_or_else(|| "-".to_owned(), seconds),
        match endpoint.pending {
            0 => "-".to_owned(),
            _ => seconds(endpoint.drain_seconds()),
        }
    )
}

/// How many endpoints are in which state.
fn states(endpoints: &[Standing]) -> String {
    let of = |state: &str| endpoints.iter().filter(|it| it.state == state).count();
    let named = ["active", "paused", "disabled", "invalid"].map(|state| (state, of(state)));
    let parts: Vec<String> = named
        .iter()
        .filter(|(state, count)| *count > 0 || *state == "active")
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!("endpoints: {}", parts.join(", "))
}

fn percent(ratio: Option<f64>) -> String {
    // Rounded down, so that 100 % means all.
    ratio
        .map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", (ratio * 1000.0).floor() / 10.0))
}

/// A number in few characters.
fn count(number: i64) -> String {
    match number {
        ..=9_999 => number.to_string(),
        10_000..=999_999 => format!("{}k", number / 1_000),
        _ => format!("{:.1}M", number as f64 / 1e6),
    }
}

/// A time in at most six characters.
fn seconds(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_infinite() => "never".to_owned(),
        ..10.0 => format!("{seconds:.1}s"),
        ..100.0 => format!("{seconds:.0}s"),
        ..6_000.0 => format!("{:.0}m", seconds / 60.0),
        ..172_800.0 => format!("{:.0}h", seconds / 3_600.0),
        ..86_400_000.0 => format!("{:.0}d", seconds / 86_400.0),
        _ => ">999d".to_owned(),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::overview::Attempts;
    use crate::store::sample::Counts;

    fn overview(count: usize) -> Overview {
        let endpoint = |number: usize| Standing {
            key: 1,
            id: "ep_1".to_owned(),
            name: format!("a-receiver-whose-name-is-long-{number}\u{1b}[2J"),
            state: "disabled".to_owned(),
            reason: None,
            attempts: [Attempts { delivered: 1e6, failed: number as f64 }; 3],
            pending: 123_456_789,
            oldest_due: Some(1e9),
            last_success_at: None,
            last_failure_at: None,
        };
        let counts = Counts {
            queued: 1_000_000,
            due: 10_000_000,
            in_flight: 20_000,
            behind: 5_000_000,
            scheduled: [100_000; 7],
            ..Counts::default()
        };
        let endpoints = (0..count).map(endpoint).collect();
        Overview { counts, oldest_queued: None, held: 0, endpoints }
    }

    #[test]
    fn a_frame_fits_eighty_columns_and_the_lines_there_are() {
        let overview = overview(50);
        let problem = "x".repeat(300);
        let target = "user@".to_owned() + &"h".repeat(100);
        let frame = Frame { target: &target, overview: &overview, problem: Some(&problem) };
        let text = frame.text(24, true);
        assert!(text.lines().count() <= 23, "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        assert!(text.contains("and 37 more"), "{text}");
        // The most failures first.
        let first = text.lines().nth(HEAD).expect("an endpoint");
        assert!(first.starts_with("a-receiver-whose-name-i… disabled"), "{first}");
    }

    #[test]
    fn nothing_at_all_is_shown_as_such() {
        let overview = overview(0);
        let frame = Frame { target: "db", overview: &overview, problem: None };
        let text = frame.text(usize::MAX, false);
        assert!(text.contains("success                -           -           -"), "{text}");
        assert!(text.contains("lag     0.0s; endpoints: 0 active"), "{text}");
    }

    #[test]
    fn times_and_numbers_are_short() {
        let shown = [0.04, 59.6, 119.0, 7_300.0, 9e5, f64::INFINITY].map(seconds);
        assert_eq!(shown, ["0.0s", "60s", "2m", "2h", "10d", "never"]);
        assert_eq!([0, 9_999, 700_123, 10_000_000].map(count), ["0", "9999", "700k", "10.0M"]);
        assert_eq!([Some(1.0), Some(0.9999), None].map(percent), ["100.0 %", "99.9 %", "-"]);
    }
}
