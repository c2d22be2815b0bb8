//! `outboxd stats`: how deliveries stand.

use serde_json::Value;

use super::Global;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::store::manage::{ENDPOINT_HEALTH, TOTALS};

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: Format,
}

/// What the table shows of each endpoint.
const COLUMNS: [&str; 9] = [
    "name",
    "state",
    "delivered_1h",
    "failed_1h",
    "success_ratio_1h",
    "pending",
    "oldest_pending_seconds",
    "last_success_at",
    "last_failure_at",
];

/// Prints the health of every endpoint and the totals; as JSON one object with both.
///
/// # Errors
/// Of the configuration or the database.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    let mut totals = desk.row(TOTALS, &[]).await?;
    let endpoints = desk.rows(ENDPOINT_HEALTH, &[]).await?;
    if args.format.json {
        let endpoints = endpoints.into_iter().map(Value::Object).collect();
        totals.insert("endpoints".to_owned(), endpoints);
        return output::print_one(args.format, &totals);
    }
    output::write_out(&text(&endpoints, &totals))
}

fn text(endpoints: &[Row], totals: &Row) -> String {
    let columns: Vec<&str> = totals.keys().map(String::as_str).collect();
    let totals = output::table(std::slice::from_ref(totals), &columns);
    format!("{}\n{totals}", output::table(endpoints, &COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_follow_the_endpoints() {
        let row = |json| serde_json::from_str::<Row>(json).expect("a JSON object");
        let endpoints = [row(r#"{"name":"acme","state":"active","pending":3}"#)];
        let totals = row(r#"{"queued":0,"pending":3,"oldest_due_seconds":61.2}"#);
        let text = text(&endpoints, &totals);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("acme  active"), "{text}");
        assert_eq!(lines[2..], ["", "queued  pending  oldest due", "     0        3         61s"]);
    }
}
