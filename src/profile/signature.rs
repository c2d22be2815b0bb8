//! Signatures as a profile describes them: rules, and the keys of an endpoint that follow them.

use std::fmt;
use std::time::Instant;

use super::template::{Context, Template};
use super::{Unsatisfied, is_same_header};
use crate::sign::key::{Algorithm, Encoding, Key, KeyError, KeyForm, Named};

/// Room for the value of a header with one signature or two.
const USUAL_VALUE: usize = 128;

/// Where signatures go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into a header.
    Header(String),
    /// Into a member that is put last into the body, which has to be a JSON object.
    Member(String),
}

/// Which of the active secrets sign where there is room for one signature only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them; there is a separator.
    All,
    /// The newest.
    Newest,
    /// The oldest: receivers change over when a rotation ends, not when it begins.
    Oldest,
}

impl Named for Which {
    const NAMES: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("newest", Self::Newest), ("oldest", Self::Oldest)];
}

/// One signature of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Where it goes.
    pub place: Place,
    /// How it is made.
    pub algorithm: Algorithm,
    /// How a secret becomes its key.
    pub key: KeyForm,
    /// What it covers; nothing for a token.
    pub signed: Option<Template>,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// What one signature looks like.
    pub each: Template,
    /// What stands between those of several secrets.
    pub separator: Option<String>,
    /// The whole value.
    pub value: Template,
    /// Which secrets sign.
    pub secrets: Which,
}

/// The keys of one endpoint, newest secret first, for the rules of its profile.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Held>);

#[derive(Clone, Debug)]
struct Held {
    secret: Written,
    /// For each rule the key, where the rule signs with this secret.
    of_rules: Vec<Option<Key>>,
    until: Option<Instant>,
}

/// A secret as it is written; it has no text in a log.
#[derive(Clone)]
struct Written(String);

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(..)")
    }
}

impl Keys {
    /// Prepares secrets, newest first, each with the time it expires at.
    ///
    /// # Errors
    /// When a secret is not in the form that a rule needs.
    pub fn prepare(
        rules: &[Rule],
        secrets: &[(String, Option<Instant>)],
    ) -> Result<Self, KeyError> {
        let key = |rule: &Rule, secret: &str| {
            let fits = rule.algorithm.takes(secret);
            fits.then(|| Key::new(rule.algorithm, rule.key, secret)).transpose()
        };
        let held = secrets.iter().map(|(secret, until)| {
            let of_rules = rules.iter().map(|rule| key(rule, secret)).collect::<Result<_, _>>()?;
            Ok(Held { secret: Written(secret.clone()), of_rules, until: *until })
        });
        held.collect::<Result<_, _>>().map(Self)
    }

    /// The secrets as they are written, for finding them where they must not be.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|held| held.secret.0.as_str())
    }

    /// Whether a secret among them signs no more.
    pub fn has_expired(&self, now: Instant) -> bool {
        self.0.iter().any(|held| held.until.is_some_and(|until| until <= now))
    }

    fn active(&self, now: Instant) -> impl DoubleEndedIterator<Item = &Held> {
        self.0.iter().filter(move |held| held.until.is_none_or(|until| now < until))
    }
}

/// The signatures that go to one place, by rules that agree on everything but how each is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Numbers of the rules; the first one speaks for all.
    rules: Vec<usize>,
}

impl Group {
    /// Sorts rules by their place, in the order of the rules. The error is the number of the rule
    /// that does not go together with an earlier one, and why.
    pub fn sort(rules: &[Rule]) -> Result<Vec<Self>, (usize, String)> {
        let mut groups: Vec<Self> = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            let together = groups.iter_mut().find(|group| {
                let place = &rules[group.rules[0]].place;
                match (place, &rule.place) {
                    (Place::Header(one), Place::Header(other)) => is_same_header(one, other),
                    (one, other) => one == other,
                }
            });
            let Some(group) = together else {
                groups.push(Self { rules: vec![number] });
                continue;
            };
            let first = &rules[group.rules[0]];
            let agree = (&first.value, &first.separator, first.secrets)
                == (&rule.value, &rule.separator, rule.secrets);
            if rule.separator.is_none() || !agree {
                let reason = "signatures that share a place need the same separator, value and \
                              secrets";
                return Err((number, reason.to_owned()));
            }
            group.rules.push(number);
        }
        Ok(groups)
    }

    /// The rule that speaks for all.
    pub fn speaker<'a>(&self, rules: &'a [Rule]) -> &'a Rule {
        &rules[self.rules[0]]
    }

    /// All its rules.
    pub fn members<'a>(&self, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().map(|number| &rules[*number])
    }

    /// Where these signatures go.
    pub fn place<'a>(&self, rules: &'a [Rule]) -> &'a Place {
        &self.speaker(rules).place
    }

    /// Every signature that could be here, each by itself.
    pub fn each(
        &self,
        rules: &[Rule],
        keys: &Keys,
        now: Instant,
        context: &Context<'_>,
    ) -> Vec<Vec<u8>> {
        let mut signatures = Vec::new();
        for held in keys.active(now) {
            for number in &self.rules {
                if let Some(key) = &held.of_rules[*number] {
                    let mut signature = Vec::new();
                    rules[*number].sign(key, context, &mut signature);
                    signatures.push(signature);
                }
            }
        }
        signatures
    }

    /// The value: the signatures of all secrets that sign.
    ///
    /// # Errors
    /// When no secret can: a value without a signature is never sent.
    pub fn value(
        &self,
        rules: &[Rule],
        keys: &Keys,
        now: Instant,
        context: &Context<'_>,
    ) -> Result<Vec<u8>, Unsatisfied> {
        let speaker = self.speaker(rules);
        let mut value = Vec::with_capacity(USUAL_VALUE);
        let mut signed = false;
        speaker.value.fill(context, &mut value, |out| {
            signed = self.sign_with_all(rules, keys.active(now), context, out);
        });
        if signed {
            return Ok(value);
        }
        Err(Unsatisfied::NoSecret(match &speaker.place {
            Place::Header(name) => format!("header {name}"),
            Place::Member(name) => format!("member {name}"),
        }))
    }

    /// Appends the signatures of the secrets that sign. Says whether there is any.
    fn sign_with_all<'a>(
        &self,
        rules: &[Rule],
        mut active: impl DoubleEndedIterator<Item = &'a Held>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let speaker = self.speaker(rules);
        let separator = speaker.separator.as_deref().unwrap_or_default();
        let mut first = true;
        let mut sign = |held: &Held| {
            let mut signed = false;
            for number in &self.rules {
                if let Some(key) = &held.of_rules[*number] {
                    if !first {
                        out.extend_from_slice(separator.as_bytes());
                    }
                    rules[*number].sign(key, context, out);
                    (first, signed) = (false, true);
                }
            }
            signed
        };
        match speaker.secrets {
            Which::All => active.fold(false, |any, held| sign(held) | any),
            Which::Newest => active.any(sign),
            Which::Oldest => active.rev().any(sign),
        }
    }
}

impl Rule {
    /// Appends one signature.
    fn sign(&self, key: &Key, context: &Context<'_>, out: &mut Vec<u8>) {
        self.each.fill(context, out, |out| {
            let pieces = |take: &mut dyn FnMut(&[u8])| {
                if let Some(signed) = &self.signed {
                    signed.pieces(context, take);
                }
            };
            key.sign(self.encoding, pieces, out);
        });
    }
}
