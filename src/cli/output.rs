//! Tables for people, JSON lines for scripts.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::failure::Failure;
use crate::config::duration;
use crate::log::steers;

/// One row: names and values, in order.
pub type Row = Map<String, Value>;

/// The output options of every command that reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Format {
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints rows: as JSON all they hold, as a table the columns named. In the table a time (`_at`) is
/// so long ago, `_seconds` are a duration and a `_ratio` is a percentage.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(format: Format, rows: &[Row], columns: &[&str]) -> Result<(), Failure> {
    let text = if format.json { json_lines(rows) } else { table(rows, columns) };
    write_out(&text)
}

/// Prints one row: as JSON, or as lines of a name and a value.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_one(format: Format, row: &Row) -> Result<(), Failure> {
    let text =
        if format.json { json_lines(std::slice::from_ref(row)) } else { name_value_lines(row) };
    write_out(&text)
}

/// Writes data to stdout; a reader that has seen enough is no failure.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Names and values as two columns; what is not set is left out.
pub fn name_value_lines(row: &Row) -> String {
    let is_set = |value: &Value| !value.is_null() && value.as_array().is_none_or(|a| !a.is_empty());
    let set = || row.iter().filter(|(_, value)| is_set(value));
    let width = set().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    set()
        .map(|(name, value)| {
            let name = name.replace('_', " ");
            format!("{}\n", format!("{name:width$}  {}", cell(Some(value))).trim_end())
        })
        .collect()
}

/// The text without anything that steers a terminal.
pub fn escaped(text: &str) -> String {
    text.chars().flat_map(shown).collect()
}

/// JSON lets through most of what steers a terminal; its own escapes mean the same.
fn json_lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let mut line = String::new();
        for character in Value::Object(row.clone()).to_string().chars() {
            if steers(character) {
                line.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                line.push(character);
            }
        }
        line + "\n"
    };
    rows.iter().map(line).collect()
}

/// Columns aligned, numbers to the right, two spaces between.
pub fn table(rows: &[Row], columns: &[&str]) -> String {
    let now = Timestamp::now();
    let titles: Vec<String> = columns.iter().map(|name| title(name)).collect();
    let of_row = |row: &Row| columns.iter().map(|name| told(name, row.get(*name), now)).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(of_row).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        widest.max(titles[column].chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let right = |column: usize| {
        !rows.is_empty() && rows.iter().all(|row| is_number(row.get(columns[column])))
    };
    let rights: Vec<bool> = (0..columns.len()).map(right).collect();
    let line = |texts: &[String]| {
        let mut line = String::new();
        for (column, text) in texts.iter().enumerate() {
            let fill = " ".repeat(widths[column] - text.chars().count());
            let (before, after) = if rights[column] { (&*fill, "") } else { ("", &*fill) };
            line.push_str(&format!("{before}{text}{after}  "));
        }
        format!("{}\n", line.trim_end())
    };
    let body: String = cells.iter().map(|row| line(row)).collect();
    line(&titles) + &body
}

fn title(column: &str) -> String {
    let unit = ["_at", "_seconds"].iter().find_map(|unit| column.strip_suffix(unit));
    unit.unwrap_or(column).replace('_', " ")
}

/// A value as its column is best read.
fn told(column: &str, value: Option<&Value>, now: Timestamp) -> String {
    let text = match value {
        Some(Value::String(text)) if column.ends_with("_at") => {
            text.parse().ok().map(|time: Timestamp| ago(now.as_second() - time.as_second()))
        }
        Some(Value::Number(number)) if column.ends_with("_seconds") => {
            let seconds = number.as_f64().and_then(|s| Duration::try_from_secs_f64(s.round()).ok());
            seconds.map(duration::short)
        }
        Some(Value::Number(number)) if column.contains("_ratio") => {
            number.as_f64().map(|ratio| format!("{:.1}%", ratio * 100.0))
        }
        _ => None,
    };
    text.unwrap_or_else(|| cell(value))
}

/// How long ago, or with a negative number, how far ahead.
fn ago(seconds: i64) -> String {
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        s @ ..120 => format!("{s} s"),
        s @ ..7_200 => format!("{} min", s / 60),
        s @ ..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    };
    if seconds > 0 { format!("{length} ago") } else { format!("in {length}") }
}

fn is_number(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Number(_)))
}

/// A value as a person reads it; control characters cannot reach the terminal.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => escaped(text),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

fn shown(character: char) -> Vec<char> {
    let escaped = || match character {
        '\n' | '\r' | '\t' => character.escape_default().collect(),
        _ => character.escape_unicode().collect(),
    };
    if steers(character) { escaped() } else { vec![character] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        serde_json::from_str(json).expect("a JSON object")
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = [row(r#"{"name":"acme","n":1}"#), row(r#"{"name":"b","n":200,"more":true}"#)];
        assert_eq!(table(&rows, &["name", "n"]), "name    n\nacme    1\nb     200\n");
    }

    #[test]
    fn tables_tell_times_durations_and_ratios_as_people_do() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        let told = |column, json: &str| {
            told(column, Some(&serde_json::from_str(json).expect("JSON")), now)
        };
        assert_eq!(told("created_at", r#""2001-09-09T01:44:40.5+00:00""#), "2 min ago");
        assert_eq!(told("next_attempt_at", r#""2001-09-09T03:46:40Z""#), "in 2 h");
        assert_eq!(told("created_at", r#""soon""#), "soon");
        assert_eq!(told("oldest_pending_seconds", "5400.4"), "1h 30m");
        assert_eq!(told("success_ratio_1h", "0.9834"), "98.3%");
        assert_eq!(told("success_ratio_1h", "null"), "-");
        assert_eq!(told("duration_ms", "7"), "7");
        assert_eq!(title("oldest_pending_seconds"), "oldest pending");
    }

    #[test]
    fn lengths_of_time_have_one_unit() {
        let texts = [0, 1, 119, 120, 7_199, 7_200, 172_799, 172_800, -30].map(ago);
        let expected = [
            "now",
            "1 s ago",
            "119 s ago",
            "2 min ago",
            "119 min ago",
            "2 h ago",
            "47 h ago",
            "2 d ago",
            "in 30 s",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn one_row_is_lines_of_what_is_set() {
        let row = row(
            r#"{"id":"evt_1","key":null,"created_at":"2001-09-09T01:46:40Z","n":[1,2],"m":[]}"#,
        );
        let lines = "id          evt_1\ncreated at  2001-09-09T01:46:40Z\nn           1,2\n";
        assert_eq!(name_value_lines(&row), lines);
    }

    #[test]
    fn control_characters_are_escaped() {
        let rows = [row(r#"{"e":"a\u001b[2J\nb"}"#)];
        assert_eq!(table(&rows, &["e"]), "e\na\\u{1b}[2J\\nb\n");
    }

    #[test]
    fn json_is_tame_and_means_the_same() {
        let row = row("{\"body\":\"a\\u007f\u{9b}31m\\n\u{e9}\"}");
        let text = json_lines(std::slice::from_ref(&row));
        assert_eq!(text, "{\"body\":\"a\\u007f\\u009b31m\\n\u{e9}\"}\n");
        assert_eq!(serde_json::from_str::<Row>(&text).expect("JSON"), row);
    }
}
