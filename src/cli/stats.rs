//! `outboxd stats`: how deliveries stand.

use serde_json::{Map, Value, json};

use super::Global;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::store::overview::{Attempts, Overview, PERIODS, Standing};

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: Format,
}

/// What the tables show: of each endpoint, and of all together.
const ENDPOINT: [&str; 9] = [
    "name",
    "state",
    "delivered_1h",
    "failed_1h",
    "success_ratio_1h",
    "pending",
    "oldest_due_seconds",
    "last_success_at",
    "last_failure_at",
];
const ALL: [&str; 5] = ["queued", "pending", "in_flight", "held", "oldest_due_seconds"];
/// Endpoints in the list of the worst.
const WORST: usize = 5;

/// Prints how every endpoint stands, and all together; as JSON one object with both, and with the
/// rates of the last minute, five minutes and hour.
///
/// # Errors
/// Of the configuration or the database.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let overview = Desk::open(global).await?.overview().await?;
    let endpoints: Vec<Row> = overview.endpoints.iter().map(endpoint).collect();
    let mut all = all(&overview);
    if args.format.json {
        let endpoints = endpoints.into_iter().map(Value::Object).collect();
        all.insert("endpoints".to_owned(), endpoints);
        return output::print_one(args.format, &all);
    }
    let all = output::table(&[all], &ALL);
    output::write_out(&format!("{}\n{all}", output::table(&endpoints, &ENDPOINT)))
}

fn endpoint(endpoint: &Standing) -> Row {
    let Attempts { delivered, failed } = endpoint.attempts[2];
    row(json!({
        "endpoint_id": endpoint.id,
        "name": endpoint.name,
        "state": endpoint.state,
        "state_reason": endpoint.reason,
        // Of the minute that is only partly in the hour, that part is counted.
        "delivered_1h": delivered.round() as i64,
        "failed_1h": failed.round() as i64,
        "success_ratio_1h": endpoint.attempts[2].success_ratio(),
        "pending": endpoint.pending,
        "oldest_due_seconds": endpoint.oldest_due,
        "last_success_at": endpoint.last_success_at,
        "last_failure_at": endpoint.last_failure_at,
    }))
}

/// What waits, rates, lag and the worst endpoints.
fn all(overview: &Overview) -> Row {
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
    let due = overview.endpoints.iter().filter_map(|endpoint| endpoint.oldest_due);
    row(json!({
        "queued": counts.queued,
        "pending": counts.pending() - counts.in_flight,
        "in_flight": counts.in_flight,
        "held": overview.held,
        "oldest_due_seconds": due.reduce(f64::max),
        "lag_seconds": overview.lag(),
        "rates": rates,
        "backlog": backlog,
        "worst": worst,
    }))
}

fn row(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
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
