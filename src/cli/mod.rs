//! The command line: one command, one file.
//!
//! Data goes to stdout, messages to stderr. Exit codes are in [`failure`].

pub mod failure;
pub mod output;

mod bench;
mod checks;
mod config;
mod deliveries;
mod desk;
mod demo;
mod doctor;
mod endpoints;
mod event_types;
mod events;
mod generate;
mod health;
mod hold;
mod listen;
mod migrate;
mod profiles;
mod run;
mod secrets;
mod stats;
mod top;
mod verify;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self as configuration, Config, KEYS, Listen, Loaded, Sources};
use crate::profile::Profiles;
use crate::store::Store;
use failure::Failure;

/// Where the configuration is looked for when nobody says.
const DEFAULT_FILE: &str = "/etc/outboxd/outboxd.toml";

/// Delivers the rows of a Postgres outbox table as signed webhooks.
#[derive(Debug, Parser)]
#[command(name = "outboxd", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Configuration file [default: /etc/outboxd/outboxd.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a configuration key for this run, above every other source; repeatable
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Args),
    /// Create the schema in the database, or bring it up to date
    Migrate(migrate::Args),
    /// See it work: a throwaway database, receivers, the daemon and the sample events
    Demo(demo::Args),
    /// Check the configuration, the database and the surroundings, with the mend of what is wrong
    Doctor(doctor::Args),
    /// Ask the running daemon how it is; exits with 0 when it is well
    Health(health::Args),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Manage endpoints
    #[command(subcommand)]
    Endpoints(endpoints::Command),
    /// See how signing secrets are stored, encrypt them, and set those of tenants
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Look at events, emit one, or decide about those in quarantine
    #[command(subcommand)]
    Events(events::Command),
    /// The catalogue of event types: schemas and examples
    #[command(subcommand)]
    EventTypes(event_types::Command),
    /// Look at deliveries, replay or cancel them
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// See what is held since a backup was restored, and deliver or cancel it
    #[command(subcommand)]
    Hold(hold::Command),
    /// List or show wire profiles: body, headers, signatures, success, retries
    #[command(subcommand)]
    Profiles(profiles::Command),
    /// How deliveries stand, by endpoint
    Stats(stats::Args),
    /// How deliveries stand, live: rates, success, lag, the worst endpoints
    Top(top::Args),
    /// Measure how fast it is here, beside the bare HTTP client
    Bench(bench::Args),
    /// A process of a benchmark
    #[command(subcommand, hide = true)]
    BenchPart(bench::Part),
    /// Check the signature of a captured request, and say which part is wrong
    Verify(verify::Args),
    /// A throwaway receiver that prints and verifies what arrives
    Listen(listen::Args),
    /// Completions for a shell, on stdout
    Completions(generate::CompletionsArgs),
    /// The manual page, on stdout, or those of all commands in a folder
    Man(generate::ManArgs),
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if KEYS.iter().any(|known| known.name == key && known.secret) {
        let file = "a secret does not belong on a command line, where others can see it: use a \
                    file or the environment";
        return Err(file.to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl Global {
    /// Reads the configuration from all its sources.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one report.
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.load_to_manage()?.require_ready().map_err(Failure::configuration)
    }

    /// The same for a command that need not be able to do all that the daemon does.
    fn load_to_manage(&self) -> Result<Loaded, Failure> {
        configuration::load(&self.sources()).map_err(Failure::configuration)
    }

    /// Reads the wire profiles only, which need no database.
    ///
    /// # Errors
    /// Everything that is wrong with them, in one report.
    pub fn profiles(&self) -> Result<Profiles, Failure> {
        configuration::profiles(&self.sources()).map_err(Failure::configuration)
    }

    /// Where the daemon listens, which asking it needs no more than.
    ///
    /// # Errors
    /// What is wrong with `admin.listen`.
    pub fn listen(&self) -> Result<Listen, Failure> {
        configuration::listen(&self.sources()).map_err(Failure::configuration)
    }

    fn sources(&self) -> Sources {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let flag =
            |(key, value): &(String, String)| (key.clone(), value.clone(), format!("--set {key}"));
        Sources {
            file: self.config.clone(),
            default_file: DEFAULT_FILE.into(),
            env,
            flags: self.set.iter().map(flag).collect(),
        }
    }

    /// The configuration and the database that it names, for a command that manages.
    ///
    /// # Errors
    /// Of the configuration, or of the TLS files of the connection string.
    pub fn database(&self) -> Result<(Config, Store), Failure> {
        let loaded = self.load_to_manage()?;
        for warning in &loaded.warnings {
            eprintln!("outboxd: {warning}");
        }
        let Loaded { config, .. } = loaded;
        let store = Store::new(&config.database.url, config.database.pool_size)
            .map_err(|error| Failure::database(&config.database.url.target(), &error))?;
        Ok((config, store))
    }
}

/// Parses the command line, runs the command, and reports.
pub fn main() -> ExitCode {
    // One TLS provider for the whole process; libraries that look for it find this one.
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = Cli::parse();
    if let Command::BenchPart(part) = cli.command {
        return bench::play(part);
    }
    let outcome = runtime().and_then(|runtime| {
        let outcome = runtime.block_on(dispatch(cli));
        // Look-ups that nobody answers keep their threads for long, and nobody waits for them.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.code.into()
        }
    }
}

/// Half of the cores, and at least two where there are two: the database and the receivers' machines are
/// what is waited for, and on a small machine more threads take more from the database beside than they add.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2).max(cores.min(2)))
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(args) => run::run(&global, args).await,
        Command::Migrate(args) => migrate::run(&global, args).await,
        Command::Demo(args) => demo::run(&global, args).await,
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Health(args) => health::run(&global, args).await,
        Command::Config(command) => config::run(&global, command),
        Command::Endpoints(command) => endpoints::run(&global, command).await,
        Command::Secrets(command) => secrets::run(&global, command).await,
        Command::Events(command) => events::run(&global, command).await,
        Command::EventTypes(command) => event_types::run(&global, command).await,
        Command::Deliveries(command) => deliveries::run(&global, command).await,
        Command::Hold(command) => hold::run(&global, command).await,
        Command::Profiles(command) => profiles::run(&global, command),
        Command::Stats(args) => stats::run(&global, args).await,
        Command::Top(args) => top::run(&global, args).await,
        Command::Bench(args) => bench::run(&global, args).await,
        // Played before there is a runtime.
        Command::BenchPart(_) => Ok(()),
        Command::Verify(args) => verify::run(&global, args).await,
        Command::Listen(args) => listen::run(&global, args).await,
        Command::Completions(args) => generate::completions(args, Cli::command()),
        Command::Man(args) => generate::man(args, Cli::command()),
    }
}
