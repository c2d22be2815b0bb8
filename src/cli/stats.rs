//! `outboxd stats`: how deliveries stand.

use serde_json::{Map, Value, json};

use super::Global;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::store::manage::{ENDPOINT_HEALTH, TOTALS};
use crate::store::overview::{Overview, PERIODS, Standing};

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
/// Endpoints in the list of the worst.
const WORST: usize = 5;

/// Prints the health of every endpoint and the totals; as JSON one object with both, and with the
/// rates of the last minute, five minutes and hour.
///
/// # Errors
/// Of the configuration or the database.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    let mut totals = desk.row(TOTALS, &[]).await?;
    let endpoints = desk.rows(ENDPOINT_HEALTH, &[]).await?;
    if args.format.json {
        totals.append(&mut rates(&desk.overview().await?));
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

/// Rates, lag, backlog and the worst endpoints.
fn rates(overview: &Overview) -> Row {
    let period = |place: usize| {
        let attempts = overview.attempts(place);
        let all = attempts.delivered + attempts.failed;
        json!({
            "attempts_per_second": all / PERIODS[place].1,
            "delivered_per_second": attempts.delivered / PERIODS[place].1,
            "success_ratio": attempts.success_ratio(),
        })
    };
    let periods = PERIODS.iter().enumerate();
    let rates: Map<String, Value> =
        periods.map(|(place, (name, _))| ((*name).to_owned(), period(place))).collect();
    let counts = &overview.counts;
    let backlog = json!({
        "queued": counts.queued,
        "due": counts.due,
        "scheduled": counts.scheduled.iter().sum::<i64>(),
        "in_flight": counts.in_flight,
        "behind": counts.behind,
    });
    let worst = overview.worst_first().into_iter().filter(|it| needs_care(it)).take(WORST);
    let worst: Vec<Value> = worst.map(shown).collect();
    let all = json!({
        "lag_seconds": overview.lag(), "rates": rates, "backlog": backlog, "worst": worst,
    });
    match all {
        Value::Object(all) => all,
        _ => Row::new(),
    }
}

fn needs_care(endpoint: &Standing) -> bool {
    endpoint.attempts[1].failed > 0.0 || endpoint.oldest_due.is_some() || endpoint.state != "active"
}

fn shown(endpoint: &Standing) -> Value {
    let drain = endpoint.drain_seconds();
    json!({
        "name": endpoint.name,
        "state": endpoint.state,
        "state_reason": endpoint.reason,
        "success_ratio_5m": endpoint.attempts[1].success_ratio(),
        "failed_5m": endpoint.attempts[1].failed.round(),
        "pending": endpoint.pending,
        "oldest_due_seconds": endpoint.oldest_due,
        // JSON knows no infinity: nothing is delivered.
        "drain_seconds": drain.is_finite().then_some(drain),
    })
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
