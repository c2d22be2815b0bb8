//! Wire profiles: what a receiver sees of an event, how it is signed, what counts as success, and
//! how failures are repeated.
//!
//! Profiles are data. The built-in ones are the files in `builtin/`, in the form that people write
//! in their configuration; `read.rs` reads both, `write.rs` writes them back.

mod capture;
mod escape;
mod field;
mod payload;
pub mod read;
pub mod registry;
mod signature;
mod template;
mod trial;
pub mod verify;
mod write;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::Event;
use crate::retry::Schedule;
use crate::sign::key::{Algorithm, KeyError, KeyForm, Named};
use crate::statuses::Statuses;
use escape::Escape;
use field::Field;
pub use registry::{Profiles, UnknownProfile};
pub use signature::Keys;
use signature::{Group, Place, Rule};
use template::{Context, NotAnObject, Template};

/// The header that carries the event id, the same on every attempt and in every profile.
pub const ID_HEADER: &str = "webhook-id";
/// The header that carries the time of the attempt, in unix seconds, in Standard Webhooks.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header that carries the signatures in Standard Webhooks.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// The header that says what a body is.
pub const CONTENT_TYPE: &str = "content-type";
/// The longest time limit of a request that a profile or an endpoint may ask for.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The wire contract of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// One sentence for people.
    pub description: Option<String>,
    body: Template,
    content_type: String,
    escape: Escape,
    headers: Vec<(String, Template)>,
    rules: Vec<Rule>,
    groups: Vec<Group>,
    /// What counts as success.
    pub success: Statuses,
    /// Time limit of a request; `None`: that of the configuration.
    pub timeout: Option<Duration>,
    /// The schedule of retries as it was written, and read; `None`: that of the configuration.
    pub retry: Option<(String, Schedule)>,
    /// How far a delay may stray, as a share of it in either direction.
    pub jitter: f64,
}

/// One attempt, as far as it shows on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its payload.
    pub payload: &'a [u8],
    /// The endpoint's URL.
    pub url: &'a str,
    /// The time of the attempt, in unix milliseconds.
    pub attempt_ms: i64,
}

/// What goes onto the wire.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// The body.
    pub body: Bytes,
    /// The headers of the profile.
    pub headers: Vec<(&'a str, Cow<'a, str>)>,
    /// The signatures among all that, as they are written there.
    pub signatures: Vec<String>,
}

/// How every reason begins why nothing was sent.
pub const UNSENT: &str = "nothing was sent";

/// Why a profile cannot make a request of an event: nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsatisfied {
    /// Nothing to sign with.
    #[error(
        "{UNSENT}: there is no secret to sign the {0} with; give the endpoint one with \
         outbox.rotate_secret, or its tenant with outbox.set_tenant_secret"
    )]
    NoSecret(String),
    /// The members of the payload are wanted, and it has none by its nature.
    #[error("{UNSENT}: the profile needs a payload that is a JSON object, and it is none")]
    NotAnObject,
    /// There is no payload to send.
    #[error("{UNSENT}: {0}")]
    Payload(String),
    /// A header with something that no header can carry.
    #[error("{UNSENT}: the value of header {0} would not be printable ASCII")]
    Header(String),
}

impl From<NotAnObject> for Unsatisfied {
    fn from(_: NotAnObject) -> Self {
        Self::NotAnObject
    }
}

impl Unsatisfied {
    /// Whether the event itself stands in the way, so that trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::NoSecret(_))
    }
}

impl Profile {
    /// Prepares the secrets of an endpoint, newest first, each with the time it expires at.
    ///
    /// # Errors
    /// When a secret is not in the form that the profile needs.
    pub fn keys(&self, secrets: &[(String, Option<Instant>)]) -> Result<Keys, KeyError> {
        Keys::prepare(&self.rules, secrets)
    }

    /// Whether requests are signed, or carry a token.
    pub fn needs_secret(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Refuses a secret that no signature can be made with: an Ed25519 key where HMAC is wanted, or
    /// the other way round.
    ///
    /// # Errors
    /// Which kind the profile needs.
    pub fn require_use_of(&self, secret: &str) -> Result<(), String> {
        if self.rules.is_empty() || self.rules.iter().any(|rule| rule.algorithm.takes(secret)) {
            return Ok(());
        }
        let wanted = match self.rules.iter().any(|rule| rule.algorithm == Algorithm::Ed25519) {
            true => "with an Ed25519 key only (--ed25519, or whsk_...)",
            false => "with a shared secret, and this is an Ed25519 key",
        };
        Err(format!("the profile {} signs {wanted}", self.name))
    }

    /// Whether a secret that outboxd makes up by itself serves the receiver: in the form of
    /// Standard Webhooks it does, a platform of its own hands out its own.
    pub fn generates_secrets(&self) -> bool {
        self.rules.iter().any(|rule| rule.key == KeyForm::Standard)
    }

    /// Whether a signature goes to this header.
    pub fn signs_header(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| match &rule.place {
            Place::Header(header) => is_same_header(header, name),
            Place::Member(_) => false,
        })
    }

    /// Whether a header must stay as the profile makes it: it is a signature, or says something that
    /// a signature covers.
    pub fn protects_header(&self, name: &str) -> bool {
        let covered = |field: Field| {
            let mut signed = self.rules.iter().filter_map(|rule| rule.signed.as_ref());
            signed.any(|signed| signed.has(field))
        };
        let mut headers = self.headers.iter().filter(|(header, _)| is_same_header(header, name));
        self.signs_header(name) || headers.any(|(_, value)| value.fields().any(covered))
    }

    /// The names of the headers and members that are signed, each with its algorithm.
    pub fn signatures(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.rules.iter().map(|rule| {
            let (Place::Header(name) | Place::Member(name)) = &rule.place;
            (name.as_str(), rule.algorithm.name())
        })
    }

    /// The body and the headers of one attempt.
    ///
    /// # Errors
    /// See [`Unsatisfied`]; nothing is ever half signed.
    pub fn render<'a>(
        &'a self,
        sending: &Sending<'a>,
        keys: &Keys,
        now: Instant,
    ) -> Result<Rendered<'a>, Unsatisfied> {
        let mut context = Context { sending: *sending, body: &[] };
        let mut signatures = Vec::with_capacity(self.groups.len());
        let body = self.body(&context, keys, now, &mut signatures)?;
        context.body = &body;
        let mut headers = Vec::with_capacity(self.headers.len() + self.groups.len() + 2);
        headers.push((CONTENT_TYPE, Cow::Borrowed(self.content_type.as_str())));
        for (name, template) in &self.headers {
            let value = match template.plain() {
                Some(plain) => Cow::Borrowed(plain),
                None => {
                    let mut value = Vec::new();
                    template.fill(&context, &mut value, |_| ());
                    Cow::Owned(header_value(name, value)?)
                }
            };
            headers.push((name.as_str(), value));
        }
        let id = sending.event.id.as_str();
        if !is_printable(id.as_bytes()) {
            return Err(Unsatisfied::Header(ID_HEADER.to_owned()));
        }
        headers.push((ID_HEADER, Cow::Borrowed(id)));
        for group in &self.groups {
            if let Place::Header(name) = group.place(&self.rules) {
                let value = group.value(&self.rules, keys, now, &context)?;
                let value = header_value(name, value)?;
                signatures.push(value.clone());
                headers.push((name, Cow::Owned(value)));
            }
        }
        Ok(Rendered { body: body.into(), headers, signatures })
    }

    fn body(
        &self,
        context: &Context<'_>,
        keys: &Keys,
        now: Instant,
        signatures: &mut Vec<String>,
    ) -> Result<Vec<u8>, Unsatisfied> {
        // Room for the payload, and for what is usually around it.
        let mut body = Vec::with_capacity(context.sending.payload.len() + 256);
        self.body.render(context, self.escape, &mut body)?;
        for group in &self.groups {
            if let Place::Member(name) = group.place(&self.rules) {
                let covered = Context { body: &body, ..*context };
                let value = group.value(&self.rules, keys, now, &covered)?;
                let mut escaped = Vec::with_capacity(value.len());
                Escape::Json.write(&value, &mut escaped);
                signatures.push(String::from_utf8_lossy(&value).into_owned());
                body = payload::with_member(&body, name, &escaped).ok_or(NotAnObject)?;
            }
        }
        Ok(body)
    }

    /// The body is the payload and nothing else.
    fn sends_bare_payload(&self) -> bool {
        self.body.is_only(Field::Payload)
    }
}

/// Whether two names are one header: without case, and as CGI and its heirs read them.
pub fn is_same_header(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn header_value(name: &str, value: Vec<u8>) -> Result<String, Unsatisfied> {
    let printable = is_printable(&value);
    // What is printable ASCII is a text.
    String::from_utf8(value)
        .ok()
        .filter(|_| printable)
        .ok_or_else(|| Unsatisfied::Header(name.to_owned()))
}

#[cfg(test)]
mod tests;
