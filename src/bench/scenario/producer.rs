//! What the outbox costs the application: pgbench inserts one event a transaction, into our table, into
//! the same table without our trigger, and into a bare one. No daemon runs.

use std::path::PathBuf;

use tokio::process::Command;

use super::{Bound, Target, Variants};
use crate::bench::figures::Figures;
use crate::bench::stage::Stage;
use crate::bench::{BenchError, body};

const WITHOUT: &str = "rate_of_no_trigger";
const BARE: &str = "rate_of_bare_table";
/// Of `producer`.
pub const TARGETS: [Target; 8] = [
    Target { variant: "producer-1", figure: WITHOUT, bound: Bound::AtLeast(0.92) },
    Target { variant: "producer-1", figure: BARE, bound: Bound::AtLeast(0.8) },
    Target { variant: "producer-4", figure: WITHOUT, bound: Bound::AtLeast(0.92) },
    Target { variant: "producer-4", figure: BARE, bound: Bound::AtLeast(0.8) },
    Target { variant: "producer-16", figure: WITHOUT, bound: Bound::AtLeast(0.92) },
    Target { variant: "producer-16", figure: BARE, bound: Bound::AtLeast(0.8) },
    Target { variant: "producer-64", figure: WITHOUT, bound: Bound::AtLeast(0.92) },
    Target { variant: "producer-64", figure: BARE, bound: Bound::AtLeast(0.8) },
];

/// The same columns that an application sets, and no more.
const CREATE: &str = "CREATE TABLE outbox.bench_bare (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text NOT NULL, payload json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now())";
/// It would need the password on its command line, and changes tables.
const NOT_HERE: &str =
    "only on the throwaway server; leave --database out, or name other scenarios";
const DROP: &str = "DROP TABLE IF EXISTS outbox.bench_bare";

/// One client, four, sixteen and sixty-four.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let url = stage.place.admin_url.clone();
    let url = url.ok_or_else(|| BenchError::Pgbench(NOT_HERE.to_owned()))?;
    let mut variants = Vec::new();
    for clients in [1, 4, 16, 64] {
        let figures = clients_at_once(stage, &url, clients).await?;
        variants.push((format!("producer-{clients}"), figures));
    }
    stage.place.run(DROP).await?;
    Ok(variants)
}

async fn clients_at_once(stage: &Stage, url: &str, clients: u32) -> Result<Figures, BenchError> {
    let place = &stage.place;
    place.run(DROP).await?;
    place.run(CREATE).await?;
    place.clear().await?;
    let own = pgbench(stage, url, clients, "outbox.events").await?;
    place.run("ALTER TABLE outbox.events DISABLE TRIGGER enqueue").await?;
    place.clear().await?;
    let without = pgbench(stage, url, clients, "outbox.events").await;
    place.run("ALTER TABLE outbox.events ENABLE TRIGGER enqueue").await?;
    let without = without?;
    place.clear().await?;
    let bare = pgbench(stage, url, clients, "outbox.bench_bare").await?;
    let mut figures = Figures::default();
    figures.set("rate_per_second", own);
    figures.set("no_trigger_per_second", without);
    figures.set("bare_table_per_second", bare);
    figures.set(WITHOUT, own / without);
    figures.set(BARE, own / bare);
    Ok(figures)
}

/// Transactions a second.
async fn pgbench(stage: &Stage, url: &str, clients: u32, table: &str) -> Result<f64, BenchError> {
    let script = stage.file("pgbench.sql");
    let insert =
        format!("INSERT INTO {table} (type, payload) VALUES ('{}', :payload);\n", body::EVENT_TYPE);
    std::fs::write(&script, insert)?;
    let beside_server = stage.place.program("pgbench");
    let program = beside_server.unwrap_or_else(|| PathBuf::from("pgbench"));
    let seconds = if stage.plan.quick { 1 } else { 15 };
    let mut command = Command::new(program);
    command
        .args(["-n", "-M", "prepared", "-T", &seconds.to_string(), "-c", &clients.to_string()])
        .args(["-j", &clients.min(2).to_string(), "-D"])
        .arg(format!("payload={}", body::payload(stage.plan.body_bytes)))
        .arg("-f")
        .arg(script)
        .arg(url)
        .kill_on_drop(true);
    let failed = |what: String| BenchError::Pgbench(what);
    let output = command.output().await.map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate =
        said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    match rate {
        Some(rate) if output.status.success() => Ok(rate),
        _ => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
