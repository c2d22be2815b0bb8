//! The database: from the connection to the rights, and what it says of endpoints.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::connection::{self, identifier};
use super::{restored, secrets};
use crate::cli::checks::{Check, Report};
use crate::cli::failure::Failure;
use crate::config::{Config, ConnectionString, RootCert, SslMode, duration};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fitness::{Facts, Room};
use crate::store::migrate::{SCHEMA_VERSION, SchemaState};

/// From which difference of the clocks, in seconds, signatures come near their end.
const SKEW_WARN: f64 = 5.0;
/// From which nobody accepts them: receivers refuse at 300 s, and the way there takes time.
const SKEW_FAIL: f64 = 240.0;
/// Longest wait for two sessions to tell whether a pooler sits between.
const POOLER_WAIT: Duration = Duration::from_secs(10);
/// Endpoints listed at most.
const LISTED: i64 = 20;

/// A database that answers.
pub(super) struct Reached {
    store: Store,
    /// Whether the schema is ours and can be read.
    pub(super) readable: bool,
}

/// Checks the database; `None` when it cannot be reached.
pub(super) async fn examine(
    config: &Config,
    report: &mut Report,
) -> Result<Option<Reached>, Failure> {
    let url = &config.database.url;
    let unreached = |error: StoreError| {
        let finding = format!("{}: {}", url.target(), connection::finding(&error));
        Check::fail("connection", finding).mend(connection::mend(&error, url))
    };
    let started = Instant::now();
    let connected = match Store::new(url, config.database.pool_size) {
        Ok(store) => store.facts().await.map(|facts| (store, facts)),
        Err(error) => Err(error),
    };
    let (store, facts) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            report.add(&unreached(error))?;
            return Ok(None);
        }
    };
    let took = started.elapsed().as_millis();
    report.add(&Check::ok("connection", format!("{}, in {took} ms", url.target())))?;
    report.add(&tls(url, facts.tls.as_deref()))?;
    report.add(&server(&facts, url))?;
    report.add_all(&durability(&facts))?;
    report.add(&writes(&facts, url))?;
    report.add(&clock(facts.clock_ahead_seconds))?;
    let schema = schema(&store, &facts.user).await;
    let readable = schema.is_ok();
    report.add(&schema.unwrap_or_else(|bad| bad))?;
    if readable {
        report.add_all(&rights(&store, &facts.user).await)?;
    }
    let pooler = pooler(&store, config).await;
    report.add(&pooler)?;
    report.add(&room(store.room().await, config.database.pool_size))?;
    Ok(Some(Reached { store, readable }))
}

/// Whether what is read and written can be read on the way, or the server be another one.
fn tls(url: &ConnectionString, version: Option<&str>) -> Check {
    const CHECK: &str = "TLS";
    const MEND: &str = "add to database.url: sslmode=verify-full&sslrootcert=/path/root.crt \
                        (or sslrootcert=system for a certificate of a public authority)";
    let hosts = url.hosts();
    if hosts.is_empty() {
        return Check::ok(CHECK, "not needed over a unix socket");
    }
    let settings = url.tls();
    let with_file = matches!(settings.root_cert, Some(RootCert::File(_)));
    let verified =
        settings.mode >= SslMode::VerifyCa || (settings.mode == SslMode::Require && with_file);
    match version {
        Some(version) if verified => Check::ok(CHECK, format!("{version}, the server is verified")),
        _ if hosts.iter().all(|(host, _)| is_local(host)) => {
            let version = version.unwrap_or("not in use");
            Check::ok(CHECK, format!("{version}; the connection stays on this machine"))
        }
        Some(version) => {
            Check::warn(CHECK, format!("{version}, but nobody verifies who the server is"))
                .mend(MEND)
        }
        None => {
            Check::warn(CHECK, "not in use: the network can read events and passwords").mend(MEND)
        }
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn server(facts: &Facts, url: &ConnectionString) -> Check {
    const CHECK: &str = "server";
    let Some(problem) = facts.problem() else {
        return Check::ok(CHECK, format!("PostgreSQL {}, {}", facts.version, facts.encoding));
    };
    let (finding, mend) = problem.split_once("; ").unwrap_or((&problem, ""));
    if facts.encoding == "UTF8" {
        return Check::fail(CHECK, finding).mend(mend);
    }
    let settings = url.to_tokio();
    let name = settings.get_dbname().unwrap_or("outbox");
    Check::fail(CHECK, finding).mend(format!(
        "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0; and name it in database.url",
        identifier(&format!("{name}_utf8"))
    ))
}

fn durability(facts: &Facts) -> Vec<Check> {
    const CHECK: &str = "durability";
    if facts.unsafe_settings.is_empty() {
        return vec![Check::ok(CHECK, "fsync and full_page_writes are on")];
    }
    let warning = |setting: &String| {
        let name = setting.split(' ').next().unwrap_or_default();
        Check::warn(CHECK, format!("{setting}: a crash of the machine can lose committed events"))
            .mend(format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"))
    };
    facts.unsafe_settings.iter().map(warning).collect()
}

fn writes(facts: &Facts, url: &ConnectionString) -> Check {
    const CHECK: &str = "writes";
    if facts.in_recovery {
        return Check::fail(CHECK, "this server is a standby and takes no writes").mend(
            "name the primary in database.url, or all servers and \
             target_session_attrs=read-write;\nor promote this one: SELECT pg_promote();",
        );
    }
    if facts.read_only {
        let settings = url.to_tokio();
        let name = settings.get_dbname().unwrap_or(&facts.user);
        let finding = "transactions are read-only (default_transaction_read_only)";
        return Check::fail(CHECK, finding).mend(format!(
            "ALTER DATABASE {} SET default_transaction_read_only = off;\n\
             or the same with ALTER ROLE {} or ALTER SYSTEM, where it was set",
            identifier(name),
            identifier(&facts.user)
        ));
    }
    Check::ok(CHECK, "accepted")
}

fn clock(ahead: f64) -> Check {
    const CHECK: &str = "clock";
    let by = ahead.abs();
    if by <= SKEW_WARN {
        return Check::ok(CHECK, format!("the database and this host agree within {by:.1} s"));
    }
    let side = if ahead > 0.0 { "ahead of" } else { "behind" };
    let finding = format!("the database is {by:.0} s {side} this host");
    let check = if by > SKEW_FAIL { Check::fail } else { Check::warn };
    check(CHECK, format!("{finding}; receivers refuse signatures that are 300 s off"))
        .mend("find out which is wrong, and set it by NTP: timedatectl; timedatectl set-ntp true")
}

/// `Err`: nothing else in the schema can be looked at.
async fn schema(store: &Store, user: &str) -> Result<Check, Check> {
    const CHECK: &str = "schema";
    match store.schema_state().await {
        Ok(SchemaState::Current) => Ok(Check::ok(CHECK, format!("version {SCHEMA_VERSION}"))),
        Ok(SchemaState::Expanded(version)) => Ok(Check::ok(
            CHECK,
            format!(
                "version {version}; this outboxd was made for {SCHEMA_VERSION}, and works with it"
            ),
        )),
        Ok(state) => {
            let problem = state.problem().unwrap_or_default();
            let (finding, mend) = problem.split_once("; ").unwrap_or((&problem, ""));
            Err(Check::fail(CHECK, finding).mend(mend))
        }
        Err(error) if is_forbidden(&error) => {
            let finding = format!("{user} has no right to look into the schema");
            Err(Check::fail(CHECK, finding)
                .mend(format!("GRANT outbox_daemon TO {};", identifier(user))))
        }
        Err(error) => Err(Check::fail(CHECK, error.to_string())),
    }
}

fn is_forbidden(error: &StoreError) -> bool {
    error.code().is_some_and(|code| code.code() == "42501")
}

/// What is missing, by the GRANT that mends it.
async fn rights(store: &Store, user: &str) -> Vec<Check> {
    const CHECK: &str = "rights";
    let missing = match store.missing_rights().await {
        Ok(missing) => missing,
        Err(error) => return vec![Check::fail(CHECK, error.to_string())],
    };
    if missing.is_empty() {
        return vec![Check::ok(CHECK, format!("{user} may do all that 'outboxd run' does"))];
    }
    grouped(&missing)
        .into_iter()
        .map(|(grant, rights)| {
            Check::fail(CHECK, format!("{user} lacks {}", rights.join(", "))).mend(grant)
        })
        .collect()
}

/// Missing rights, written `right: GRANT`, by their GRANT.
fn grouped(missing: &[String]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in missing {
        let (right, grant) = line.split_once(": ").unwrap_or((line, ""));
        match groups.iter_mut().find(|(known, _)| *known == grant) {
            Some((_, rights)) => rights.push(right),
            None => groups.push((grant, vec![right])),
        }
    }
    groups
}

async fn pooler(store: &Store, config: &Config) -> Check {
    const CHECK: &str = "pooler";
    match tokio::time::timeout(POOLER_WAIT, store.is_pooled()).await {
        Ok(Ok(false)) => Check::ok(CHECK, "none that would change sessions between transactions"),
        Ok(Ok(true)) => {
            let lease = duration::short(config.delivery.lease);
            Check::warn(
                CHECK,
                format!(
                    "a pooler in transaction mode sits between: the death of a daemon shows only \
                     when its leases end, so a takeover takes up to {lease} instead of a second"
                ),
            )
            .mend(
                "connect 'outboxd run' to the server itself, or by a pool in session mode; or \
                 shorten delivery.lease",
            )
        }
        Ok(Err(error)) => Check::warn(CHECK, format!("cannot tell: {error}")),
        Err(_) => Check::warn(CHECK, "cannot tell: two sessions at once could not be had")
            .mend("a pooler should grant this user more than one connection to the server"),
    }
}

/// Whether the server has connections left for the pool and the one for wake-ups.
fn room(room: Result<Room, StoreError>, pool_size: usize) -> Check {
    const CHECK: &str = "connections";
    let Room { usable, used } = match room {
        Ok(room) => room,
        Err(error) => return Check::warn(CHECK, format!("cannot tell: {error}")),
    };
    let wanted = i64::try_from(pool_size + 1).unwrap_or(i64::MAX);
    let finding = format!(
        "{used} of {usable} are in use, and each 'outboxd run' takes up to {wanted} \
         (database.pool_size and one more)"
    );
    if usable - used >= wanted {
        return Check::ok(CHECK, finding);
    }
    Check::warn(CHECK, finding).mend(
        "lower database.pool_size, or: ALTER SYSTEM SET max_connections = 200; and restart the \
         server",
    )
}

impl Reached {
    /// The URL of the first endpoint that uses TLS.
    pub(super) async fn first_endpoint(&self) -> Option<String> {
        if !self.readable {
            return None;
        }
        // Why it cannot be read is told by the check of the rights.
        self.store.first_https_endpoint().await.ok().flatten()
    }

    /// How signing secrets are stored.
    pub(super) async fn secrets(&self, config: &Config) -> Vec<Check> {
        if !self.readable {
            return Vec::new();
        }
        match self.store.secrets_at_rest().await {
            Ok(rows) => secrets::at_rest(&config.secrets, &rows),
            Err(error) => {
                let finding = format!("cannot be read: {}", connection::finding(&error));
                vec![Check::warn("secrets", finding)]
            }
        }
    }

    /// What waits since a backup was restored.
    pub(super) async fn held(&self) -> Option<Check> {
        if self.readable { Some(restored::check(self.store.held().await)) } else { None }
    }

    /// The endpoints that get nothing, each with the reason.
    pub(super) async fn endpoints(&self) -> Vec<Check> {
        const CHECK: &str = "endpoints";
        if !self.readable {
            return Vec::new();
        }
        let (resting, total) = match self.store.resting_endpoints(LISTED).await {
            Ok(found) => found,
            Err(error) => {
                let finding = format!("cannot be read: {}", connection::finding(&error));
                return vec![Check::warn(CHECK, finding)];
            }
        };
        if resting.is_empty() {
            return vec![Check::ok(CHECK, "none is paused, disabled or invalid")];
        }
        let more = total.saturating_sub(LISTED);
        let mut checks: Vec<Check> = resting
            .into_iter()
            .map(|(name, state, reason)| {
                let reason = reason.unwrap_or_else(|| "no reason is recorded".to_owned());
                let mend = match state.as_str() {
                    "invalid" => {
                        format!("mend what the reason names: outboxd endpoints update {name}")
                    }
                    _ => format!("outboxd endpoints resume {name}"),
                };
                Check::warn(CHECK, format!("{name} is {state}: {reason}")).mend(mend)
            })
            .collect();
        if more > 0 {
            checks.push(
                Check::warn(CHECK, format!("and {more} more")).mend("outboxd endpoints list"),
            );
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::checks::Status;

    fn url(text: &str) -> ConnectionString {
        ConnectionString::parse(text, &BTreeMap::new()).expect("a connection string")
    }

    #[test]
    fn tls_is_judged_by_the_way_it_goes_and_what_is_verified() {
        let root = "postgres://u@db/d?sslrootcert=/r.crt&sslmode=";
        for (text, version, status) in [
            ("postgres://u@%2Frun%2Fpg/d", None, Status::Ok),
            ("postgres://u@localhost/d", None, Status::Ok),
            ("postgres://u@127.0.0.1,[::1]/d", None, Status::Ok),
            ("postgres://u@db/d", None, Status::Warn),
            ("postgres://u@localhost,db/d", None, Status::Warn),
            ("postgres://u@db/d", Some("TLSv1.3"), Status::Warn),
            ("postgres://u@db/d?sslmode=require", Some("TLSv1.3"), Status::Warn),
            (&format!("{root}prefer"), Some("TLSv1.3"), Status::Warn),
            (&format!("{root}require"), Some("TLSv1.3"), Status::Ok),
            (&format!("{root}verify-full"), Some("TLSv1.3"), Status::Ok),
        ] {
            assert_eq!(tls(&url(text), version).status, status, "{text} {version:?}");
        }
    }

    #[test]
    fn the_clocks_may_differ_a_little() {
        for (ahead, status) in [
            (0.2, Status::Ok),
            (-4.9, Status::Ok),
            (6.0, Status::Warn),
            (-239.0, Status::Warn),
            (241.0, Status::Fail),
            (-3600.0, Status::Fail),
        ] {
            assert_eq!(clock(ahead).status, status, "{ahead}");
        }
        assert!(clock(-60.0).finding.starts_with("the database is 60 s behind this host"));
    }

    #[test]
    fn missing_rights_stand_under_the_grant_that_mends_them() {
        let missing = ["A on x: GRANT r TO u;", "B on y: GRANT s TO u;", "C on x: GRANT r TO u;"];
        let missing = missing.map(str::to_owned);
        let groups = grouped(&missing);
        assert_eq!(groups[0], ("GRANT r TO u;", vec!["A on x", "C on x"]));
        assert_eq!(groups[1], ("GRANT s TO u;", vec!["B on y"]));
    }

    #[test]
    fn the_pool_and_one_more_have_to_fit() {
        let status = |used| room(Ok(Room { usable: 97, used }), 8).status;
        assert_eq!(status(88), Status::Ok);
        assert_eq!(status(89), Status::Warn);
    }
}
