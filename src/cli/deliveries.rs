//! `outboxd deliveries`: how events fare with endpoints, replaying and cancelling.

use serde_json::{Value, json};

use super::Global;
use super::desk::{Desk, Limit, When};
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::store::manage::{
    ATTEMPT_LIST, DELIVERY_CANCEL, DELIVERY_LIST, DELIVERY_LIST_RECENT, DELIVERY_REPLAY,
    DELIVERY_REPLAY_FAILED, DELIVERY_SHOW,
};

/// `deliveries ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List deliveries, those of the newest events first
    List(ListArgs),
    /// Show a delivery with its attempts
    Show(ShowArgs),
    /// Deliver again, with the same id and the same bytes
    Replay(ReplayArgs),
    /// End an unfinished delivery
    Cancel {
        /// The event's id
        event: String,
        /// The endpoint's id or name
        endpoint: String,
    },
}

/// Options of `deliveries list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only deliveries with this status
    #[arg(long, value_parser = ["pending", "in_flight", "delivered", "exhausted", "cancelled"])]
    status: Option<String>,
    /// Only deliveries to this endpoint, an id or a name
    #[arg(long)]
    endpoint: Option<String>,
    /// Only deliveries of the event with this id
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    format: Format,
}

/// Options of `deliveries show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The event's id
    event: String,
    /// The endpoint's id or name
    endpoint: String,
    /// Also show what the receiver replied, escaped
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    format: Format,
}

/// Options of `deliveries replay`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "outboxd deliveries replay <EVENT> <ENDPOINT>\n       \
                            outboxd deliveries replay --failed <ENDPOINT> [OPTIONS]")]
pub struct ReplayArgs {
    /// The event's id
    #[arg(required_unless_present = "failed", requires = "endpoint")]
    event: Option<String>,
    /// The endpoint's id or name
    endpoint: Option<String>,
    /// Instead: all that is exhausted, or was cancelled when the endpoint was disabled
    #[arg(long, value_name = "ENDPOINT", conflicts_with_all = ["event", "endpoint"])]
    failed: Option<String>,
    /// Only what ended since then: 1h ago, or a time such as 2025-01-31T12:00:00Z
    #[arg(long, requires = "failed", conflicts_with = "event", value_name = "WHEN")]
    since: Option<When>,
    /// Only what ended before: 10m ago, or a time such as 2025-01-31T12:00:00Z
    #[arg(long, requires = "failed", conflicts_with = "event", value_name = "WHEN")]
    until: Option<When>,
    /// Say how many, and replay none
    #[arg(long, requires = "failed", conflicts_with = "event")]
    dry_run: bool,
}

/// What the table shows of each attempt.
pub(super) const ATTEMPT_COLUMNS: [&str; 7] =
    ["attempt", "started_at", "outcome", "http_status", "duration_ms", "remote_addr", "error"];

/// Lists, shows, replays or cancels.
///
/// # Errors
/// Of the configuration or the database; or there is no such event, endpoint or delivery.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    match command {
        Command::List(args) => list(&desk, &args).await,
        Command::Show(args) => show(&desk, &args).await,
        Command::Replay(ReplayArgs { failed: Some(endpoint), since, until, dry_run, .. }) => {
            replay_failed(&desk, &endpoint, [since, until], dry_run).await
        }
        Command::Replay(args) => {
            let (event, endpoint) = (args.event.as_deref(), args.endpoint.as_deref());
            let replayed = desk.value(DELIVERY_REPLAY, &[event, endpoint]).await?;
            eprintln!("{}", if replayed == true { "replayed" } else { "it is pending anyway" });
            Ok(())
        }
        Command::Cancel { event, endpoint } => {
            let cancelled = desk.value(DELIVERY_CANCEL, &[Some(&event), Some(&endpoint)]).await?;
            if cancelled != true {
                return Err(Failure::failed("there is no such delivery, or it has ended"));
            }
            eprintln!("cancelled");
            Ok(())
        }
    }
}

async fn list(desk: &Desk, args: &ListArgs) -> Result<(), Failure> {
    let params = [args.status.as_deref(), args.endpoint.as_deref(), args.event.as_deref()];
    // Of one event, the first statement gives all there is.
    let queries = [DELIVERY_LIST_RECENT, DELIVERY_LIST];
    let queries = if args.event.is_some() { &queries[..1] } else { &queries };
    let rows = desk.list(queries, &params, args.limit).await?;
    let columns = [
        "event_id",
        "endpoint_name",
        "event_type",
        "status",
        "attempts",
        "last_outcome",
        "created_at",
        "next_attempt_at",
        "finished_at",
    ];
    output::print(args.format, &rows, &columns)
}

async fn show(desk: &Desk, args: &ShowArgs) -> Result<(), Failure> {
    let (event, endpoint) = (Some(args.event.as_str()), Some(args.endpoint.as_str()));
    let mut delivery = desk.row(DELIVERY_SHOW, &[event, endpoint]).await?;
    let Some(id) = delivery.get("endpoint_id").and_then(Value::as_str) else {
        let message = "there is no such delivery; the event may be past its retention, or not \
                       match the endpoint: see 'outboxd deliveries list'";
        return Err(Failure::failed(message));
    };
    let mut attempts = desk.rows(ATTEMPT_LIST, &[event, Some(id)]).await?;
    let bodies: Vec<Option<Vec<u8>>> = attempts.iter_mut().map(take_body).collect();
    if args.format.json {
        if args.body {
            for (attempt, body) in attempts.iter_mut().zip(&bodies) {
                let text = body.as_deref().map(String::from_utf8_lossy);
                attempt.insert("response_body".to_owned(), json!(text));
            }
        }
        let attempts = attempts.into_iter().map(Value::Object).collect();
        // `attempts` is their number, as in the view.
        delivery.insert("attempt_list".to_owned(), attempts);
        return output::print_one(args.format, &delivery);
    }
    let mut text = output::name_value_lines(&delivery);
    text.push_str(&section("attempts", &attempts, &ATTEMPT_COLUMNS));
    if args.body {
        for (attempt, body) in attempts.iter().zip(&bodies) {
            let number = attempt.get("attempt").map(Value::to_string).unwrap_or_default();
            let body = body.as_deref().map_or_else(|| "none".to_owned(), escaped_body);
            text.push_str(&format!("\nreply to attempt {number}: {body}\n"));
        }
    }
    output::write_out(&text)
}

async fn replay_failed(
    desk: &Desk,
    endpoint: &str,
    [since, until]: [Option<When>; 2],
    dry_run: bool,
) -> Result<(), Failure> {
    let since = desk.past(since.as_ref()).await?;
    let until = desk.past(until.as_ref()).await?;
    let params = [Some(endpoint), since.as_deref(), until.as_deref()];
    let text = if dry_run {
        // The function itself counts, so that this is what it would do.
        format!("would replay {}\n", desk.rehearse(DELIVERY_REPLAY_FAILED, &params).await?)
    } else {
        format!("replayed {}\n", desk.value(DELIVERY_REPLAY_FAILED, &params).await?)
    };
    output::write_out(&text)
}

/// A table under a heading, or nothing when there is nothing in it.
pub(super) fn section(heading: &str, rows: &[Row], columns: &[&str]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{heading}:\n{}", output::table(rows, columns))
}

/// Takes the body, which is in hex because JSON cannot hold all bytes, out of an attempt.
pub(super) fn take_body(attempt: &mut Row) -> Option<Vec<u8>> {
    let hex = attempt.shift_remove("response_body")?;
    let digits = hex.as_str()?.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The bytes on one line: text as it is but for what steers a terminal, all else as `\xNN`.
fn escaped_body(body: &[u8]) -> String {
    let mut text = String::new();
    for chunk in body.utf8_chunks() {
        text.push_str(&output::escaped(chunk.valid()));
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_out_of_hex_and_are_escaped() {
        let mut attempt = Row::new();
        attempt.insert("response_body".to_owned(), json!("c3a90a1b5b326a00ff6f6b"));
        let body = take_body(&mut attempt).expect("a body");
        assert!(attempt.is_empty());
        assert_eq!(escaped_body(&body), "é\\n\\u{1b}[2j\\u{0}\\xffok");
    }

    #[test]
    fn an_attempt_without_a_reply_has_no_body() {
        let mut attempt = Row::new();
        attempt.insert("response_body".to_owned(), Value::Null);
        assert_eq!(take_body(&mut attempt), None);
    }

    #[test]
    fn a_section_without_rows_is_left_out() {
        assert_eq!(section("attempts", &[], &["attempt"]), "");
    }
}
