//! `outboxd migrate`: the schema.

use super::Global;
use super::failure::Failure;
use crate::store::migrate::{SCHEMA_VERSION, SchemaState, script};

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the SQL for an administrator to run, instead of running it
    #[arg(long)]
    print: bool,
}

/// Applies what is missing, or prints all of it.
///
/// # Errors
/// Of the configuration or the database.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    if args.print {
        print!("{}", script());
        return Ok(());
    }
    let (_, store) = global.database()?;
    let target = store.target();
    let applied = store.migrate().await.map_err(|error| Failure::database(&target, &error))?;
    for migration in &applied {
        eprintln!("applied {:04}_{}", migration.version, migration.name);
    }
    let failed = |error| Failure::database(&target, &error);
    let version = match store.schema_state().await.map_err(failed)? {
        SchemaState::Expanded(version) => {
            format!(
                "version {version}, newer than the {SCHEMA_VERSION} of this outboxd, which works with it"
            )
        }
        _ => format!("version {SCHEMA_VERSION}"),
    };
    let news = if applied.is_empty() { "is up to date" } else { "is now up to date" };
    eprintln!("{target}: the schema {news} ({version})");
    for daemon in store.older_daemons().await.map_err(failed)? {
        eprintln!("still running an older version, which goes on working: {daemon}");
    }
    if !applied.is_empty() {
        eprintln!(
            "next: GRANT outbox_daemon TO the user of the daemon, and outbox_producer to the"
        );
        eprintln!("application's; then: outboxd doctor");
    }
    Ok(())
}
