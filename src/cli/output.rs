//! Tables for people, JSON lines for scripts.

use std::io::{ErrorKind, Write};

use serde_json::{Map, Value};

use super::failure::Failure;

/// One row: names and values, in order.
pub type Row = Map<String, Value>;

/// The output options of every command that reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Format {
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints rows: as JSON all they hold, as a table the columns named.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(format: Format, rows: &[Row], columns: &[&str]) -> Result<(), Failure> {
    let text = if format.json { json_lines(rows) } else { table(rows, columns) };
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

fn json_lines(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", Value::Object(row.clone()))).collect()
}

/// Columns aligned, numbers to the right, two spaces between.
pub fn table(rows: &[Row], columns: &[&str]) -> String {
    let titles: Vec<String> = columns.iter().map(|name| name.replace('_', " ")).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|name| cell(row.get(*name))).collect()).collect();
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

fn is_number(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Number(_)))
}

/// A value as a person reads it; control characters cannot reach the terminal.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().flat_map(shown).collect(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

fn shown(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
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
    fn control_characters_are_escaped() {
        let rows = [row(r#"{"e":"a\u001b[2J\nb"}"#)];
        assert_eq!(table(&rows, &["e"]), "e\na\\u{1b}[2J\\nb\n");
    }
}
