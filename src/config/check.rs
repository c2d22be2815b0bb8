//! From layers to a checked [`Config`]: everything that is wrong is collected on the way.
//! What each key may be stands in `sections.rs`, `secrets.rs` and `sealing.rs`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::ValueKind;

use super::keys::{self, KEYS};
use super::layers::Layers;
use super::problem::{MASK, Origin, Problem, Problems};
use super::values::{self, NONE};
use super::{Config, Listen, Loaded, Setting, duration};

/// Judges everything. `problems` are those of the layers themselves.
pub(super) fn check(
    layers: &Layers,
    env: &BTreeMap<String, String>,
    problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let mut checker = Checker::new(layers, env, problems);
    let database = checker.database();
    let admin = checker.admin();
    let secrets = checker.secrets();
    let delivery = checker.delivery();
    let events = checker.events();
    let retention = checker.retention();
    let shutdown = checker.shutdown();
    let metrics = checker.metrics();
    let log = checker.log();
    let Checker { mut problems, mut warnings, unready, mut settings, .. } = checker;
    let config = || {
        let (database, admin, delivery) = (database?, admin?, delivery?);
        let (secrets, events, retention) = (secrets?, events?, retention?);
        let (shutdown, metrics, log) = (shutdown?, metrics?, log?);
        let profiles = layers.profiles.clone();
        Some(Config {
            database,
            admin,
            secrets,
            delivery,
            events,
            retention,
            shutdown,
            metrics,
            log,
            profiles,
        })
    };
    match config() {
        Some(config) if problems.is_empty() => {
            let setting = |key: &keys::Key| {
                let (value, origin) = settings.remove(key.name)?;
                let default = key.default.unwrap_or(NONE);
                let (key, meaning, reload) = (key.name, key.meaning, key.reload);
                Some(Setting { key, value, default, origin, meaning, reload })
            };
            let settings = KEYS.iter().filter_map(setting).collect();
            warnings.extend_from_slice(config.database.url.warnings());
            Ok(Loaded { config, settings, warnings, unready })
        }
        _ => {
            problems.extend(unready);
            Err(Problems(problems))
        }
    }
}

/// Judges `admin.listen` alone.
pub(super) fn listen(layers: &Layers, env: &BTreeMap<String, String>) -> Result<Listen, Problems> {
    let mut checker = Checker::new(layers, env, Vec::new());
    let listen = checker.read("admin.listen", values::listen, Listen::to_string);
    listen.ok_or(Problems(checker.problems))
}

/// What has been found so far.
pub(super) struct Checker<'a> {
    pub layers: &'a Layers,
    pub env: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    unready: Vec<Problem>,
    settings: BTreeMap<&'static str, (String, Origin)>,
}

impl<'a> Checker<'a> {
    fn new(
        layers: &'a Layers,
        env: &'a BTreeMap<String, String>,
        problems: Vec<Problem>,
    ) -> Checker<'a> {
        let (warnings, unready, settings) = (Vec::new(), Vec::new(), BTreeMap::new());
        Checker { layers, env, problems, warnings, unready, settings }
    }

    /// Reads a key that may be unset. Outside `None`: it is wrong, which has been noted.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&ValueKind) -> Result<T, String>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<Option<T>> {
        let Some(found) = self.layers.find(key) else {
            self.note(key, NONE.to_owned(), Origin::Default);
            return Some(None);
        };
        match parse(&found.value) {
            Ok(value) => {
                self.note(key, show(&value), found.origin);
                Some(Some(value))
            }
            Err(reason) => {
                self.refuse(key, reason);
                None
            }
        }
    }

    /// Reads a key that has a default. `None`: it is wrong, which has been noted.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&ValueKind) -> Result<T, String>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        self.optional(key, parse, show).flatten()
    }

    /// Reads a duration within bounds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let parse = |value: &ValueKind| values::bounded_duration(value, bounds);
        self.read(key, parse, |value| duration::short(*value))
    }

    /// Reads a whole number within bounds.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        bounds: &RangeInclusive<usize>,
    ) -> Option<usize> {
        self.read(key, |value| values::count(value, bounds), usize::to_string)
    }

    /// Notes the value of a key for `config show`.
    pub(super) fn note(&mut self, key: &'static str, value: String, origin: Origin) {
        self.settings.insert(key, (value, origin));
    }

    /// Where the value of a key came from, once it is noted.
    pub(super) fn origin(&self, key: &str) -> Option<&Origin> {
        self.settings.get(key).map(|(_, origin)| origin)
    }

    /// Notes that the value of a key is wrong.
    pub(super) fn refuse(&mut self, key: &'static str, reason: String) {
        let problem = self.judged(key, reason);
        self.problems.push(problem);
    }

    /// Notes that the daemon cannot run with the value of a key, which commands can live with.
    pub(super) fn keep_from_running(&mut self, key: &'static str, reason: String) {
        let problem = self.judged(key, reason);
        self.unready.push(problem);
    }

    fn judged(&self, key: &'static str, reason: String) -> Problem {
        let found = self.layers.find(key);
        let secret = keys::find(key).is_some_and(|key| key.secret);
        let shown = |value: &ValueKind| {
            if secret || holds_no_path(key, value) { MASK.to_owned() } else { values::shown(value) }
        };
        let value = found.as_ref().map(|found| shown(&found.value));
        let origin = found.map_or(Origin::Default, |found| found.origin);
        Problem { key: key.to_owned(), value, reason, origin }
    }

    /// Notes what a person should know and that stops nothing, in one line.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Notes a problem whose value or origin is not that of the layers.
    pub(super) fn problem(
        &mut self,
        key: &'static str,
        value: Option<String>,
        reason: String,
        origin: Origin,
    ) {
        self.problems.push(Problem { key: key.to_owned(), value, reason, origin });
    }
}

/// Whether a key that names a file may have been given what the file should hold.
fn holds_no_path(key: &str, value: &ValueKind) -> bool {
    let is_path = |text: &String| text.starts_with(['/', '.']);
    key.ends_with("_file") && !matches!(value, ValueKind::String(text) if is_path(text))
}
