//! Every key there is, in the order people see them. A new key starts here.

/// A key of the configuration, as documentation and `config show` present it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The dotted name.
    pub name: &'static str,
    /// The built-in value as a person would write it; `None`: unset.
    pub default: Option<&'static str>,
    /// One line on what it does.
    pub meaning: &'static str,
    /// Whether a running daemon takes a new value on SIGHUP.
    pub reload: bool,
    /// Whether the value is masked wherever it is shown.
    pub secret: bool,
}

const fn fixed(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default: Some(default), meaning, reload: false, secret: false }
}

const fn live(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default: Some(default), meaning, reload: true, secret: false }
}

const fn unset(name: &'static str, meaning: &'static str) -> Key {
    Key { name, default: None, meaning, reload: false, secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Key {
    Key { name, default: None, meaning, reload: false, secret: true }
}

const fn reloaded(key: Key) -> Key {
    Key { reload: true, ..key }
}

/// All keys.
pub const KEYS: [Key; 30] = [
    secret(
        "database.url",
        "libpq URL or key=value list; else DATABASE_URL, else PGHOST and its relatives",
    ),
    unset("database.url_file", "file that holds database.url"),
    fixed("database.pool_size", "8", "connections, besides one for wake-ups"),
    fixed(
        "admin.listen",
        "127.0.0.1:9464",
        "metrics, health, API and console: an address, the path of a unix socket, or off",
    ),
    reloaded(secret("admin.token", "bearer tokens for API and console, off without one")),
    reloaded(unset("admin.token_file", "file of bearer tokens, one a line")),
    live("admin.hosts", "none", "names that requests to admin.listen may be addressed to"),
    reloaded(secret("secrets.master_key", "master keys that secrets are sealed under at rest")),
    reloaded(unset("secrets.master_key_file", "file of master keys, one a line; the first seals")),
    reloaded(unset(
        "secrets.storage",
        "encrypted or plain; unset, secrets are encrypted if there is a master key",
    )),
    live("delivery.timeout", "15s", "time limit of a whole request, per attempt"),
    live("delivery.connect_timeout", "5s", "time limit of connecting, within delivery.timeout"),
    live(
        "delivery.retry",
        "5s 5m 30m 2h 5h 10h 14h 20h 24h",
        "delays after each failed attempt, within 20 %; or the name of a schedule",
    ),
    live("delivery.retry_scale", "1", "multiplies every delay, for trying a schedule out"),
    live("delivery.max_in_flight", "512", "requests at once, whole daemon"),
    live("delivery.max_in_flight_per_endpoint", "32", "requests at once, per endpoint"),
    live(
        "delivery.allow",
        "none",
        "networks, as CIDR or CIDR:port, exempt from the private-network refusal",
    ),
    live("delivery.https_only", "false", "refuse endpoints without TLS"),
    live("delivery.lease", "90s", "after which another instance may retry an unfinished delivery"),
    live(
        "delivery.pause_after",
        "5d",
        "endpoints that take nothing for so long though it is tried are paused; or none",
    ),
    live(
        "delivery.hold_after_restore",
        "1h",
        "what is older is held when the database turns out to be a restored backup; or none",
    ),
    unset("delivery.ca_file", "PEM file of further roots to verify receivers with"),
    live(
        "events.validate",
        "off",
        "events that do not match the schema of their type: off, warn (count) or reject (hold back)",
    ),
    live("retention.events", "30d", "how long finished events are kept"),
    live("retention.attempts", "30d", "how long the history of attempts is kept"),
    live(
        "retention.max_bytes",
        "none",
        "disk that the outbox may take: near it, what has ended goes early, such as 20GiB; or none",
    ),
    live("shutdown.grace", "30s", "how long requests in flight may take to end at shutdown"),
    live(
        "metrics.max_endpoints",
        "500",
        "endpoints that metrics tell apart; the others share endpoint=\"_other\"",
    ),
    fixed("log.format", "auto", "auto, text, json or journald"),
    live("log.level", "info", "level, or directives such as info,outboxd=debug"),
];

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether keys of the form `name.…` exist.
pub(super) fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}

fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.name.split_once('.').map(|(section, _)| section))
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("OUTBOXD_{}", key.to_uppercase().replace('.', "__"))
}

/// The key or section that an unknown name was probably meant to be.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &'static str| name.rsplit('.').next();
    let mut same_end = KEYS.iter().map(|key| key.name).filter(|known| last(known) == Some(name));
    match (same_end.next(), same_end.next()) {
        (Some(only), None) => Some(only),
        _ => closest(name, KEYS.iter().map(|key| key.name).chain(sections())),
    }
}

/// The candidate with the fewest letters to change, when that is few enough to be a slip.
pub(crate) fn closest<T: AsRef<str>>(name: &str, candidates: impl Iterator<Item = T>) -> Option<T> {
    let far_enough = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(name, candidate.as_ref()), candidate))
        .filter(|(distance, _)| *distance <= far_enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters to insert, delete or replace to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_finds_none() {
        for (name, expected) in [
            ("delivery.timout", Some("delivery.timeout")),
            ("delivery.max_in_fligth", Some("delivery.max_in_flight")),
            ("databse", Some("database")),
            ("max_in_flight", Some("delivery.max_in_flight")),
            ("retention.event", Some("retention.events")),
            ("colour", None),
            ("", None),
            ("profile.acme", None),
        ] {
            assert_eq!(nearest(name), expected, "{name}");
        }
    }

    #[test]
    fn the_distance_counts_single_letters() {
        for (from, to, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn key_names_are_unique_and_variables_follow_from_them() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
        assert_eq!(variable("delivery.max_in_flight"), "OUTBOXD_DELIVERY__MAX_IN_FLIGHT");
    }
}
