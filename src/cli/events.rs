//! `outboxd events`: what was inserted, and inserting one.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Global;
use super::deliveries::{ATTEMPT_COLUMNS, section, take_body};
use super::desk::{Desk, Limit, When};
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::event_types::catalogue::is_type_name;
use crate::store::manage::{
    ATTEMPT_LIST, DELIVERY_LIST_RECENT, EVENT_DISCARD, EVENT_EMIT, EVENT_LIST,
    EVENT_LIST_QUARANTINED, EVENT_PAYLOAD, EVENT_RELEASE, EVENT_SHOW,
};

/// `events ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List events, newest first
    List(ListArgs),
    /// Show an event with its deliveries and attempts
    Show(ShowArgs),
    /// Insert an event; prints its id
    Emit(EmitArgs),
    /// Deliver an event in quarantine after all, as it is
    Release {
        /// The event's id
        id: String,
    },
    /// End the quarantine of an event without delivering it
    Discard {
        /// The event's id
        id: String,
    },
}

/// Options of `events list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only events since then: 1h, or a time such as 2025-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only events in quarantine, those held back last first, each with the reason
    #[arg(long)]
    quarantined: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    format: Format,
}

/// Options of `events show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The event's id
    id: String,
    /// Print the payload alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    payload: bool,
    #[command(flatten)]
    format: Format,
}

/// Options of `events emit`.
#[derive(Debug, clap::Args)]
pub struct EmitArgs {
    /// The event's type, such as conversion.created
    #[arg(value_name = "TYPE", value_parser = event_type)]
    event_type: String,
    /// File with the payload, a JSON text; - is stdin [default: an empty object]
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// Its id; with one that exists nothing happens [default: generated]
    #[arg(long)]
    id: Option<String>,
    /// The tenant it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// Its ordering key
    #[arg(long)]
    key: Option<String>,
    /// A test event, for endpoints that take those
    #[arg(long)]
    test: bool,
    /// Do not deliver it before: 10m from now, or a time such as 2025-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    deliver_after: Option<When>,
    #[command(flatten)]
    format: Format,
}

/// Lists, shows, emits, releases or discards.
///
/// # Errors
/// Of the configuration or the database; or there is no such event, or it is not in quarantine; or
/// the payload cannot be used.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(&Desk::open(global).await?, &args).await,
        Command::Show(args) => show(&Desk::open(global).await?, &args).await,
        Command::Emit(args) => emit(global, &args).await,
        Command::Release { id } => {
            Desk::open(global).await?.row(EVENT_RELEASE, &[Some(&id)]).await?;
            eprintln!("{id} is released; it is delivered as any other event");
            Ok(())
        }
        Command::Discard { id } => {
            Desk::open(global).await?.row(EVENT_DISCARD, &[Some(&id)]).await?;
            eprintln!("{id} is discarded; it is not delivered");
            Ok(())
        }
    }
}

async fn list(desk: &Desk, args: &ListArgs) -> Result<(), Failure> {
    let since = desk.past(args.since.as_ref()).await?;
    let params = [args.event_type.as_deref(), args.tenant.as_deref(), since.as_deref()];
    if args.quarantined {
        let rows = desk.list(&[EVENT_LIST_QUARANTINED], &params, args.limit).await?;
        let columns = ["id", "type", "tenant", "quarantined_at", "reason"];
        return output::print(args.format, &rows, &columns);
    }
    let rows = desk.list(&[EVENT_LIST], &params, args.limit).await?;
    let columns = ["id", "type", "tenant", "live", "payload_bytes", "created_at"];
    output::print(args.format, &rows, &columns)
}

async fn show(desk: &Desk, args: &ShowArgs) -> Result<(), Failure> {
    let id = Some(args.id.as_str());
    if args.payload {
        let payload = desk.value(EVENT_PAYLOAD, &[id]).await?;
        return output::write_out(payload.as_str().unwrap_or_default());
    }
    let mut event = desk.row(EVENT_SHOW, &[id]).await?;
    let deliveries = desk.rows(DELIVERY_LIST_RECENT, &[None, None, id, None]).await?;
    let mut attempts = desk.rows(ATTEMPT_LIST, &[id, None]).await?;
    // Bodies are for `deliveries show --body`.
    attempts.iter_mut().for_each(|attempt| drop(take_body(attempt)));
    if args.format.json {
        let array = |rows: Vec<Row>| rows.into_iter().map(Value::Object).collect::<Value>();
        event.insert("deliveries".to_owned(), array(deliveries));
        event.insert("attempts".to_owned(), array(attempts));
        return output::print_one(args.format, &event);
    }
    let mut text = output::name_value_lines(&event);
    let columns =
        ["endpoint_name", "status", "attempts", "last_outcome", "next_attempt_at", "finished_at"];
    text.push_str(&section("deliveries", &deliveries, &columns));
    let columns: Vec<&str> = ["endpoint_name"].into_iter().chain(ATTEMPT_COLUMNS).collect();
    text.push_str(&section("attempts", &attempts, &columns));
    output::write_out(&text)
}

async fn emit(global: &Global, args: &EmitArgs) -> Result<(), Failure> {
    let payload = args.payload_file.as_deref().map_or(Ok("{}".to_owned()), read_payload)?;
    let desk = Desk::open(global).await?;
    let deliver_after = desk.future(args.deliver_after.as_ref()).await?;
    let params = [
        Some(args.event_type.as_str()),
        Some(&payload),
        args.id.as_deref(),
        args.tenant.as_deref(),
        Some(if args.test { "false" } else { "true" }),
        args.key.as_deref(),
        deliver_after.as_deref(),
    ];
    let emitted = desk.row(EVENT_EMIT, &params).await?;
    if args.format.json {
        return output::print_one(args.format, &emitted);
    }
    let id = emitted.get("id").and_then(Value::as_str).unwrap_or_default();
    output::write_out(&format!("{id}\n"))
}

fn read_payload(path: &Path) -> Result<String, Failure> {
    let (name, bytes) = read_file(path)?;
    check_payload(bytes).map_err(|reason| Failure::failed(format!("{name}: {reason}")))
}

/// The bytes of a file, `-` being stdin, and what to call it.
pub(super) fn read_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("stdin".to_owned(), std::io::stdin().lock().read_to_end(&mut bytes))
    } else {
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        (path.display().to_string(), read)
    };
    read.map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    Ok((name, bytes))
}

/// Postgres would refuse it too, but without saying where it is wrong.
fn check_payload(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| format!("not UTF-8 text: {error}"))?;
    serde_json::from_str::<serde::de::IgnoredAny>(&text)
        .map_err(|error| format!("not a JSON text: {error}"))?;
    Ok(text)
}

fn event_type(text: &str) -> Result<String, &'static str> {
    if is_type_name(text) {
        Ok(text.to_owned())
    } else {
        Err("an event type is 1 to 128 of A-Z a-z 0-9 . _ -")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_stays_as_it_is() {
        for text in ["{}", " {\"b\": 1.50, \"a\":\"\\ud800\", \"b\":1e131071}\n", "[]", "null"] {
            assert_eq!(check_payload(text.into()), Ok(text.to_owned()));
        }
        assert!(check_payload("[".repeat(100_000).into()).is_err());
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        assert!(check_payload(deep.into()).is_ok());
    }

    #[test]
    fn what_is_no_payload_is_refused_with_the_place() {
        let refusal = check_payload(b"{\"a\":\n 1,}".to_vec()).expect_err("no JSON");
        assert!(refusal.contains("line 2 column 4"), "{refusal}");
        assert!(check_payload(vec![b'"', 0xff, b'"']).expect_err("no text").contains("UTF-8"));
        assert!(check_payload(Vec::new()).is_err());
    }

    #[test]
    fn event_types_are_checked_before_anything_is_asked() {
        assert!(event_type("conversion.created").is_ok());
        for bad in ["", "a b", "payout.*", "é", &"a".repeat(129)] {
            assert!(event_type(bad).is_err(), "{bad}");
        }
    }
}
