//! The sections of the configuration, key by key: bounds, and what must go together.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;

use super::check::Checker;
use super::files::read_text;
use super::problem::Origin;
use super::values::{self, NONE};
use super::{
    Database, Delivery, Events, LEASE_MARGIN, Log, Metrics, Retention, Shutdown, Validate,
    duration, size,
};
use crate::guard::AllowRule;
use crate::retry::Schedule;

const HOUR: Duration = Duration::from_secs(60 * 60);

const POOL_SIZE: RangeInclusive<usize> = 1..=100;
const MAX_ENDPOINTS: RangeInclusive<usize> = 0..=100_000;
const MAX_IN_FLIGHT: RangeInclusive<usize> = 1..=65_536;
/// From what a receiver on the same host may need, to what still ends within a lease.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
const CONNECT_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(300);
const LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=HOUR;
const RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_650 * 24 * 60 * 60);
/// Of times after which something is done by itself.
const AFTER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_650 * 24 * 60 * 60);
/// No grace at all is a choice: what is in flight is then sent again after the start.
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=HOUR;
const MOST_RETRY_SCALE: f64 = 1_000.0;

/// Less would not hold what comes in within an hour.
const MAX_BYTES: RangeInclusive<u64> = 16 * 1024 * 1024..=1 << 60;

fn max_bytes(value: &ValueKind) -> Result<Option<u64>, String> {
    match value {
        ValueKind::String(text) if text.trim() == NONE => Ok(None),
        ValueKind::I64(0) => Ok(None),
        _ => values::bounded_size(value, &MAX_BYTES).map(Some),
    }
}

/// A duration, or none: never.
fn after(value: &ValueKind) -> Result<Option<Duration>, String> {
    match value {
        ValueKind::String(text) if text.trim() == NONE => Ok(None),
        _ => values::bounded_duration(value, &AFTER).map(Some),
    }
}

/// Each function reads one section; `None`: something in it is wrong, which has been noted.
impl Checker<'_> {
    pub(super) fn database(&mut self) -> Option<Database> {
        let url = self.url();
        let pool_size = self.count("database.pool_size", &POOL_SIZE);
        Some(Database { url: url?, pool_size: pool_size? })
    }

    pub(super) fn delivery(&mut self) -> Option<Delivery> {
        let timeout = self.duration("delivery.timeout", &TIMEOUT);
        let connect_timeout = self.duration("delivery.connect_timeout", &CONNECT_TIMEOUT);
        let retry = self.read("delivery.retry", schedule, Schedule::to_string);
        let retry_scale = self.read(
            "delivery.retry_scale",
            |value| values::factor(value, MOST_RETRY_SCALE),
            f64::to_string,
        );
        let max_in_flight = self.count("delivery.max_in_flight", &MAX_IN_FLIGHT);
        let per_endpoint = self.count("delivery.max_in_flight_per_endpoint", &MAX_IN_FLIGHT);
        let allow = self.optional("delivery.allow", allow_rules, |rules| shown_list(rules));
        let https_only = self.read("delivery.https_only", values::switch, bool::to_string);
        let lease = self.duration("delivery.lease", &LEASE);
        let shown = |after: &Option<Duration>| after.map_or(NONE.to_owned(), duration::short);
        let pause_after = self.read("delivery.pause_after", after, shown);
        let hold_after_restore = self.read("delivery.hold_after_restore", after, shown);
        let ca_file = self.optional("delivery.ca_file", ca_file, |path| path.display().to_string());

        let time = |duration: Duration| duration::short(duration);
        let connect_timeout = self.capped(
            "delivery.connect_timeout",
            connect_timeout,
            "delivery.timeout",
            timeout,
            time,
        );
        let per_endpoint = self.capped(
            "delivery.max_in_flight_per_endpoint",
            per_endpoint,
            "delivery.max_in_flight",
            max_in_flight,
            |count| count.to_string(),
        );
        if let (Some(lease), Some(timeout)) = (lease, timeout)
            && lease <= timeout + LEASE_MARGIN
        {
            let reason = format!(
                "must be longer than {}, which is delivery.timeout ({}) and a margin of {}",
                time(timeout + LEASE_MARGIN),
                self.from("delivery.timeout"),
                time(LEASE_MARGIN)
            );
            self.refuse("delivery.lease", reason);
        }
        if let Some(lease) = lease {
            self.lease_outlasts_profiles(lease);
        }
        Some(Delivery {
            timeout: timeout?,
            connect_timeout: connect_timeout?,
            retry: retry?,
            retry_scale: retry_scale?,
            max_in_flight: max_in_flight?,
            max_in_flight_per_endpoint: per_endpoint?,
            allow: allow?.unwrap_or_default(),
            https_only: https_only?,
            lease: lease?,
            pause_after: pause_after?,
            hold_after_restore: hold_after_restore?,
            ca_file: ca_file?,
        })
    }

    /// The time limit of a profile must leave time to record within the lease, or it would be cut.
    fn lease_outlasts_profiles(&mut self, lease: Duration) {
        let own = self.layers.profiles.all().filter(|(_, built_in)| !built_in);
        let longest = own.filter_map(|(profile, _)| Some((profile.timeout?, &profile.name))).max();
        if let Some((timeout, name)) = longest
            && lease <= timeout + LEASE_MARGIN
        {
            let reason = format!(
                "must be longer than {}, which is the timeout of profile {name} and a margin of {}",
                duration::short(timeout + LEASE_MARGIN),
                duration::short(LEASE_MARGIN)
            );
            self.refuse("delivery.lease", reason);
        }
    }

    /// Keeps a key at or below another one, when both could be read: a value that somebody wrote
    /// is refused, a default gives way, so that a small limit can be set alone.
    fn capped<T: PartialOrd + Copy>(
        &mut self,
        key: &'static str,
        value: Option<T>,
        cap_key: &str,
        cap: Option<T>,
        write: impl Fn(T) -> String,
    ) -> Option<T> {
        let (Some(given), Some(most)) = (value, cap) else {
            return value;
        };
        if given <= most {
            return value;
        }
        if self.from(key) == Origin::Default {
            self.note(key, write(most), Origin::Default);
            return cap;
        }
        let from = self.from(cap_key);
        self.refuse(key, format!("must not be more than {cap_key}, {} ({from})", write(most)));
        None
    }

    /// Where a key has its value from, for messages about another one.
    fn from(&self, key: &str) -> Origin {
        self.layers.find(key).map_or(Origin::Default, |found| found.origin)
    }

    pub(super) fn events(&mut self) -> Option<Events> {
        let validate = self.read("events.validate", values::validate, Validate::to_string);
        Some(Events { validate: validate? })
    }

    pub(super) fn retention(&mut self) -> Option<Retention> {
        let events = self.duration("retention.events", &RETENTION);
        let attempts = self.duration("retention.attempts", &RETENTION);
        let shown = |limit: &Option<u64>| limit.map_or(NONE.to_owned(), size::short);
        let max_bytes = self.optional("retention.max_bytes", max_bytes, shown);
        Some(Retention { events: events?, attempts: attempts?, max_bytes: max_bytes?.flatten() })
    }

    pub(super) fn shutdown(&mut self) -> Option<Shutdown> {
        Some(Shutdown { grace: self.duration("shutdown.grace", &GRACE)? })
    }

    pub(super) fn metrics(&mut self) -> Option<Metrics> {
        Some(Metrics { max_endpoints: self.count("metrics.max_endpoints", &MAX_ENDPOINTS)? })
    }

    pub(super) fn log(&mut self) -> Option<Log> {
        let format = self.read("log.format", values::log_format, |format| format.to_string());
        let level = self.read("log.level", values::log_level, String::clone);
        Some(Log { format: format?, level: level? })
    }
}

fn schedule(value: &ValueKind) -> Result<Schedule, String> {
    Schedule::parse(values::text(value)?).map_err(|error| error.to_string())
}

fn allow_rules(value: &ValueKind) -> Result<Vec<AllowRule>, String> {
    let rule = |item: &str| item.parse::<AllowRule>().map_err(|error| error.to_string());
    values::list(value, ",")?.into_iter().map(rule).collect()
}

pub(super) fn shown_list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    if items.is_empty() { NONE.to_owned() } else { items.join(", ") }
}

/// The file is read again where it is used; here it is only seen to be one.
fn ca_file(value: &ValueKind) -> Result<PathBuf, String> {
    let path = values::path(value)?;
    let text = read_text(&path).map_err(|error| format!("cannot be read: {error}"))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err("holds no PEM certificate".to_owned());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, sources};
    use super::super::keys::KEYS;
    use super::super::{Config, Loaded, Problem, Problems, Sources, load};
    use super::*;

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://app@db/shop");

    fn of_file(text: &str) -> Result<Loaded, Problems> {
        let directory = Directory::new();
        let file = Some(directory.file("outboxd.toml", text));
        load(&Sources { file, ..sources(&[URL]) })
    }

    fn lines(text: &str) -> Vec<String> {
        of_file(text).expect_err(text).0.iter().map(Problem::to_string).collect()
    }

    fn config(text: &str) -> Config {
        of_file(text).unwrap_or_else(|problems| panic!("{text}: {problems}")).config
    }

    #[test]
    fn a_database_url_alone_runs_with_every_default() {
        let loaded = load(&sources(&[URL])).expect("DATABASE_URL is enough");
        let keys: Vec<_> = loaded.settings.iter().map(|setting| setting.key).collect();
        assert_eq!(keys, KEYS.map(|key| key.name));
        for setting in &loaded.settings[1..] {
            assert_eq!(setting.value, setting.default, "{}", setting.key);
            assert_eq!(setting.origin, Origin::Default, "{}", setting.key);
        }
        let delivery = &loaded.config.delivery;
        assert_eq!(delivery.timeout, Duration::from_secs(15));
        assert_eq!(delivery.retry.max_attempts(), Some(10));
        assert!(delivery.allow.is_empty() && delivery.ca_file.is_none());
        assert!(loaded.config.admin.tokens.is_empty());
    }

    #[test]
    fn five_mistakes_are_five_lines() {
        let found = lines(
            "colour = 'red'\n[delivery]\ntimeout = 15\nretry = '5s abc'\n\
             max_in_flight = 'many'\nhttps_only = 1\n",
        );
        assert_eq!(found.len(), 5, "{found:#?}");
        for (line, part) in found.iter().zip([
            "colour = \"red\"",
            "line 3): a duration needs a unit; write a unit, for example \"15s\"",
            "delivery.retry = \"5s abc\"",
            "delivery.max_in_flight = \"many\"",
            "delivery.https_only = 1",
        ]) {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn a_problem_names_key_value_origin_and_reason() {
        let env = [URL, ("OUTBOXD_DELIVERY__TIMEOUT", "abc")];
        assert_eq!(
            load(&sources(&env)).expect_err("abc is no duration").to_string(),
            "delivery.timeout = \"abc\" (environment OUTBOXD_DELIVERY__TIMEOUT): not a duration; \
             write it like 15s, 5m or 1h 30m"
        );
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for (text, part) in [
            ("delivery.timeout = '6m'\ndelivery.lease = '10m'", "must be from 100ms to 5m"),
            ("delivery.timeout = '0s'\ndelivery.connect_timeout = '10ms'", "from 100ms"),
            ("database.pool_size = 0", "from 1 to 100"),
            ("database.pool_size = -1", "from 1 to 100"),
            ("database.pool_size = 99999999999999", "from 1 to 100"),
            ("database.pool_size = 2.5", "not a whole number"),
            ("delivery.retry_scale = 0", "more than 0 and 1000 at most"),
            ("delivery.retry_scale = nan", "more than 0"),
            ("delivery.retry_scale = 1001.0", "1000 at most"),
            ("retention.events = '0s'", "from 1s to 3650d"),
            ("retention.max_bytes = '1MiB'", "from 16MiB to"),
            ("retention.max_bytes = '10'", "write a unit, for example 20GiB"),
            ("retention.max_bytes = 5", "write a unit, for example \"20GiB\""),
            ("shutdown.grace = '2h'", "from 0s to 1h"),
            ("log.level = 'inof'", "write one of off, error"),
            ("log.format = 'xml'", "auto, text, json or journald"),
            ("events.validate = 'strict'", "off, warn or reject"),
            ("events.validate = true", "not a text"),
            ("admin.listen = ':9464'", "IP address and port"),
            ("delivery.allow = ['10.0.0.0/8', 'x']", "\"x\": "),
            ("delivery.ca_file = '/nowhere.pem'", "cannot be read: No such file"),
            ("delivery.ca_file = ''", "leave the key out"),
        ] {
            let found = lines(text);
            assert!(found.len() == 1 && found[0].contains(part), "{text}: {found:#?}");
        }
    }

    #[test]
    fn values_that_do_not_go_together_are_refused_once() {
        for (text, key, part) in [
            ("delivery.timeout = '80s'", "delivery.lease", "longer than 95s"),
            ("delivery.lease = '30s'", "delivery.lease", "longer than 30s"),
            (
                "delivery.lease = '31s'\nprofile.ours.timeout = '20s'",
                "delivery.lease",
                "longer than 35s, which is the timeout of profile ours",
            ),
            (
                "delivery = { timeout = '4s', connect_timeout = '5s' }",
                "delivery.connect_timeout",
                "must not be more than delivery.timeout, 4s (",
            ),
            (
                "delivery.max_in_flight_per_endpoint = 513",
                "delivery.max_in_flight_per_endpoint",
                "delivery.max_in_flight, 512 (default)",
            ),
            ("admin.listen = '0.0.0.0:9464'", "admin.listen", "need admin.token"),
            ("admin.listen = '[::]:9464'", "admin.listen", "need admin.token"),
            (
                "admin = { listen = '0.0.0.0:9464', token = 'hunter2' }",
                "admin.token = ***",
                "fewer than 32 characters",
            ),
        ] {
            let found = lines(text);
            assert!(found.len() == 1 && found[0].starts_with(key), "{text}: {found:#?}");
            assert!(found[0].contains(part), "{text}: {found:#?}");
        }
    }

    #[test]
    fn a_default_gives_way_to_a_smaller_limit() {
        let loaded = of_file("delivery = { timeout = '2s', max_in_flight = 8 }").expect("legal");
        let delivery = &loaded.config.delivery;
        assert_eq!(delivery.connect_timeout, Duration::from_secs(2));
        assert_eq!(delivery.max_in_flight_per_endpoint, 8);
        let key = "delivery.connect_timeout";
        let shown = loaded.settings.iter().find(|setting| setting.key == key);
        assert_eq!(shown.map(|setting| setting.value.as_str()), Some("2s"));
    }

    #[test]
    fn a_relation_is_judged_only_when_both_sides_could_be_read() {
        for text in ["delivery.timeout = 'x'\ndelivery.lease = '1s'", "delivery.lease = 'x'"] {
            assert_eq!(lines(text).len(), 1, "{text}");
        }
        assert_eq!(lines("admin.listen = '0.0.0.0:1'\nadmin.token = 'a,b'").len(), 1);
    }

    #[test]
    fn legal_values_arrive() {
        let config = config(
            "[admin]\nlisten = '[::1]:0'\n[delivery]\nallow = ['10.0.0.0/8', '::1/128']\n\
             retry_scale = 0.0001\nretry = 'hourly-72'\nlease = '31s'\nhttps_only = true\n\
             [log]\nlevel = 'info,outboxd::send=debug'\nformat = 'json'\n\
             [shutdown]\ngrace = '0s'\n",
        );
        assert_eq!(config.delivery.allow.len(), 2);
        assert_eq!(config.delivery.retry_scale, 0.0001);
        assert_eq!(config.delivery.retry.max_attempts(), Some(72));
        assert_eq!(config.admin.listen.to_string(), "[::1]:0");
        assert!(config.delivery.https_only && config.shutdown.grace.is_zero());
        assert_eq!(config.log.level, "info,outboxd::send=debug");
    }
}
