//! Endpoints as the daemon uses them: checked, with their secrets prepared, and indexed for
//! matching.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Event;
use crate::guard::{self, Policy};
use crate::matching::{Directory, MAX_PATTERNS, Pattern, Subscription};
use crate::profile::{
    Keys, LONGEST_TIMEOUT, Profile, Profiles, Rendered, Sending, Unsatisfied, is_same_header,
};
use crate::retry::Schedule;
use crate::statuses::Statuses;

/// The number of an endpoint, `outbox.endpoints.endpoint`.
pub type EndpointKey = i32;

/// Whether an endpoint's deliveries are made, and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Made and sent.
    Active,
    /// Made; they wait.
    Paused,
    /// None are made.
    Disabled,
    /// Made; they wait until the definition is mended.
    Invalid,
}

impl State {
    /// The state of that name; an unknown one waits, as an invalid one does.
    pub fn named(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "paused" => Self::Paused,
            "disabled" => Self::Disabled,
            _ => Self::Invalid,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Invalid => "invalid",
        }
    }
}

/// An endpoint as the database has it, unchecked.
#[derive(Clone, Debug, Default)]
pub struct EndpointRow {
    /// Its number.
    pub key: EndpointKey,
    /// Its public id.
    pub id: String,
    /// Its slug.
    pub name: String,
    /// Where requests go.
    pub url: String,
    /// The event patterns.
    pub events: Vec<String>,
    /// Only this tenant's events.
    pub tenant: Option<String>,
    /// Only live, or only test events.
    pub live: Option<bool>,
    /// The profile's name.
    pub profile: String,
    /// Whether new deliveries are made.
    pub active: bool,
    /// Static headers, a JSON object.
    pub headers: String,
    /// Deadline of an attempt, in microseconds.
    pub timeout_us: Option<i64>,
    /// A retry schedule.
    pub retry: Option<String>,
    /// Statuses that count as success, in place of the profile's.
    pub success: Option<String>,
    /// Requests at once.
    pub max_in_flight: Option<i32>,
    /// Requests a second.
    pub rate_per_second: Option<f64>,
    /// Whether order was asked for.
    pub ordered: bool,
    /// The state's name.
    pub state: String,
    /// Whether outboxd itself paused it.
    pub auto_paused: bool,
    /// Which version of the row this is.
    pub row_version: String,
    /// The secrets, newest first, each with the time it expires at.
    pub secrets: Vec<(String, Option<Instant>)>,
    /// Why a secret of it cannot be opened.
    pub secret_problem: Option<String>,
}

impl EndpointRow {
    /// Whether it is paused, but probed once in a while.
    fn is_probed(&self) -> bool {
        self.auto_paused && State::named(&self.state) == State::Paused
    }
}

/// An endpoint ready to be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Its number.
    pub key: EndpointKey,
    /// Its public id.
    pub id: String,
    /// Its slug, the metrics label.
    pub name: String,
    /// Where requests go; passed the address policy.
    pub url: url::Url,
    /// The same as it was written, which is what profiles sign.
    written_url: String,
    /// Static headers.
    pub headers: Vec<(String, String)>,
    /// The wire contract.
    pub profile: Arc<Profile>,
    /// What counts as success.
    pub success: Statuses,
    /// Deadline of an attempt, where it or its profile has one.
    pub timeout: Option<Duration>,
    /// The retry schedule, where it or its profile has one.
    pub retry: Option<Schedule>,
    /// Its own cap of requests at once.
    pub max_in_flight: Option<usize>,
    /// Its own limit of requests a second.
    pub rate_per_second: Option<f64>,
    /// Paused by outboxd after long failure: probed once in a while until it takes something.
    pub auto_paused: bool,
    keys: Keys,
}

/// What endpoints are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Where requests may go.
    pub policy: &'a Policy,
    /// The profiles there are.
    pub profiles: &'a Profiles,
}

/// Characters of a reason that are kept.
const REASON_CHARS: usize = 500;

impl Endpoint {
    /// Checks a row. The error is the reason that a person will read in `state_reason`.
    pub fn check(row: &EndpointRow, rules: Rules<'_>) -> Result<Self, String> {
        let url = rules.policy.check_url(&row.url).map_err(|error| format!("url: {error}"))?;
        let profile =
            rules.profiles.named(&row.profile).map_err(|error| format!("profile: {error}"))?;
        let retry = row.retry.as_deref().map(Schedule::parse).transpose();
        let retry = retry.map_err(|error| format!("retry: {error}"))?;
        let success = row.success.as_deref().map(str::parse).transpose();
        let success = success.map_err(|error| format!("success: {error}"))?;
        if let Some(problem) = &row.secret_problem {
            return Err(format!("secret: {problem}"));
        }
        Ok(Self {
            key: row.key,
            id: row.id.clone(),
            name: row.name.clone(),
            url,
            written_url: row.url.clone(),
            headers: check_headers(&row.headers, profile)?,
            profile: profile.clone(),
            success: success.unwrap_or_else(|| profile.success.clone()),
            timeout: check_timeout(row.timeout_us)?.or(profile.timeout),
            retry: retry.or_else(|| profile.retry.as_ref().map(|(_, read)| read.clone())),
            max_in_flight: row.max_in_flight.and_then(|n| usize::try_from(n).ok()),
            rate_per_second: row.rate_per_second,
            auto_paused: row.auto_paused,
            keys: check_secrets(row, profile).map_err(|error| format!("secret: {error}"))?,
        })
    }

    /// Whether one of its secrets has expired since they were loaded.
    pub fn has_expired_secret(&self, now: Instant) -> bool {
        self.keys.has_expired(now)
    }

    /// Its secrets as they are written, for finding them where they must not be.
    pub fn written_secrets(&self) -> impl Iterator<Item = &str> {
        self.keys.written()
    }

    /// What an attempt puts onto the wire, at this moment and in unix milliseconds.
    ///
    /// # Errors
    /// When the profile cannot make a request of the event.
    pub fn render<'a>(
        &'a self,
        event: &'a Event,
        payload: &'a [u8],
        now: Instant,
        attempt_ms: i64,
    ) -> Result<Rendered<'a>, Unsatisfied> {
        let sending = Sending { event, payload, url: &self.written_url, attempt_ms };
        self.profile.render(&sending, &self.keys, now)
    }
}

/// Without any secret it is an endpoint all the same: the reason is told with each delivery.
fn check_secrets(row: &EndpointRow, profile: &Profile) -> Result<Keys, String> {
    let unfit = |(secret, _): &(String, Option<Instant>)| profile.require_use_of(secret).err();
    let mut reasons: Vec<String> = row.secrets.iter().filter_map(unfit).collect();
    let all_unfit = reasons.len() == row.secrets.len();
    match reasons.pop().filter(|_| all_unfit) {
        Some(reason) => Err(reason),
        None => profile.keys(&row.secrets).map_err(|error| error.to_string()),
    }
}

fn check_timeout(timeout_us: Option<i64>) -> Result<Option<Duration>, String> {
    let Some(us) = timeout_us else { return Ok(None) };
    let timeout = u64::try_from(us).map(Duration::from_micros).unwrap_or_default();
    if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
        return Err(format!("timeout: must be more than 0 and at most {LONGEST_TIMEOUT:?}"));
    }
    Ok(Some(timeout))
}

fn check_headers(json: &str, profile: &Profile) -> Result<Vec<(String, String)>, String> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
        .map_err(|_| "headers: must be a JSON object of strings".to_owned())?;
    if map.len() > guard::MAX_HEADERS {
        return Err(format!("headers: {} of them; at most {}", map.len(), guard::MAX_HEADERS));
    }
    let names: Vec<&String> = map.keys().collect();
    for (number, name) in names.iter().enumerate() {
        if names[..number].iter().any(|other| is_same_header(other, name)) {
            return Err(format!("headers: {name:?} is given twice"));
        }
    }
    map.into_iter()
        .map(|(name, value)| {
            let serde_json::Value::String(value) = value else {
                return Err(format!("headers: the value of {name:?} is not a string"));
            };
            guard::check_header(&name, &value).map_err(|error| format!("headers: {error}"))?;
            if profile.protects_header(&name) {
                return Err(format!("headers: {name} belongs to the signature of the profile"));
            }
            Ok((name, value))
        })
        .collect()
}

/// What was found out about rows, and that the database does not know yet.
#[derive(Debug, Default)]
pub struct Judged<'a> {
    /// Active, and cannot be used; each with the reason.
    pub invalid: Vec<(&'a EndpointRow, String)>,
    /// Invalid, and can be used after all.
    pub mended: Vec<EndpointKey>,
    /// Without a secret, which is to be generated.
    pub without_secret: Vec<EndpointKey>,
}

/// All endpoints at one revision.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// The revision of the database that this is.
    pub revision: i64,
    ready: HashMap<EndpointKey, Arc<Endpoint>>,
    states: HashMap<EndpointKey, (String, State)>,
    ordered: HashSet<EndpointKey>,
    /// Of every endpoint that takes new events, valid or not.
    directory: Directory<EndpointKey>,
}

impl Endpoints {
    /// Checks and indexes all rows.
    pub fn build<'a>(
        revision: i64,
        rows: &'a [EndpointRow],
        rules: Rules<'_>,
    ) -> (Self, Judged<'a>) {
        let mut endpoints = Self { revision, ..Self::default() };
        let mut subscriptions = Vec::with_capacity(rows.len());
        let mut judged = Judged::default();
        for row in rows {
            let mut state = State::named(&row.state);
            // Of an endpoint with one bad pattern, what the good ones match waits for the mend.
            let (patterns, bad) = split_patterns(&row.events);
            let checked = bad.map_or_else(|| Endpoint::check(row, rules), Err);
            match (checked, state) {
                // Its deliveries wait for the secret, which comes in a moment.
                (Ok(endpoint), State::Active)
                    if row.secrets.is_empty() && endpoint.profile.generates_secrets() =>
                {
                    judged.without_secret.push(row.key);
                }
                (Ok(endpoint), _) if state == State::Active || row.is_probed() => {
                    endpoints.ready.insert(row.key, Arc::new(endpoint));
                }
                (Ok(_), State::Invalid) => judged.mended.push(row.key),
                (Err(reason), State::Active) => {
                    judged.invalid.push((row, legible(&reason)));
                    state = State::Invalid;
                }
                _ => {}
            }
            if row.active && state != State::Disabled {
                let (tenant, live, subscriber) = (row.tenant.clone(), row.live, row.key);
                subscriptions.push(Subscription { tenant, live, patterns, subscriber });
            }
            if row.ordered {
                endpoints.ordered.insert(row.key);
            }
            endpoints.states.insert(row.key, (row.name.clone(), state));
        }
        endpoints.directory = Directory::new(subscriptions);
        (endpoints, judged)
    }

    /// Replaces the contents of `found` by the endpoints that are owed such an event.
    pub fn matching(
        &self,
        event_type: &str,
        tenant: Option<&str>,
        live: bool,
        found: &mut Vec<EndpointKey>,
    ) {
        self.directory.lookup(event_type, tenant, live, found);
    }

    /// The endpoint, if it may be sent to.
    pub fn ready(&self, key: EndpointKey) -> Option<&Arc<Endpoint>> {
        self.ready.get(&key)
    }

    /// Every endpoint that may be sent to.
    pub fn all_ready(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.ready.values()
    }

    /// Number, name and state of every endpoint.
    pub fn states(&self) -> impl Iterator<Item = (EndpointKey, &str, State)> {
        self.states.iter().map(|(key, (name, state))| (*key, name.as_str(), *state))
    }

    /// Whether the endpoint is owed the events of a key in their order.
    pub fn is_ordered(&self, key: EndpointKey) -> bool {
        self.ordered.contains(&key)
    }

    /// Whether any endpoint is.
    pub fn any_ordered(&self) -> bool {
        !self.ordered.is_empty()
    }

    /// Whether the endpoint exists, in whatever state.
    pub fn exists(&self, key: EndpointKey) -> bool {
        self.states.contains_key(&key)
    }
}

/// A reason as the database can keep it, whatever the row made it quote: a NUL would be refused,
/// and with it the marks of all the others.
fn legible(reason: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    reason.chars().map(shown).take(REASON_CHARS).collect()
}

/// The patterns that can be used, and what is wrong with the first that cannot.
fn split_patterns(events: &[String]) -> (Vec<Pattern>, Option<String>) {
    if events.len() > MAX_PATTERNS {
        let reason = format!("events: {} patterns; at most {MAX_PATTERNS}", events.len());
        return (Vec::new(), Some(reason));
    }
    let (mut good, mut bad) = (Vec::with_capacity(events.len()), None);
    for text in events {
        match Pattern::parse(text) {
            Ok(pattern) => good.push(pattern),
            Err(error) => {
                bad.get_or_insert_with(|| format!("events: {error}"));
            }
        }
    }
    (good, bad)
}
