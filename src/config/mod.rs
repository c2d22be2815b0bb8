//! The configuration: keys, where their values come from, and what they may be.
//!
//! [`load`] reads the layers (built in, file, environment, flags) and judges all of them at
//! once: the result is a checked [`Config`] with the origin of every value, or [`Problems`]
//! with everything that is wrong. Environment and flags come in as values, so the result
//! depends on nothing but [`Sources`] and the files they name. A new key starts in `keys.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::guard::AllowRule;
use crate::profile::Profiles;
use crate::retry::Schedule;

mod admin;
mod check;
pub mod connection;
mod conninfo;
pub mod duration;
mod files;
#[cfg(test)]
mod fixture;
pub mod keys;
mod keywords;
mod layers;
mod passfile;
pub mod problem;
mod sealing;
mod secrets;
mod sections;
mod session;
mod size;
mod toml_file;
mod token;
mod values;

pub use admin::{Admin, Listen};
pub use connection::{ConnectionError, ConnectionString, RootCert, SslMode, Tls};
pub use keys::{KEYS, Key};
pub use problem::{Origin, Problem, Problems};
pub use sealing::{Secrets, Storage};
pub use token::Token;

/// How much longer than a whole request a lease must be: the time to record the outcome before
/// another instance may take the delivery for abandoned.
pub const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database: Database,
    /// The admin listener.
    pub admin: Admin,
    /// Signing secrets at rest.
    pub secrets: Secrets,
    /// Sending.
    pub delivery: Delivery,
    /// What is asked of events.
    pub events: Events,
    /// How long finished work is kept.
    pub retention: Retention,
    /// Stopping.
    pub shutdown: Shutdown,
    /// The metrics.
    pub metrics: Metrics,
    /// The log.
    pub log: Log,
    /// The wire profiles, those of the file besides those built in.
    pub profiles: Profiles,
}

/// `database.*`
#[derive(Clone, Debug)]
pub struct Database {
    /// How to reach it.
    pub url: ConnectionString,
    /// Connections in the pool, besides one for wake-ups.
    pub pool_size: usize,
}

/// `delivery.*`
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Time limit of a whole request, per attempt.
    pub timeout: Duration,
    /// Time limit of connecting, at most `timeout`.
    pub connect_timeout: Duration,
    /// Delays after each failed attempt.
    pub retry: Schedule,
    /// Multiplies every delay; more than 0.
    pub retry_scale: f64,
    /// Requests at once, whole daemon.
    pub max_in_flight: usize,
    /// Requests at once per endpoint, at most `max_in_flight`.
    pub max_in_flight_per_endpoint: usize,
    /// Networks exempt from the private-network refusal.
    pub allow: Vec<AllowRule>,
    /// Whether endpoints without TLS are refused.
    pub https_only: bool,
    /// After which another instance may retry an unfinished delivery; more than `timeout` and
    /// [`LEASE_MARGIN`].
    pub lease: Duration,
    /// After which an endpoint that takes nothing is paused; `None`: never.
    pub pause_after: Option<Duration>,
    /// What is older is held where the database is a restored backup; `None`: nothing is.
    pub hold_after_restore: Option<Duration>,
    /// A PEM file of further roots to verify receivers with.
    pub ca_file: Option<PathBuf>,
}

/// `events.*`
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// What becomes of events that do not match the schema of their type.
    pub validate: Validate,
}

/// What becomes of events that do not match the schema of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validate {
    /// Nobody looks.
    Off,
    /// They are counted and delivered.
    Warn,
    /// They are held back in quarantine.
    Reject,
}

impl fmt::Display for Validate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Validate::Off => "off",
            Validate::Warn => "warn",
            Validate::Reject => "reject",
        })
    }
}

/// `retention.*`
#[derive(Clone, Debug)]
pub struct Retention {
    /// How long finished events are kept.
    pub events: Duration,
    /// How long the history of attempts is kept.
    pub attempts: Duration,
    /// Bytes on the disk above which what has ended goes before its time; `None`: no limit.
    pub max_bytes: Option<u64>,
}

/// `shutdown.*`
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long requests in flight may take to end; may be zero.
    pub grace: Duration,
}

/// `metrics.*`
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// Endpoints that have a label of their own.
    pub max_endpoints: usize,
}

/// `log.*`
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Directives for a tracing `EnvFilter`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, the journal's own under systemd, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
    /// Fields, over the socket of systemd's journal.
    Journald,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
            LogFormat::Journald => "journald",
        })
    }
}

/// What a configuration is loaded from. Not `Debug`: the environment holds secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`, which must exist. Without it `OUTBOXD_CONFIG` in `env` counts.
    pub file: Option<PathBuf>,
    /// The file to read when none is named; it may be absent.
    pub default_file: PathBuf,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Flags: key, value, and the flag as typed (`--database-url`), the last one wins.
    pub flags: Vec<(String, String, String)>,
}

/// A configuration with the story of every value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// Every key there is, in the order of [`KEYS`].
    pub settings: Vec<Setting>,
    /// What a person should know and that stops nothing, one line each.
    pub warnings: Vec<String>,
    /// What the daemon cannot run with, and commands that manage can.
    pub unready: Vec<Problem>,
}

impl Loaded {
    /// Refuses what the daemon cannot run with.
    ///
    /// # Errors
    /// All of it.
    pub fn require_ready(self) -> Result<Self, Problems> {
        if self.unready.is_empty() { Ok(self) } else { Err(Problems(self.unready)) }
    }
}

/// One key, for `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted name.
    pub key: &'static str,
    /// The value as a person would write it, secrets masked; `none` when unset.
    pub value: String,
    /// The built-in value, written the same way.
    pub default: &'static str,
    /// Where the value came from.
    pub origin: Origin,
    /// One line on what the key does.
    pub meaning: &'static str,
    /// Whether a running daemon takes a new value on SIGHUP.
    pub reload: bool,
}

/// A setting whose value is not what it was.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// As it was.
    pub before: &'a Setting,
    /// As it is now; `after.reload` says whether that takes effect without a restart.
    pub after: &'a Setting,
}

/// Reads every layer and judges it.
///
/// # Errors
/// Everything that is wrong, never only the first thing. Only a file that is missing or is no
/// TOML hides what values are wrong besides.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    match layers::Layers::gather(sources, &mut problems) {
        Some(layers) => check::check(&layers, &sources.env, problems),
        None => Err(Problems(problems)),
    }
}

/// The wire profiles of a configuration, whatever else is wrong with it: they can be looked at where
/// there is no database.
///
/// # Errors
/// What is wrong with the profiles, or that the file cannot be read.
pub fn profiles(sources: &Sources) -> Result<Profiles, Problems> {
    let mut problems = Vec::new();
    let layers = layers::Layers::gather(sources, &mut problems);
    if layers.is_some() {
        problems.retain(|problem| problem.key.starts_with("profile"));
    }
    match layers {
        Some(layers) if problems.is_empty() => Ok(layers.profiles),
        _ => Err(Problems(problems)),
    }
}

/// Where the daemon of a configuration listens, whatever else is wrong with it: who asks how it is
/// need not be able to do its work.
///
/// # Errors
/// What is wrong with that key, or that the file cannot be read.
pub fn listen(sources: &Sources) -> Result<Listen, Problems> {
    let mut problems = Vec::new();
    match layers::Layers::gather(sources, &mut problems) {
        Some(layers) => check::listen(&layers, &sources.env),
        None => Err(Problems(problems)),
    }
}

/// The settings that differ, secrets included, in the order of [`KEYS`].
pub fn changed<'a>(old: &'a Loaded, new: &'a Loaded) -> Vec<Change<'a>> {
    // A masked value looks the same whatever it is, so secrets are compared where they are.
    let secret_differs = |key: &str| match key {
        "database.url" => old.config.database.url != new.config.database.url,
        "admin.token" => old.config.admin.tokens != new.config.admin.tokens,
        "secrets.master_key" => {
            !old.config.secrets.keyring.ids().eq(new.config.secrets.keyring.ids())
        }
        _ => false,
    };
    old.settings
        .iter()
        .zip(&new.settings)
        .filter(|(before, after)| before.value != after.value || secret_differs(after.key))
        .map(|(before, after)| Change { before, after })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::fixture::{Directory, sources};
    use super::*;

    fn loaded(file: &str) -> Loaded {
        let directory = Directory::new();
        let mut sources = sources(&[("DATABASE_URL", "postgres://app:hunter2@db/shop")]);
        sources.file = Some(directory.file("outboxd.toml", file));
        load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn reload_sees_what_changed_and_which_of_it_needs_a_restart() {
        let old = loaded("delivery.timeout = '10s'\nadmin.token = 'one'");
        let new = loaded("delivery.timeout = '20s'\nadmin.token = 'two'\nlog.format = 'json'");
        let changes: Vec<_> = changed(&old, &new)
            .iter()
            .map(|change| {
                let (before, after) = (change.before.value.as_str(), change.after.value.as_str());
                (change.after.key, before, after, change.after.reload)
            })
            .collect();
        assert_eq!(
            changes,
            [
                ("admin.token", "***", "***", true),
                ("delivery.timeout", "10s", "20s", true),
                ("log.format", "auto", "json", false),
            ]
        );
    }

    #[test]
    fn the_same_value_written_otherwise_or_elsewhere_is_no_change() {
        let old = loaded("delivery.timeout = '15s'\nretention.events = '30d'");
        let new = loaded("retention.events = '720h'\ndelivery.retry = 'default'");
        assert!(changed(&old, &new).is_empty());
    }

    #[test]
    fn no_secret_is_shown_anywhere() {
        let shown = format!("{:?}", loaded("admin.token = 'hunter2'"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("app:***@db"), "{shown}");
    }
}
