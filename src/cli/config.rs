//! `outboxd config`: is it right, and where does each value come from.

use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::output::{self, Format, Row};
use crate::config::Setting;

/// `config ...`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check the configuration; silent when it is right but for one line on stderr
    Check {
        /// Print nothing when it is right
        #[arg(long)]
        quiet: bool,
    },
    /// Show every key with its value and where that came from; secrets are masked
    Show {
        /// Only what differs from the default
        #[arg(long)]
        changed: bool,
        #[command(flatten)]
        format: Format,
    },
}

/// Checks or shows.
///
/// # Errors
/// Everything wrong with the configuration.
pub fn run(global: &Global, command: Command) -> Result<(), Failure> {
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        eprintln!("outboxd: {warning}");
    }
    match command {
        Command::Check { quiet } => {
            if !quiet {
                eprintln!("the configuration is right");
            }
            Ok(())
        }
        Command::Show { changed, format } => {
            let wanted =
                |setting: &&Setting| !changed || setting.origin != crate::config::Origin::Default;
            let rows: Vec<Row> = loaded.settings.iter().filter(wanted).map(row).collect();
            output::print(format, &rows, &["key", "value", "origin"])
        }
    }
}

fn row(setting: &Setting) -> Row {
    let mut row = Row::new();
    row.insert("key".into(), json!(setting.key));
    row.insert("value".into(), json!(setting.value));
    row.insert("origin".into(), json!(setting.origin.to_string()));
    row.insert("default".into(), json!(setting.default));
    row.insert("reload".into(), json!(setting.reload));
    row.insert("meaning".into(), json!(setting.meaning));
    row
}
