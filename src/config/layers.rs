//! The layers of a configuration, lowest first: built in, file, environment, flags. Here each
//! value gets its origin and each unknown key is found; the `config` crate merges the layers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use config::{Environment, Source, Value, ValueKind};

use super::files::read_text;
use super::keys::{self, KEYS};
use super::keywords::given;
use super::problem::{MASK, Origin, Problem};
use super::{Sources, toml_file, values};
use crate::profile::Profiles;

const CONFIG_VARIABLE: &str = "OUTBOXD_CONFIG";
const LOG_VARIABLE: &str = "OUTBOXD_LOG";
/// Variables that are no keys: read here, or secrets that single commands read.
const OTHER_VARIABLES: [&str; 4] =
    [CONFIG_VARIABLE, LOG_VARIABLE, "OUTBOXD_ENDPOINT_SECRET", "OUTBOXD_SECRET"];

/// All layers, merged.
pub(super) struct Layers {
    merged: config::Config,
    /// Where each layer, lowest first, has the value of a key from.
    origins: Vec<BTreeMap<&'static str, Origin>>,
    /// The wire profiles of the file.
    pub(super) profiles: Profiles,
}

/// The value of a key in the highest layer that has one.
pub(super) struct Found {
    pub value: ValueKind,
    pub origin: Origin,
    /// The layer, a higher number for a higher one.
    pub layer: usize,
}

impl Layers {
    /// Reads all layers. Everything wrong with a layer as such goes to `problems`.
    ///
    /// `None`: the file is missing or broken, so that judging values would only add guesses.
    pub(super) fn gather(sources: &Sources, problems: &mut Vec<Problem>) -> Option<Layers> {
        let mut builtin = Layer::default();
        for key in &KEYS {
            // A default of `none` describes an empty list and is not a value.
            if let Some(default) = key.default.filter(|default| *default != values::NONE) {
                builtin.add(key.name, default.into(), Origin::Default);
            }
        }
        let (file, profiles) = file_layer(sources, problems)?;
        let environment = environment_layer(&sources.env, problems);
        let flags = flag_layer(&sources.flags, problems);
        let layers = [builtin, file, environment, flags];
        let origins = layers.iter().map(|layer| layer.origins.clone()).collect();
        let builder = layers
            .into_iter()
            .fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
        match builder.build() {
            Ok(merged) => Some(Layers { merged, origins, profiles }),
            Err(error) => {
                let reason = error.to_string();
                let (key, value, origin) = (String::new(), None, Origin::Default);
                problems.push(Problem { key, value, reason, origin });
                None
            }
        }
    }

    /// The value that counts, `None` when no layer has one.
    pub(super) fn find(&self, key: &str) -> Option<Found> {
        let value = self.merged.get::<Value>(key).ok()?.kind;
        let mut layers = self.origins.iter().enumerate().rev();
        let (layer, origin) =
            layers.find_map(|(layer, origins)| Some((layer, origins.get(key)?)))?;
        Some(Found { value, origin: origin.clone(), layer })
    }
}

/// The known keys of one layer.
#[derive(Clone, Default)]
pub(super) struct Layer {
    values: BTreeMap<&'static str, ValueKind>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Layer {
    pub(super) fn add(&mut self, key: &'static str, value: ValueKind, origin: Origin) {
        self.values.insert(key, value);
        self.origins.insert(key, origin);
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.values.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, config::ConfigError> {
        let one = |(key, value): (&&str, &ValueKind)| {
            ((*key).to_owned(), Value::new(None, value.clone()))
        };
        Ok(self.values.iter().map(one).collect())
    }
}

/// The file that `--config` or `OUTBOXD_CONFIG` names, else the default file if it is there.
fn file_layer(sources: &Sources, problems: &mut Vec<Problem>) -> Option<(Layer, Profiles)> {
    let named = match (&sources.file, given(&sources.env, CONFIG_VARIABLE)) {
        (Some(path), _) => Some((path.clone(), Origin::Flag { flag: "--config".to_owned() })),
        (None, Some(path)) => {
            Some((PathBuf::from(path), Origin::Env { name: CONFIG_VARIABLE.to_owned() }))
        }
        (None, None) => None,
    };
    let (path, origin) = named.clone().unwrap_or((sources.default_file.clone(), Origin::Default));
    match read_text(&path) {
        Ok(text) => toml_file::parse(&path, &text, problems),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Some((Layer::default(), Profiles::default()))
        }
        Err(error) => {
            problems.push(Problem {
                key: "configuration file".to_owned(),
                value: Some(format!("{:?}", path.display().to_string())),
                reason: format!("cannot be read: {error}"),
                origin,
            });
            None
        }
    }
}

fn environment_layer(env: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Layer {
    let mut known = HashMap::new();
    let ours = env.iter().filter(|(name, value)| name.starts_with("OUTBOXD_") && !value.is_empty());
    for (name, value) in ours {
        if KEYS.iter().any(|key| keys::variable(key.name) == *name) {
            known.insert(name.clone(), value.clone());
        } else if !is_other(name) {
            let origin = Origin::Env { name: name.clone() };
            let names = KEYS.iter().map(|key| keys::variable(key.name));
            let nearest = keys::closest(name, names);
            problems.push(unknown(name, Some(format!("{value:?}")), origin, nearest.as_deref()));
        }
    }
    let short =
        given(env, LOG_VARIABLE).filter(|_| !known.contains_key(&keys::variable("log.level")));
    let mut layer = Layer::default();
    if let Some(level) = short {
        layer.add("log.level", level.into(), Origin::Env { name: LOG_VARIABLE.to_owned() });
    }
    let names = Environment::with_prefix("OUTBOXD").prefix_separator("_").separator("__");
    let values = names.source(Some(known)).collect().unwrap_or_default();
    for (key, value) in values {
        if let Some(key) = keys::find(&key) {
            layer.add(key.name, value.kind, Origin::Env { name: keys::variable(key.name) });
        }
    }
    layer
}

/// Whether this variable is for something else.
fn is_other(name: &str) -> bool {
    #[cfg(feature = "failpoints")]
    if name == crate::failpoint::VARIABLE {
        return true;
    }
    OTHER_VARIABLES.contains(&name) || is_service_link(name)
}

/// Whether Kubernetes sets this variable for a service that is called `outboxd`.
fn is_service_link(name: &str) -> bool {
    !name.contains("__")
        && (name.starts_with("OUTBOXD_PORT") || name.starts_with("OUTBOXD_SERVICE_"))
}

fn flag_layer(flags: &[(String, String, String)], problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (name, value, flag) in flags {
        let origin = Origin::Flag { flag: flag.clone() };
        match keys::find(name) {
            Some(key) => layer.add(key.name, value.as_str().into(), origin),
            None => {
                let shown = Some(format!("{value:?}"));
                problems.push(unknown(name, shown, origin, keys::nearest(name)));
            }
        }
    }
    layer
}

/// The problem of a name that is no key.
pub(super) fn unknown(
    name: &str,
    shown: Option<String>,
    origin: Origin,
    nearest: Option<&str>,
) -> Problem {
    // The value of a mistyped secret is a secret.
    let mut names = [Some(name), nearest].into_iter().flatten().map(str::to_lowercase);
    let words = ["token", "secret", "pass", "key", "url", "dsn", "database"];
    let secret = names.any(|name| words.iter().any(|word| name.contains(word)));
    let value = if secret { shown.map(|_| MASK.to_owned()) } else { shown };
    let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    Problem { key: name.to_owned(), value, reason: format!("unknown key{hint}"), origin }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, sources};
    use super::super::{Loaded, Problems, load};
    use super::*;

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://app@db/shop");

    fn lines(result: Result<Loaded, Problems>) -> Vec<String> {
        result.expect_err("this is wrong").0.iter().map(Problem::to_string).collect()
    }

    fn timeout(sources: &Sources) -> (String, String) {
        let loaded = load(sources).unwrap_or_else(|problems| panic!("{problems}"));
        let mut settings = loaded.settings.iter();
        let setting = settings.find(|setting| setting.key == "delivery.timeout");
        let setting = setting.expect("every key has a setting");
        (setting.value.clone(), setting.origin.to_string())
    }

    #[test]
    fn each_layer_overrides_the_one_below() {
        let directory = Directory::new();
        let mut sources = sources(&[URL]);
        let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
        assert_eq!(timeout(&sources), pair("15s", "default"));
        sources.default_file = directory.file("default.toml", "delivery.timeout = '10s'");
        let origin = format!("{} line 1", sources.default_file.display());
        assert_eq!(timeout(&sources), pair("10s", &origin));
        let file = directory.file("other.toml", "[delivery]\n# time\ntimeout = '11s'");
        let origin = format!("{} line 3", file.display());
        let mut by_variable = sources.clone();
        by_variable.env.insert("OUTBOXD_CONFIG".to_owned(), file.display().to_string());
        assert_eq!(timeout(&by_variable), pair("11s", &origin));
        sources.file = Some(file);
        assert_eq!(timeout(&sources), pair("11s", &origin));
        sources.env.insert("OUTBOXD_DELIVERY__TIMEOUT".to_owned(), "12s".to_owned());
        assert_eq!(timeout(&sources), pair("12s", "environment OUTBOXD_DELIVERY__TIMEOUT"));
        let [key, value, flag] = ["delivery.timeout", "13s", "--timeout"].map(str::to_owned);
        sources.flags.push((key, value, flag));
        assert_eq!(timeout(&sources), pair("13s", "flag --timeout"));
    }

    #[test]
    fn an_empty_variable_is_no_value() {
        let found = timeout(&sources(&[URL, ("OUTBOXD_DELIVERY__TIMEOUT", "")]));
        assert_eq!(found.1, "default");
    }

    #[test]
    fn every_type_can_come_from_the_environment() {
        let env = [
            URL,
            ("OUTBOXD_DELIVERY__ALLOW", "10.0.0.0/8, ::1/128 127.0.0.1/32:80"),
            ("OUTBOXD_DELIVERY__HTTPS_ONLY", "true"),
            ("OUTBOXD_DELIVERY__RETRY_SCALE", "0.5"),
            ("OUTBOXD_DATABASE__POOL_SIZE", "3"),
            ("OUTBOXD_LOG", "debug"),
        ];
        let config = load(&sources(&env)).unwrap_or_else(|problems| panic!("{problems}")).config;
        assert_eq!(config.delivery.allow.len(), 3);
        assert!(config.delivery.https_only);
        assert_eq!((config.delivery.retry_scale, config.database.pool_size), (0.5, 3));
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_key_that_was_meant() {
        let directory = Directory::new();
        let text = "databse.url = 'x'\n[delivery]\ntimout = '5s'\nretention = 3\n[[log]]\n\
                    [admin]\ntokn = 'hunter2'\nlisten.port = 1";
        let mut sources = sources(&[URL, ("OUTBOXD_DELIVERY_TIMEOUT", "5s")]);
        sources.file = Some(directory.file("c.toml", text));
        let [key, value, flag] = ["delivery.alow", "x", "--alow"].map(str::to_owned);
        sources.flags.push((key, value, flag));
        let found = lines(load(&sources));
        let expected = [
            "databse (",
            "; did you mean database?",
            "line 3): unknown key; did you mean delivery.timeout?",
            "delivery.timout = \"5s\"",
            "delivery.retention = 3",
            "line 4): unknown key",
            "log (",
            "write [log] and its keys below",
            "admin.tokn = ***",
            "did you mean admin.token?",
            "admin.listen (",
            "a table is not expected here",
            "OUTBOXD_DELIVERY_TIMEOUT = \"5s\"",
            "did you mean OUTBOXD_DELIVERY__TIMEOUT?",
            "delivery.alow = \"x\" (flag --alow)",
            "did you mean delivery.allow?",
        ];
        assert_eq!(found.len() * 2, expected.len(), "{found:#?}");
        for (line, parts) in found.iter().zip(expected.chunks(2)) {
            assert!(parts.iter().all(|part| line.contains(part)), "{line} has no {parts:?}");
        }
    }

    #[test]
    fn variables_of_a_kubernetes_service_called_outboxd_are_not_ours() {
        let env = [
            URL,
            ("OUTBOXD_PORT", "tcp://10.0.0.1:9464"),
            ("OUTBOXD_PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("OUTBOXD_SERVICE_HOST", "10.0.0.1"),
        ];
        assert!(load(&sources(&env)).is_ok());
    }

    #[test]
    fn a_named_file_must_be_there_and_the_default_file_need_not() {
        let missing = PathBuf::from("/nowhere/outboxd.toml");
        let mut sources = sources(&[URL]);
        sources.default_file.clone_from(&missing);
        assert!(load(&sources).is_ok());
        sources.env.insert("OUTBOXD_CONFIG".to_owned(), missing.display().to_string());
        let found = lines(load(&sources));
        let start = "configuration file = \"/nowhere/outboxd.toml\" (environment OUTBOXD_CONFIG)";
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
        sources.file = Some(missing);
        assert!(lines(load(&sources))[0].contains("(flag --config): cannot be read: No such file"));
    }
}
