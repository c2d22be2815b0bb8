//! What an endpoint is made of, as options, and whether the daemon would take it.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use serde_json::{Map, Value, json};

use crate::config::{Config, Listen, duration};
use crate::endpoint::{EndpointRow, Endpoints, Rules};
use crate::guard::Policy;

/// The options that `add` and `update` share.
#[derive(Debug, clap::Args)]
pub struct Definition {
    /// Unique name, the metrics label: letters, digits and . _ - [default: the id]
    #[arg(long, value_parser = slug)]
    name: Option<String>,
    /// Event types it receives, separated by commas: types, *, or a prefix such as payout.*
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    events: Option<Vec<String>>,
    /// Only events of this tenant [default: of every tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// The wire contract: body, headers, signature [default: standard]
    #[arg(long)]
    profile: Option<String>,
    /// Only live events, or only test events [default: both]
    #[arg(long)]
    live: Option<bool>,
    /// Static header 'Name: value'; repeatable, all of them together replace those there were
    #[arg(long = "header", value_name = "HEADER", value_parser = Header)]
    headers: Vec<(String, String)>,
    /// Limit of a whole request, per attempt [default: delivery.timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Retry schedule, such as '5s 5m 1hx3' [default: delivery.retry]
    #[arg(long, value_name = "SCHEDULE")]
    retry: Option<String>,
    /// Statuses that count as success, such as '2xx' or '200-204 409' [default: the profile's]
    #[arg(long, value_name = "STATUSES")]
    success: Option<String>,
    /// Requests at once [default: delivery.max_in_flight_per_endpoint]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    max_in_flight: Option<i32>,
    /// Most requests a second [default: no limit]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Deliver the events of one key in the order of their insertion [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ordered: Option<bool>,
    /// For people
    #[arg(long)]
    description: Option<String>,
}

/// What `update` can set back to its default.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Unset {
    /// Of every tenant
    Tenant,
    /// Live and test events
    Live,
    /// None
    Headers,
    /// As delivery.timeout
    Timeout,
    /// As delivery.retry
    Retry,
    /// As the profile has it
    Success,
    /// As delivery.max_in_flight_per_endpoint
    MaxInFlight,
    /// No limit
    Rate,
    /// In no order
    Ordered,
    /// None
    Description,
}

impl Definition {
    /// The columns of `outbox.endpoints` that are given, with their values.
    pub fn columns(&self) -> Map<String, Value> {
        let headers = || self.headers.iter().map(|(name, value)| (name.clone(), json!(value)));
        let columns = [
            ("name", self.name.as_ref().map(|name| json!(name))),
            ("events", self.events.as_ref().map(|events| json!(events))),
            ("tenant", self.tenant.as_ref().map(|tenant| json!(tenant))),
            ("profile", self.profile.as_ref().map(|profile| json!(profile))),
            ("live", self.live.map(|live| json!(live))),
            ("headers", (!self.headers.is_empty()).then(|| headers().collect())),
            ("timeout", self.timeout.map(|timeout| json!(format!("{}ms", timeout.as_millis())))),
            ("retry", self.retry.as_ref().map(|retry| json!(retry))),
            ("success", self.success.as_ref().map(|success| json!(success))),
            ("max_in_flight", self.max_in_flight.map(|most| json!(most))),
            ("rate_per_second", self.rate.map(|rate| json!(rate))),
            ("ordered", self.ordered.map(|ordered| json!(ordered))),
            ("description", self.description.as_ref().map(|text| json!(text))),
        ];
        let given = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
        columns.into_iter().filter_map(given).collect()
    }
}

impl Unset {
    /// The column and its default.
    pub fn column(self) -> (String, Value) {
        let (name, value) = match self {
            Self::Tenant => ("tenant", Value::Null),
            Self::Live => ("live", Value::Null),
            Self::Headers => ("headers", json!({})),
            Self::Timeout => ("timeout", Value::Null),
            Self::Retry => ("retry", Value::Null),
            Self::Success => ("success", Value::Null),
            Self::MaxInFlight => ("max_in_flight", Value::Null),
            Self::Rate => ("rate_per_second", Value::Null),
            Self::Ordered => ("ordered", json!(false)),
            Self::Description => ("description", Value::Null),
        };
        (name.to_owned(), value)
    }
}

/// Judges an endpoint with these columns as the daemon will, before it is written. What is missing
/// has its default; without a secret, that is assumed to be right.
///
/// # Errors
/// The reason that would else be in `state_reason`.
pub fn check(
    columns: &Map<String, Value>,
    secret: Option<&str>,
    config: &Config,
) -> Result<(), String> {
    let text = |name: &str| columns.get(name).and_then(Value::as_str);
    let patterns = columns.get("events").and_then(Value::as_array);
    let pattern = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let timeout = text("timeout").map(duration::parse).transpose();
    let timeout = timeout.map_err(|reason| format!("timeout: {reason}"))?;
    let in_micros = |timeout: Duration| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
    let secrets = secret.iter().map(|secret| ((*secret).to_owned(), None::<Instant>)).collect();
    let row = EndpointRow {
        url: text("url").unwrap_or_default().to_owned(),
        events: patterns.map_or(vec!["*".to_owned()], |all| all.iter().map(pattern).collect()),
        profile: text("profile").unwrap_or("standard").to_owned(),
        headers: columns.get("headers").map_or("{}".to_owned(), Value::to_string),
        timeout_us: timeout.map(in_micros),
        retry: text("retry").map(str::to_owned),
        success: text("success").map(str::to_owned),
        ordered: columns.get("ordered") == Some(&json!(true)),
        state: "active".to_owned(),
        secrets,
        ..EndpointRow::default()
    };
    let rules = Rules { policy: &policy(config), profiles: &config.profiles };
    let (_, judged) = Endpoints::build(0, std::slice::from_ref(&row), rules);
    if let Some((_, reason)) = judged.invalid.into_iter().next() {
        return Err(reason);
    }
    secret.map_or(Ok(()), |secret| check_secret(columns, secret, config))
}

/// Whether the profile that is among these columns signs anything.
pub fn needs_secret(columns: &Map<String, Value>, config: &Config) -> bool {
    let name = columns.get("profile").and_then(Value::as_str).unwrap_or("standard");
    config.profiles.named(name).is_ok_and(|profile| profile.needs_secret())
}

/// Judges whether the profile that is among these columns can use a secret.
///
/// # Errors
/// The reason, which does not quote the secret.
pub fn check_secret(
    columns: &Map<String, Value>,
    secret: &str,
    config: &Config,
) -> Result<(), String> {
    let name = columns.get("profile").and_then(Value::as_str).unwrap_or("standard");
    // One that this configuration does not know is for the daemon to judge.
    let Ok(profile) = config.profiles.named(name) else { return Ok(()) };
    profile.require_use_of(secret).map_err(|error| format!("secret: {error}"))?;
    let keys = profile.keys(&[(secret.to_owned(), None)]);
    keys.map(drop).map_err(|error| format!("secret: {error}"))
}

/// The address policy as far as it can be known here; the daemon, which knows all of its own
/// addresses and what names resolve to, has the last word.
fn policy(config: &Config) -> Policy {
    let admin = match config.admin.listen {
        Listen::Tcp(address) if address.port() != 0 => Some(address),
        _ => None,
    };
    let literal =
        |(host, port): (String, u16)| Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, port));
    let database = config.database.url.hosts().into_iter().filter_map(literal);
    Policy {
        allow: config.delivery.allow.clone(),
        https_only: config.delivery.https_only,
        own: admin.into_iter().chain(database).collect(),
    }
}

fn slug(text: &str) -> Result<String, &'static str> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let starts_well = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts_well && text.len() <= 100 && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 100 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
    }
}

/// Reads a header. What is none is not repeated: it may be a value, and those are secrets.
#[derive(Clone)]
struct Header;

impl TypedValueParser for Header {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        text: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let Some((name, value)) = text.to_str().and_then(|text| text.split_once(':')) else {
            let error = "a value of --header is not written as 'Name: value'\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, error).with_cmd(command));
        };
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= 1_000_000.0);
    rate.ok_or("a rate is a number above 0 and at most 1000000")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::config::{Sources, load};

    fn columns(args: &[&str]) -> Map<String, Value> {
        let command = Definition::augment_args(clap::Command::new("add").no_binary_name(true));
        let matches = command.try_get_matches_from(args).unwrap_or_else(|error| panic!("{error}"));
        Definition::from_arg_matches(&matches).expect("the options").columns()
    }

    fn verdict(url: &str, args: &[&str], settings: &[(&str, &str)]) -> Result<(), String> {
        let mut env = BTreeMap::from([("DATABASE_URL", "postgres://app@9.9.9.9:5432/shop")]);
        env.extend(settings.iter().copied());
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sources = Sources { env: env.collect(), ..Sources::default() };
        let loaded = load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        let mut columns = columns(args);
        columns.insert("url".to_owned(), json!(url));
        check(&columns, None, &loaded.config)
    }

    #[test]
    fn only_what_is_given_becomes_a_column() {
        assert!(columns(&[]).is_empty());
        let given = columns(&[
            "--events=a.b,c.*",
            "--live=false",
            "--header=X-A: b:c",
            "--header=X-D:",
            "--timeout=1m 30s",
            "--rate=0.5",
        ]);
        let expected = json!({
            "events": ["a.b", "c.*"], "live": false, "headers": {"X-A": "b:c", "X-D": ""},
            "timeout": "90000ms", "rate_per_second": 0.5,
        });
        assert_eq!(Value::Object(given), expected);
    }

    #[test]
    fn what_the_daemon_would_not_take_is_refused_with_its_reason() {
        const URL: &str = "https://example.com/hooks";
        assert_eq!(verdict(URL, &[], &[]), Ok(()));
        for (url, args, reason) in [
            ("ftp://example.com", &[][..], "url: the scheme"),
            ("http://10.0.0.5/", &[], "delivery.allow"),
            ("http://127.0.0.1:9464/", &[], "belongs to outboxd"),
            ("http://9.9.9.9:5432/", &[], "belongs to outboxd"),
            (URL, &["--events=a*"], "events: a *"),
            (URL, &["--header=Host: x"], "headers: this header steers"),
            (URL, &["--retry=soon"], "retry: `soon`"),
            (URL, &["--timeout=10m"], "timeout: must be"),
            (URL, &["--profile=none"], "profile: there is no"),
        ] {
            let refusal = verdict(url, args, &[]).expect_err(reason);
            assert!(refusal.contains(reason), "{refusal}");
        }
    }

    #[test]
    fn the_configuration_decides_about_addresses() {
        let allow = ("OUTBOXD_DELIVERY__ALLOW", "10.0.0.0/8");
        assert_eq!(verdict("http://10.0.0.5/", &[], &[allow]), Ok(()));
        let https_only = ("OUTBOXD_DELIVERY__HTTPS_ONLY", "true");
        assert!(verdict("http://example.com/", &[], &[https_only]).is_err());
    }

    #[test]
    fn names_and_rates_have_the_bounds_of_the_schema() {
        assert!(slug("acme-crm.2_x").is_ok());
        for bad in ["", "-a", "a b", "ä", &"a".repeat(101)] {
            assert!(slug(bad).is_err(), "{bad}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for bad in ["0", "-1", "NaN", "inf", "1e7", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
