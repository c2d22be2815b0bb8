//! `outboxd event-types`: the catalogue of what events mean and hold.

use std::path::PathBuf;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Global;
use super::desk::{Desk, Limit};
use super::events::read_file;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::event_types::Schema;
use crate::event_types::catalogue::{self, Entry};
use crate::store::manage::{EVENT_TYPE_IMPORT, EVENT_TYPE_LIST, EVENT_TYPE_SHOW};

/// Levels of a JSON text that are indented; deeper ones stay at the last, so that a text of nothing
/// but brackets does not grow by its square.
const INDENTED_LEVELS: usize = 32;

/// `event-types ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the catalogue, and what is wrong with its schemas
    List {
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        format: Format,
    },
    /// Show an event type: description, schema, example
    Show {
        /// The event type, such as conversion.created
        #[arg(value_name = "TYPE")]
        event_type: String,
        #[command(flatten)]
        format: Format,
    },
    /// Add event types, and replace those that are there: all of a file, or nothing
    Import(ImportArgs),
}

/// Options of `event-types import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// A JSON array of {type, description, schema, example}, or an object of them by type; - is
    /// stdin
    #[arg(required_unless_present = "seeds")]
    file: Option<PathBuf>,
    /// Instead: the 37 types of the affiliate and referral platforms that come with outboxd
    #[arg(long, conflicts_with = "file")]
    seeds: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Lists, shows or imports.
///
/// # Errors
/// Of the configuration or the database; or there is no such type; or a catalogue has mistakes.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { limit, format } => list(&Desk::open(global).await?, limit, format).await,
        Command::Show { event_type, format } => {
            show(&Desk::open(global).await?, &event_type, format).await
        }
        Command::Import(args) => import(global, &args).await,
    }
}

async fn list(desk: &Desk, limit: Limit, format: Format) -> Result<(), Failure> {
    let mut rows = desk.list(&[EVENT_TYPE_LIST], &[], limit).await?;
    rows.iter_mut().for_each(judge_schema);
    let has_problem = rows.iter().any(|row| row.get("problem").is_some_and(Value::is_string));
    let columns = ["type", "schema", "example", "updated_at", "description", "problem"];
    output::print(format, &rows, if has_problem { &columns } else { &columns[..5] })
}

/// Puts into the place of a schema what a daemon makes of it.
fn judge_schema(row: &mut Row) {
    let compiled = row.get("schema").and_then(Value::as_str).map(Schema::compile);
    let (schema, problem) = match compiled {
        None => ("none", Value::Null),
        Some(Ok(_)) => ("ok", Value::Null),
        Some(Err(reason)) => ("unusable", json!(reason)),
    };
    row.insert("schema".to_owned(), json!(schema));
    row.insert("problem".to_owned(), problem);
}

async fn show(desk: &Desk, event_type: &str, format: Format) -> Result<(), Failure> {
    let row = desk.row(EVENT_TYPE_SHOW, &[Some(event_type)]).await?;
    let text = |name| row.get(name).and_then(Value::as_str);
    let Some(found) = text("type") else {
        let name = event_type.escape_debug();
        let message =
            format!("the catalogue has no event type '{name}'; see: outboxd event-types list");
        return Err(Failure::failed(message));
    };
    let (description, schema, example) = (text("description"), text("schema"), text("example"));
    if format.json {
        let entry = Entry {
            event_type: found.to_owned(),
            description: description.map(str::to_owned),
            schema: raw(schema)?,
            example: raw(example)?,
        };
        return output::write_out(&format!("{}\n", written(&entry)?));
    }
    let mut head = Row::new();
    head.insert("type".to_owned(), json!(found));
    head.insert("description".to_owned(), json!(description));
    let problem = schema.and_then(|schema| Schema::compile(schema).err());
    head.insert("problem".to_owned(), json!(problem));
    let mut shown = output::name_value_lines(&head);
    for (heading, json) in [("schema", schema), ("example", example)] {
        if let Some(json) = json {
            shown.push_str(&format!("\n{heading}:\n{}\n", laid_out(json, true)));
        }
    }
    output::write_out(&shown)
}

async fn import(global: &Global, args: &ImportArgs) -> Result<(), Failure> {
    let entries = match &args.file {
        None => catalogue::read(catalogue::SEEDS),
        Some(path) => {
            let (name, bytes) = read_file(path)?;
            let text = String::from_utf8(bytes)
                .map_err(|error| Failure::failed(format!("{name}: not UTF-8 text: {error}")))?;
            catalogue::read(&text)
        }
    };
    let entries = entries.map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(|line| output::escaped(line)).collect();
        Failure::failed(format!("nothing was imported:\n{}", problems.join("\n")))
    })?;
    let text = written(&entries)?;
    let desk = Desk::open(global).await?;
    let params = [Some(text.as_str())];
    let rows = if args.dry_run {
        desk.rehearse_rows(EVENT_TYPE_IMPORT, &params).await?
    } else {
        desk.rows(EVENT_TYPE_IMPORT, &params).await?
    };
    let created = rows.iter().filter(|row| row.get("created") == Some(&json!(true))).count();
    let (changed, kept) = (rows.len() - created, entries.len() - rows.len());
    let what = if args.dry_run { "would import" } else { "imported" };
    output::write_out(&format!("{what}: {created} new, {changed} changed, {kept} as they were\n"))
}

fn raw(json: Option<&str>) -> Result<Option<Box<RawValue>>, Failure> {
    json.map(|json| RawValue::from_string(laid_out(json, false))).transpose().map_err(unwritable)
}

fn written<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::failed(format!("the catalogue cannot be written as JSON: {error}"))
}

/// A JSON text in lines, or in one, with every name, number and string as it is; what steers a
/// terminal is escaped as JSON has it.
fn laid_out(json: &str, in_lines: bool) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut letters = json.chars().filter(|c| !"\n\r\t".contains(*c)).peekable();
    let line = |depth: usize| match in_lines {
        true => format!("\n{}", "  ".repeat(depth.min(INDENTED_LEVELS))),
        false => String::new(),
    };
    while let Some(letter) = letters.next() {
        if in_string {
            in_string = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            match letter.is_control() {
                true => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
                false => out.push(letter),
            }
            continue;
        }
        match letter {
            ' ' => {}
            '{' | '[' => {
                while letters.next_if_eq(&' ').is_some() {}
                out.push(letter);
                if let Some(end) = letters.next_if(|next| "}]".contains(*next)) {
                    out.push(end);
                } else {
                    depth += 1;
                    out.push_str(&line(depth));
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                out.push_str(&line(depth));
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                out.push_str(&line(depth));
            }
            ':' => out.push_str(if in_lines { ": " } else { ":" }),
            other => {
                in_string = other == '"';
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_text_is_laid_out_without_another_change() {
        let text =
            "{ \"b\":1.50,\r\n\t\"a\": [ ] , \"c\":[{},1e400,\"x, \\\"{\\\\\"],\"\u{9b}\":null}";
        let lines = "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"c\": [\n    {},\n    1e400,\n    \
                     \"x, \\\"{\\\\\"\n  ],\n  \"\\u009b\": null\n}";
        assert_eq!(laid_out(text, true), lines);
        let one = "{\"b\":1.50,\"a\":[],\"c\":[{},1e400,\"x, \\\"{\\\\\"],\"\\u009b\":null}";
        assert_eq!(laid_out(text, false), one);
        assert_eq!(laid_out(one, false), one);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(laid_out(&deep, true).len() < deep.len() * 100);
    }

    #[test]
    fn a_list_says_what_a_daemon_makes_of_a_schema() {
        for (schema, expected, has_problem) in [
            ("null", "none", false),
            (r#""{\"type\":\"object\"}""#, "ok", false),
            (r#""{\"type\":1}""#, "unusable", true),
        ] {
            let json = format!(r#"{{"type":"a","schema":{schema}}}"#);
            let mut row: Row = serde_json::from_str(&json).expect("a row");
            judge_schema(&mut row);
            assert_eq!(
                (&row["schema"], row["problem"].is_string()),
                (&json!(expected), has_problem)
            );
        }
    }
}
