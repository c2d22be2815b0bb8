//! `outboxd hold`: what waits since a backup was restored, until somebody decides about it.

use std::time::Duration;

use serde_json::Value;

use super::Global;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{self, Format};
use crate::config::duration;
use crate::store::manage::{HOLD_CANCEL, HOLD_RELEASE, HOLD_SHOW, HOLD_START};

/// `hold ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what is held, and why
    Show {
        #[command(flatten)]
        format: Format,
    },
    /// Hold what is due now, as after restoring a backup and before starting the daemon
    Start {
        /// Only what is older; 0s: all of it
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        older_than: Duration,
    },
    /// Deliver what is held: receivers get again what had arrived after the backup was taken
    Release,
    /// Cancel what is held: receivers do not get what had not arrived
    Cancel,
}

/// Shows, starts, releases or cancels.
///
/// # Errors
/// Of the configuration or the database.
pub async fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    match command {
        Command::Show { format } => {
            let rows = desk.rows(HOLD_SHOW, &[]).await?;
            output::print(format, &rows, &["held_at", "deliveries", "events", "reason"])
        }
        Command::Start { older_than } => {
            let age = format!("{} milliseconds", older_than.as_millis());
            let held = desk.row(HOLD_START, &[Some(&age)]).await?;
            let count = |name| held.get(name).and_then(Value::as_i64).unwrap_or_default();
            eprintln!("held: {} deliveries, {} events", count("deliveries"), count("events"));
            Ok(())
        }
        Command::Release => {
            eprintln!("released: {}", desk.value(HOLD_RELEASE, &[]).await?);
            Ok(())
        }
        Command::Cancel => {
            eprintln!("cancelled: {}", desk.value(HOLD_CANCEL, &[]).await?);
            Ok(())
        }
    }
}
