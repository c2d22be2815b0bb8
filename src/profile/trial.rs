//! A body template tried out on sample payloads, so that what makes no JSON is refused when it is
//! written and not when it is sent.

use super::escape::Escape;
use super::field::Field;
use super::payload;
use super::signature::Place;
use super::template::Context;
use super::{Profile, Sending};
use crate::event::Event;
use crate::sign::key::Algorithm;

impl Profile {
    /// Whether the body can be made and is what its content type says.
    pub(super) fn try_out(&self) -> Result<(), String> {
        if self.escape != Escape::Json {
            let json_only = [Field::Members, Field::TenantJson];
            if let Some(field) = json_only.into_iter().find(|field| self.body.has(*field)) {
                return Err(format!("{field} makes sense in a body of JSON only"));
            }
            return self.signs_member().map_or(Ok(()), |name| {
                Err(format!("the signature in member {name} needs a body of JSON"))
            });
        }
        for sample in [r#"{"a":1}"#, "{}"] {
            let body = self.sample(sample.as_bytes());
            let parsed = serde_json::from_slice::<serde_json::Value>(&body);
            let value = parsed.map_err(|error| {
                let body = String::from_utf8_lossy(&body).into_owned();
                format!("makes no JSON: with the payload {sample} it is {body} ({error})")
            })?;
            match (self.signs_member(), value.as_object()) {
                (Some(name), None) => {
                    return Err(format!("has to be a JSON object to take the member {name}"));
                }
                (Some(name), Some(members)) if members.contains_key(name) => {
                    return Err(format!("has a member {name} already, where a signature goes"));
                }
                _ => {}
            }
            if let Some(name) = self.signs_member()
                && payload::members(&body).is_none()
            {
                return Err(format!("has to end with its }} to take the member {name}"));
            }
        }
        Ok(())
    }

    fn signs_member(&self) -> Option<&str> {
        self.rules.iter().find_map(|rule| match &rule.place {
            Place::Member(name) => Some(name.as_str()),
            Place::Header(_) => None,
        })
    }

    fn sample(&self, payload: &[u8]) -> Vec<u8> {
        let event = Event {
            seq: 1,
            id: "evt_1".to_owned(),
            event_type: "conversion.created".to_owned(),
            tenant: Some("acme".to_owned()),
            live: true,
            wanted_us: 0,
            created_us: 0,
            payload: None,
        };
        let sending =
            Sending { event: &event, payload, url: "https://example.com/", attempt_ms: 0 };
        let context = Context { sending, body: &[] };
        let mut body = Vec::new();
        // The samples are objects.
        self.body.render(&context, self.escape, &mut body).unwrap_or(());
        body
    }

    /// Whether there is a kind of secret, shared or Ed25519, that all signatures can be made with.
    pub(super) fn one_secret_suffices(&self) -> bool {
        let of_kind = |asymmetric: bool| {
            self.groups.iter().all(|group| {
                let mut rules = group.members(&self.rules);
                rules.any(|rule| (rule.algorithm == Algorithm::Ed25519) == asymmetric)
            })
        };
        of_kind(false) || of_kind(true)
    }
}
