//! What judges a request: a profile, and the secrets of the endpoint.

use std::sync::Arc;
use std::time::Instant;

use super::judge::{self, Clock, Message};
use crate::cli::checks::Check;
use crate::cli::failure::Failure;
use crate::cli::{Global, profiles};
use crate::profile::verify::Received;
use crate::profile::{ID_HEADER, Keys, Profile, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::sign::ed25519;
use crate::sign::key::KeyError;

/// The profile to verify by.
#[derive(Debug, clap::Args)]
pub struct ProfileArgs {
    /// Profile of the endpoint, built in or of the configuration
    #[arg(long, value_name = "NAME", default_value = "standard")]
    profile: String,
    /// The endpoint's URL, for profiles that sign it
    #[arg(long)]
    url: Option<String>,
}

/// Judges requests.
#[derive(Debug)]
pub struct Verifier {
    profile: Arc<Profile>,
    secrets: Vec<String>,
    /// Or why there are none.
    keys: Result<Keys, KeyError>,
    url: Option<String>,
}

impl Verifier {
    /// With these secrets, right or wrong.
    ///
    /// # Errors
    /// There is no such profile.
    pub fn new(global: &Global, args: &ProfileArgs, secrets: Vec<String>) -> Result<Self, Failure> {
        let profile = profiles::named(global, &args.profile)?;
        Ok(Self::by(profile, secrets, args.url.clone()))
    }

    /// By this profile.
    pub fn by(profile: Arc<Profile>, secrets: Vec<String>, url: Option<String>) -> Self {
        let held: Vec<_> = secrets.iter().map(|secret| (secret.clone(), None)).collect();
        let keys = profile.keys(&held);
        Self { profile, secrets, keys, url }
    }

    /// Refuses secrets that nothing could be verified with.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn require_keys(&self) -> Result<(), Failure> {
        self.keys.as_ref().map(drop).map_err(|error| Failure::failed(error.to_string()))
    }

    /// The profile's name.
    pub fn profile(&self) -> &str {
        &self.profile.name
    }

    /// Judges a request, part by part.
    pub fn judge(&self, headers: &[(String, String)], body: &[u8], clock: Clock) -> Vec<Check> {
        if !self.profile.needs_secret() {
            let finding = format!("the profile {} signs nothing", self.profile.name);
            return vec![Check::fail("signature", finding)];
        }
        let symmetric = !self.secrets.iter().any(|secret| secret.starts_with(ed25519::PREFIX));
        if self.profile.name == "standard" && symmetric {
            return judge::judge(&self.secrets, &message(headers, body), clock);
        }
        let keys = match &self.keys {
            Ok(keys) => keys,
            Err(error) => return vec![Check::fail("secret", error.to_string())],
        };
        let received = Received { headers, body, url: self.url.as_deref() };
        let found = self.profile.verify(&received, keys, Instant::now());
        let sent = found.sent_ms.map(|sent| (sent.div_euclid(1000)).to_string());
        let time = sent.map(|sent| judge::timestamp("time of the attempt", &sent, clock));
        let signatures = found.signatures.into_iter().map(|(place, verdict)| match verdict {
            Ok(()) => Check::ok(place, "matches"),
            Err(reason) => Check::fail(place, reason),
        });
        time.into_iter().chain(signatures).collect()
    }
}

/// The parts of a request that Standard Webhooks signs.
fn message(headers: &[(String, String)], body: &[u8]) -> Message {
    let part = |name: &str| {
        let mut headers = headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    Message {
        id: part(ID_HEADER),
        timestamp: part(TIMESTAMP_HEADER),
        signature: part(SIGNATURE_HEADER),
        body: body.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::checks::Status;
    use crate::event::Event;
    use crate::profile::{Profiles, Sending};

    const CLOCK: Clock = Clock { now: 1_705_761_010, tolerance: None };

    /// What a receiver of this profile gets.
    fn sent(profile: &Profile, secret: &str) -> (Vec<(String, String)>, Vec<u8>) {
        let event = Event {
            seq: 1,
            id: "evt_1".to_owned(),
            event_type: "a.b".to_owned(),
            tenant: Some("acme".to_owned()),
            live: true,
            wanted_us: 0,
            created_us: 1_705_761_000_123_000,
            payload: None,
        };
        let (payload, url) = (&b"{\"signature\":\"x\"}"[..], "https://example.com/");
        let sending = Sending { event: &event, payload, url, attempt_ms: 1_705_761_007_000 };
        let keys = profile.keys(&[(secret.to_owned(), None)]).expect("keys");
        let rendered = profile.render(&sending, &keys, Instant::now()).expect("a request");
        let headers = rendered.headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_string()));
        (headers.collect(), rendered.body.to_vec())
    }

    fn wrong(verifier: &Verifier, headers: &[(String, String)], body: &[u8]) -> Vec<String> {
        let checks = verifier.judge(headers, body, CLOCK);
        assert!(!checks.is_empty());
        let wrong = checks.into_iter().filter(|check| check.status == Status::Fail);
        wrong.map(|check| format!("{}: {}", check.check, check.finding)).collect()
    }

    #[test]
    fn what_every_profile_sends_is_verified_and_what_was_changed_is_not() {
        let symmetric = crate::sign::generate().expect("randomness");
        let other = crate::sign::generate().expect("randomness");
        let asymmetric = ed25519::generate().expect("randomness");
        let profiles = Profiles::default();
        let with_secret = profiles.all().map(|(profile, _)| (profile, &symmetric));
        let standard = profiles.named("standard").expect("built in");
        for (profile, secret) in with_secret.chain([(standard, &asymmetric)]) {
            let (headers, body) = sent(profile, secret);
            let verifier =
                |secret: &String| Verifier::by(profile.clone(), vec![secret.clone()], None);
            let right = verifier(secret);
            assert_eq!(wrong(&right, &headers, &body), [""; 0], "{}", profile.name);
            assert!(!wrong(&verifier(&other), &headers, &body).is_empty(), "{}", profile.name);
            assert!(!wrong(&right, &[], &body).is_empty(), "{}", profile.name);
            if profile.name != "sparkloop" {
                let changed = [body.as_slice(), b" "].concat();
                assert!(!wrong(&right, &headers, &changed).is_empty(), "{}", profile.name);
            }
        }
    }

    #[test]
    fn a_body_that_lost_its_inner_signature_is_told_from_one_that_was_changed() {
        let profile = Profiles::default().named("rebusai").expect("built in").clone();
        let (headers, body) = sent(&profile, "k");
        let verifier = Verifier::by(profile, vec!["k".to_owned()], None);
        let text = String::from_utf8(body).expect("text");
        let found = wrong(&verifier, &headers, text.replace("a.b", "a.c").as_bytes());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("member signature: does not match"), "{found:?}");
        let found = wrong(&verifier, &headers, b"{}");
        assert!(found[0].contains("does not end with this member"), "{found:?}");
    }

    #[test]
    fn a_profile_that_signs_nothing_verifies_nothing() {
        let text = "profile = { bare = {} }";
        let file = toml::de::DeTable::parse(text).expect("TOML");
        let profiles = file.get_ref()["profile"].get_ref().as_table().expect("a table");
        let bare = crate::profile::read::read("bare", 0, profiles["bare"].get_ref());
        let verifier = Verifier::by(Arc::new(bare.expect("a profile")), vec!["k".to_owned()], None);
        let found = wrong(&verifier, &[], b"anything");
        assert_eq!(found, ["signature: the profile bare signs nothing"]);
    }

    #[test]
    fn a_time_that_is_signed_is_held_against_the_clock() {
        let profile = Profiles::default().named("stripe").expect("built in").clone();
        let (headers, body) = sent(&profile, "k");
        let verifier = Verifier::by(profile, vec!["k".to_owned()], None);
        let tolerance = Some(std::time::Duration::from_secs(300));
        let at = |now| verifier.judge(&headers, &body, Clock { now, tolerance });
        assert!(at(1_705_761_010).iter().all(|check| check.status == Status::Ok));
        let late = at(1_705_762_000);
        assert!(late[0].status == Status::Fail && late[0].finding.contains("too old"), "{late:?}");
    }
}
