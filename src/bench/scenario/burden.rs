//! A backlog in a database that carries a burden: much history, or a snapshot that stays open.

use super::backlog::Backlog;
use super::steady::{self, pace};
use super::{Bound, Target, Variants, relate};
use crate::bench::crew::Crew;
use crate::bench::producer::Pace;
use crate::bench::stage::Stage;
use crate::bench::{BenchError, body};

/// Of `history`.
pub const HISTORY_TARGETS: [Target; 1] =
    [Target { variant: "history-full", figure: "rate_of_empty", bound: Bound::AtLeast(0.9) }];
/// Of `snapshot`.
pub const SNAPSHOT_TARGETS: [Target; 2] = [
    Target { variant: "snapshot-held", figure: "rate_of_none", bound: Bound::AtLeast(0.9) },
    Target { variant: "snapshot-held", figure: "p99_of_none", bound: Bound::AtMost(2.0) },
];

/// Attempts of each event that is kept.
const ATTEMPTS: u32 = 5;
/// Events a second once the backlog is gone.
const RATE: u32 = 200;

/// Empty tables, and tables with ten million events and fifty million attempts. They are written by
/// SQL into the tables themselves, all attempts into the partition of today.
pub async fn history(stage: &mut Stage) -> Result<Variants, BenchError> {
    let kept = if stage.plan.quick { 10_000 } else { 10_000_000 };
    let backlog = Backlog { events: stage.events(100_000, 2_000), ..Backlog::default() };
    let empty = backlog.run(stage).await?;
    stage.place.clear().await?;
    stage.place.run(&keep(kept, stage.plan.body_bytes)).await?;
    // Statements of their own: VACUUM runs in no transaction.
    for sql in ["VACUUM ANALYZE outbox.events", "VACUUM ANALYZE outbox.history"] {
        stage.place.run(sql).await?;
    }
    stage.place.settle().await?;
    let full = backlog.run_prepared(stage, 1).await?;
    let mut variants = vec![("history-empty".to_owned(), empty), ("history-full".to_owned(), full)];
    relate(&mut variants, "rate_per_second", "rate_of_empty");
    Ok(variants)
}

/// Finished events and their attempts.
fn keep(events: u32, body_bytes: usize) -> String {
    let (payload, event_type) = (body::payload(body_bytes), body::EVENT_TYPE);
    format!(
        "ALTER TABLE outbox.events DISABLE TRIGGER enqueue;
         INSERT INTO outbox.events (id, type, payload)
         SELECT 'old_' || lpad(n::text, 22, '0'), '{event_type}', '{payload}'
         FROM generate_series(1, {events}) n;
         ALTER TABLE outbox.events ENABLE TRIGGER enqueue;
         INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, duration_ms, outcome,
                                     http_status, response_headers, remote_addr, result, created_at)
         SELECT seq, 1, attempt, true, now(), 12, CASE WHEN is_last THEN 'success' ELSE 'http_5xx' END,
                CASE WHEN is_last THEN 200 ELSE 503 END, '{{\"content-length\":\"0\"}}', '127.0.0.1:80',
                CASE WHEN is_last THEN 'delivered' END, CASE WHEN is_last THEN now() END
         FROM outbox.events CROSS JOIN generate_series(1, {ATTEMPTS}) attempt
         CROSS JOIN LATERAL (SELECT attempt = {ATTEMPTS} AS is_last) ends"
    )
}

/// A backlog of 400,000 and then 200 events a second, without and with a snapshot that was taken
/// before and stays open throughout.
pub async fn snapshot(stage: &mut Stage) -> Result<Variants, BenchError> {
    let backlog = Backlog { events: stage.events(400_000, 2_000), ..Backlog::default() };
    let mut variants = Vec::new();
    for (name, held) in [("snapshot-none", false), ("snapshot-held", true)] {
        stage.place.clear().await?;
        stage.subscribe(1, ("", "")).await?;
        let holder = stage.place.another_session().await?;
        if held {
            // The first statement takes the snapshot.
            let sql =
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox.endpoints";
            holder.run(sql).await.map_err(|error| stage.place.failed(error))?;
        }
        let mut crew = Crew::start(stage, 1).await?;
        let mut figures = backlog.release(stage, &mut crew).await?;
        let pace = Pace { first: backlog.events, ..pace(stage, RATE) };
        let steady = steady::flow(stage, &mut crew, pace).await?;
        for name in ["p50_ms", "p90_ms", "p99_ms", "max_ms"] {
            figures.set_some(name, steady.get(name));
        }
        for name in ["lost", "duplicates", "unrecorded"] {
            let both = figures.get(name).zip(steady.get(name));
            figures.set_some(name, both.map(|(one, other)| one + other));
        }
        crew.stop(stage, &mut figures).await?;
        drop(holder);
        backlog.beside(stage, &mut figures).await?;
        variants.push((name.to_owned(), figures));
    }
    relate(&mut variants, "rate_per_second", "rate_of_none");
    relate(&mut variants, "p99_ms", "p99_of_none");
    Ok(variants)
}
