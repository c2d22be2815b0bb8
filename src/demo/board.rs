//! The live table: redrawn in place on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::receivers::Manner;

/// Between two lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// A frame is drawn with wrapping off, so that a narrow terminal cuts lines and keeps their count.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR_TO_END: &str = "\x1b[J";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// How one endpoint stands.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub manner: Manner,
    /// Events inserted, all of which it subscribes to.
    pub inserted: u64,
    /// Events that its receiver took.
    pub delivered: u64,
    /// Failed requests that were tried again.
    pub retried: u64,
    /// Deliveries that ran out of attempts.
    pub given_up: u64,
    /// Half of the events took no longer from their commit until they were taken.
    pub p50: Option<Duration>,
    /// As `p50`, for 99 %.
    pub p99: Option<Duration>,
    /// Requests whose signature was right.
    pub verified: u64,
    /// Requests whose signature was wrong.
    pub wrong: u64,
    /// Requests for events that had been taken already.
    pub duplicates: u64,
}

impl Row {
    /// Events that are neither delivered nor given up.
    pub fn waiting(&self) -> u64 {
        self.inserted.saturating_sub(self.delivered + self.given_up)
    }
}

/// Where the table is shown.
#[derive(Debug)]
pub enum Screen {
    /// A terminal that can be drawn on.
    Terminal {
        /// Whether titles stand out.
        colours: bool,
        /// Lines of the last frame, which the next one replaces.
        drawn: usize,
    },
    /// A pipe, a file, or a terminal that only takes lines.
    Lines {
        /// When the last line was written.
        last: Option<Instant>,
    },
}

impl Screen {
    /// What stdout is. `lines`: other output comes in between, so nothing is redrawn.
    pub fn of_stdout(lines: bool) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let draws = variable("TERM").is_some_and(|term| term != "dumb");
        if lines || !draws || !io::stdout().is_terminal() {
            return Self::Lines { last: None };
        }
        Self::Terminal { colours: variable("NO_COLOR").is_none(), drawn: 0 }
    }

    /// Shows how things stand, if it is time to.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn show(&mut self, elapsed: Duration, phase: &str, rows: &[Row]) -> io::Result<()> {
        let text = match self {
            Self::Terminal { colours, drawn } => {
                let frame =
                    format!("{phase}, {} s\n\n{}", elapsed.as_secs(), table(rows, *colours));
                let up = if *drawn > 0 { format!("\x1b[{drawn}A\r") } else { String::new() };
                *drawn = frame.lines().count();
                format!("{up}{NO_WRAP}{CLEAR_TO_END}{frame}{WRAP}")
            }
            Self::Lines { last } => {
                if last.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                    return Ok(());
                }
                *last = Some(Instant::now());
                line(elapsed, rows)
            }
        };
        write(&text)
    }

    /// Shows the final state: on a terminal it stands there already.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn finish(&mut self, elapsed: Duration, phase: &str, rows: &[Row]) -> io::Result<()> {
        match self {
            Self::Terminal { .. } => self.show(elapsed, phase, rows),
            Self::Lines { .. } => write(&format!("\n{}", table(rows, false))),
        }
    }
}

/// Writes to stdout at once.
///
/// # Errors
/// When nobody reads any more.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The table, in less than 80 columns.
fn table(rows: &[Row], colours: bool) -> String {
    let (bold, plain) = if colours { (BOLD, PLAIN) } else { ("", "") };
    let mut text = format!(
        "{bold}{:<8}{:>10}{:>11}{:>9}{:>10}{:>9}{:>10}{:>9}{plain}\n",
        "endpoint", "inserted", "delivered", "retried", "given up", "waiting", "p50", "p99"
    );
    for row in rows {
        text.push_str(&format!(
            "{:<8}{:>10}{:>11}{:>9}{:>10}{:>9}{:>10}{:>9}\n",
            row.manner.name(),
            row.inserted,
            row.delivered,
            row.retried,
            row.given_up,
            row.waiting(),
            human(row.p50),
            human(row.p99)
        ));
    }
    let sum = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    text.push_str(&format!(
        "signatures verified {}, wrong {}; duplicates {}\n",
        sum(|row| row.verified),
        sum(|row| row.wrong),
        sum(|row| row.duplicates)
    ));
    text
}

/// Everything in one line.
fn line(elapsed: Duration, rows: &[Row]) -> String {
    let inserted = rows.iter().map(|row| row.inserted).max().unwrap_or(0);
    let mut text = format!("{:>3} s  inserted {inserted}", elapsed.as_secs());
    for row in rows {
        text.push_str(&format!(
            " | {}: delivered {}, retried {}, given up {}, waiting {}",
            row.manner.name(),
            row.delivered,
            row.retried,
            row.given_up,
            row.waiting()
        ));
        if row.p50.is_some() {
            text.push_str(&format!(", p50 {}, p99 {}", human(row.p50), human(row.p99)));
            text.push_str(&format!(", verified {}", row.verified));
        }
    }
    text + "\n"
}

/// A duration as a person reads it.
pub(super) fn human(duration: Option<Duration>) -> String {
    let Some(duration) = duration else { return "-".to_owned() };
    let millis = duration.as_secs_f64() * 1e3;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(manner: Manner) -> Row {
        let [p50, p99] = [4_100, 1_250_000].map(|micros| Some(Duration::from_micros(micros)));
        Row {
            manner,
            inserted: 300,
            delivered: 290,
            retried: 100,
            given_up: 2,
            p50,
            p99,
            verified: 395,
            wrong: 0,
            duplicates: 0,
        }
    }

    #[test]
    fn the_table_is_aligned_and_narrow() {
        let rows = Manner::ALL.map(row);
        let text = table(&rows, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[..4].iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines.iter().all(|line| line.len() < 80), "{text}");
        assert!(lines[1].ends_with("100         2        8    4.1 ms   1.25 s"), "{text}");
        assert_eq!(lines[4], "signatures verified 1185, wrong 0; duplicates 0");
    }

    #[test]
    fn a_line_is_plain_text() {
        let text = line(Duration::from_secs(8), &[row(Manner::Healthy), row(Manner::Dead)]);
        assert!(text.starts_with("  8 s  inserted 300 | healthy: delivered 290, retried 100,"));
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }

    #[test]
    fn durations_are_rounded_to_what_matters() {
        let shown = [4_140, 12_400, 999_000, 1_251_000]
            .map(|micros| human(Some(Duration::from_micros(micros))));
        assert_eq!(shown, ["4.1 ms", "12 ms", "999 ms", "1.25 s"]);
        assert_eq!(human(None), "-");
    }
}
