//! `outboxd demo`: see it work.

use std::io::{self, BufRead, IsTerminal};

use clap::builder::RangedU64ValueParser;
use clap::value_parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Global;
use super::failure::{Code, Failure};
use crate::config::{Config, Loaded, Log, Origin};
use crate::daemon::DaemonError;
use crate::demo::board::{self, Screen};
use crate::demo::place::Place;
use crate::demo::{self, DemoError, TENANT, summary};
use crate::log;
use crate::store::Store;
use crate::store::demo::Neighbours;
use crate::store::migrate::SchemaState;

/// Without other wishes it takes half a minute.
const EVENTS: u64 = 300;
/// The failing deliveries are what the table shows.
const QUIET: &str = "warn,outboxd::deliver=error";
/// The variables that name a database, or a file that may.
const NAMING: [&str; 4] =
    ["DATABASE_URL", "OUTBOXD_DATABASE__URL", "OUTBOXD_DATABASE__URL_FILE", "OUTBOXD_CONFIG"];

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until Ctrl-C
    #[arg(long, conflicts_with = "events")]
    forever: bool,
    /// Use the database of DATABASE_URL or --config without asking
    #[arg(long)]
    yes: bool,
    /// How many events to insert
    #[arg(long, value_name = "N", default_value_t = EVENTS, value_parser = at_least_one())]
    events: u64,
    /// Show the daemon's log
    #[arg(short, long)]
    verbose: bool,
}

fn at_least_one() -> RangedU64ValueParser {
    value_parser!(u64).range(1..)
}

/// Runs the demonstration.
///
/// # Errors
/// When it cannot run, or did not show what it should.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let named = named_database(global)?;
    if let Some(config) = &named {
        admit(config, args.yes).await?;
    }
    // Only now: whoever is asked may still end the process as usual.
    let stop = stop_on_signals().map_err(|error| Failure::failed(error.to_string()))?;
    let place = match named {
        Some(config) => Ok(Place::named(config)),
        None => Place::throwaway(flags(global)).await,
    };
    let outcome = match place {
        Ok(_) if stop.is_cancelled() => Ok(true),
        Ok(place) => show(place, &args, &stop).await,
        Err(error) => Err(error),
    };
    match outcome {
        // Ctrl-C reaches initdb too: what fails then is no failure.
        Err(_) if stop.is_cancelled() => Ok(()),
        Err(DemoError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failure(error)),
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::failed("the demonstration failed; see above")),
    }
}

async fn show(mut place: Place, args: &Args, stop: &CancellationToken) -> Result<bool, DemoError> {
    let level = if args.verbose { "info" } else { QUIET };
    place.config.log = Log { level: level.to_owned(), ..place.config.log };
    log::start(&place.config.log);
    let mut screen = Screen::of_stdout(args.verbose);
    let events = (!args.forever).then_some(args.events);
    let report = demo::run(&place, events, &mut screen, stop).await?;
    board::write(&report.summary())?;
    if place.is_throwaway() {
        board::write(&summary::next_steps())?;
    }
    Ok(report.is_success())
}

/// The configuration, if it names a database. A default, or what happens to be configured on this
/// machine for the daemon, is no wish to have a demonstration there.
fn named_database(global: &Global) -> Result<Option<Config>, Failure> {
    let names = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if global.config.is_none() && !NAMING.iter().any(|name| names(name)) {
        return Ok(None);
    }
    let Loaded { config, settings, warnings, .. } = global.load()?;
    for warning in &warnings {
        eprintln!("outboxd: {warning}");
    }
    let url = settings.iter().find(|setting| setting.key == "database.url");
    let named = url.is_some_and(|setting| setting.origin != Origin::Default);
    Ok(named.then_some(config))
}

fn flags(global: &Global) -> Vec<(String, String, String)> {
    let flag = |(key, value): &(String, String)| (key.clone(), value.clone(), "--set".to_owned());
    global.set.iter().map(flag).collect()
}

/// Says what will be done to a database that is not ours, and asks.
async fn admit(config: &Config, yes: bool) -> Result<(), Failure> {
    let target = config.database.url.target();
    let failed = |error| Failure::database(&target, &error);
    let store = Store::new(&config.database.url, 1).map_err(failed)?;
    let state = store.schema_state().await.map_err(failed)?;
    let neighbours = match state {
        SchemaState::Missing => Neighbours::default(),
        _ => store.neighbours(TENANT).await.map_err(failed)?,
    };
    refuse(&target, &neighbours, yes)?;
    if config.delivery.https_only {
        return Err(Failure::usage(
            "delivery.https_only refuses the receivers of the demo, which have no certificates; \
             turn it off for the demo with: --set delivery.https_only=false",
        ));
    }
    let schema = match state {
        SchemaState::Missing => "create the schema outbox, which stays",
        _ => "use the schema outbox that is there, brought up to date where it is older",
    };
    let others = match neighbours.endpoints {
        0 => String::new(),
        count => format!(", and what waits there for other endpoints ({count})"),
    };
    eprintln!(
        "The demo will use the database {target}. It will\n\
         - {schema};\n\
         - create the endpoints demo-healthy, demo-flaky and demo-dead of the tenant {TENANT},\n  \
           and remove them at the end;\n\
         - insert sample events of that tenant, which stay until retention.events has passed;\n\
         - run a daemon that delivers them{others}."
    );
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "the demo asks before it uses a database; without a terminal, say --yes, or unset \
             DATABASE_URL for a throwaway one",
        ));
    }
    eprint!("Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(error.to_string()))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done; unset DATABASE_URL for a throwaway database")),
    }
}

/// What `--yes` cannot change comes first.
fn refuse(target: &str, neighbours: &Neighbours, yes: bool) -> Result<(), Failure> {
    let instead = "use another database, or unset DATABASE_URL for a throwaway one";
    if neighbours.daemons > 0 {
        return Err(Failure::failed(format!(
            "a daemon works on {target}: it would take the demo's events, which it may not \
             deliver to receivers on this machine; {instead}"
        )));
    }
    if let Some(names) = &neighbours.catch_all {
        return Err(Failure::failed(format!(
            "{target} has endpoints for events of every tenant, which would receive the demo's \
             too ({names}); {instead}"
        )));
    }
    if neighbours.endpoints > 0 && !yes {
        return Err(Failure::failed(format!(
            "{target} has endpoints of its own ({}). They receive none of the demo's events, but \
             the demo's daemon delivers what waits for them; say --yes if it may, or {instead}",
            neighbours.endpoints
        )));
    }
    Ok(())
}

fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

fn failure(error: DemoError) -> Failure {
    let code = match error {
        DemoError::Database(..) | DemoError::Daemon(DaemonError::Database { .. }) => Code::Database,
        DemoError::Configuration(_) | DemoError::Connection(_) => Code::Configuration,
        _ => Code::Failed,
    };
    Failure { code, message: error.to_string() }
}
