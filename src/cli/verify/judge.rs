//! The parts of a signed request, one verdict each.

use std::time::Duration;

use super::mistakes;
use crate::cli::checks::{Check, escaped};
use crate::config::duration;
use crate::profile::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::sign::{Secret, VerifyError, verify_standard};

const SECRET: &str = "secret";
/// Unix seconds stay below this for 3000 years, and milliseconds have been above it since 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// What is signed, and the signature; as received.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The `webhook-id`.
    pub id: Option<String>,
    /// The `webhook-timestamp`.
    pub timestamp: Option<String>,
    /// The `webhook-signature`.
    pub signature: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the timestamp is held against.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The moment that counts as now, in unix seconds.
    pub now: i64,
    /// How far the timestamp may be from it; `None`: as far as it likes.
    pub tolerance: Option<Duration>,
}

/// Judges the secret and the parts of a message, each by itself.
pub fn judge(texts: &[String], message: &Message, clock: Clock) -> Vec<Check> {
    let parsed: Result<Vec<Secret>, _> = texts.iter().map(|text| Secret::parse(text)).collect();
    let secret = match &parsed {
        Ok(secrets) if secrets.len() == 1 => Check::ok(SECRET, "well formed"),
        Ok(secrets) => Check::ok(SECRET, format!("{} of them, all well formed", secrets.len())),
        Err(error) => Check::fail(SECRET, error.to_string()).mend(
            "copy it whole, without quotes; 'outboxd endpoints rotate-secret' makes a new one",
        ),
    };
    let timestamp = match &message.timestamp {
        None => missing(TIMESTAMP_HEADER),
        Some(text) => timestamp(TIMESTAMP_HEADER, text, clock),
    };
    let secrets = parsed.unwrap_or_default();
    vec![secret, id(message), timestamp, signature(texts, &secrets, message)]
}

fn missing(header: &'static str) -> Check {
    Check::fail(header, "the header is missing")
        .mend("does a proxy in front of the receiver drop headers that it does not know?")
}

fn id(message: &Message) -> Check {
    match message.id.as_deref() {
        None => missing(ID_HEADER),
        Some("") => Check::fail(ID_HEADER, "the header is empty"),
        Some(id) => Check::ok(ID_HEADER, id),
    }
}

/// Judges a time in unix seconds, as a check of this name.
pub fn timestamp(check: &'static str, text: &str, clock: Clock) -> Check {
    let Ok(sent) = text.parse::<i64>() else {
        return Check::fail(check, format!("{text:?} is no integer number of unix seconds"));
    };
    if sent >= MILLISECONDS_FROM {
        return Check::fail(check, format!("{text} is in milliseconds, and has to be in seconds"));
    }
    let Ok(moment) = jiff::Timestamp::from_second(sent) else {
        return Check::fail(check, format!("{text} is no time that a clock shows"));
    };
    let age = clock.now.saturating_sub(sent);
    let apart = Duration::from_secs(age.unsigned_abs());
    let side = if age < 0 { "in the future" } else { "ago" };
    let finding = format!("{moment}, {} {side}", duration::short(apart));
    let Some(tolerance) = clock.tolerance else {
        return Check::ok(check, format!("{finding}; not checked"));
    };
    let Some(excess) = apart.checked_sub(tolerance).filter(|excess| !excess.is_zero()) else {
        return Check::ok(check, finding);
    };
    let bad = if age < 0 { "too new" } else { "too old" };
    let (excess, tolerance) = (duration::short(excess), duration::short(tolerance));
    Check::fail(check, format!("{finding}; {bad} by {excess} for a tolerance of {tolerance}"))
        .mend("is the clock right (timedatectl)? for an old capture: --at or --no-time-check")
}

fn signature(texts: &[String], secrets: &[Secret], message: &Message) -> Check {
    const CHECK: &str = SIGNATURE_HEADER;
    let Message { id, timestamp, signature, body } = message;
    let Some(signature) = signature else { return missing(CHECK) };
    let (Some(id), Some(timestamp)) = (id, timestamp) else {
        return Check::fail(CHECK, "cannot be checked without the other headers");
    };
    // The time has its own verdict.
    let verdict = verify_standard(secrets, id, timestamp, signature, body, 0, i64::MAX);
    let error = match verdict {
        Ok(()) => return Check::ok(CHECK, "matches"),
        Err(VerifyError::Timestamp) => {
            return Check::fail(CHECK, "cannot be checked with such a timestamp");
        }
        Err(error) => error,
    };
    let check = Check::fail(CHECK, error.to_string());
    if error != VerifyError::Mismatch {
        return check.mend(format!("it is: {}", escaped(signature)));
    }
    match mistakes::find(texts, id, timestamp, signature, body) {
        Some(mistake) => Check::fail(CHECK, "does not match").mend(mistake),
        None if secrets.is_empty() => Check::fail(CHECK, "cannot be checked with such a secret"),
        None => check.mend(
            "no usual mistake explains it. Is it the secret of this endpoint, and of this \
             environment? was the body kept byte for byte as received?",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::checks::Status;
    use crate::sign::standard_signature;

    const SECRET_TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const AT: i64 = 1_614_265_330;
    const CLOCK: Clock = Clock { now: AT + 10, tolerance: Some(Duration::from_secs(300)) };

    fn signed(body: &[u8]) -> Message {
        let secret = Secret::parse(SECRET_TEXT).expect("a secret");
        Message {
            id: Some("evt_1".to_owned()),
            timestamp: Some(AT.to_string()),
            signature: Some(standard_signature([&secret], "evt_1", AT, body)),
            body: body.to_vec(),
        }
    }

    /// The parts that are wrong, with what was found.
    fn wrong(secret: &str, message: &Message, clock: Clock) -> Vec<(String, String)> {
        let checks = judge(&[secret.to_owned()], message, clock);
        assert_eq!(checks.len(), 4);
        let failed = checks.into_iter().filter(|check| check.status == Status::Fail);
        failed.map(|check| (check.check.into_owned(), check.finding)).collect()
    }

    #[test]
    fn a_right_message_has_no_wrong_part() {
        assert_eq!(wrong(SECRET_TEXT, &signed(b"{}"), CLOCK), []);
    }

    #[test]
    fn each_part_is_judged_by_itself() {
        let found = |change: &dyn Fn(&mut Message), clock: Clock| {
            let mut message = signed(b"{}");
            change(&mut message);
            let wrong = wrong(SECRET_TEXT, &message, clock);
            wrong.into_iter().map(|(part, _)| part).collect::<Vec<_>>()
        };
        let late = Clock { now: AT + 301, ..CLOCK };
        assert_eq!(found(&|_| {}, late), [TIMESTAMP_HEADER]);
        assert_eq!(found(&|_| {}, Clock { tolerance: None, ..late }), [""; 0]);
        assert_eq!(
            found(&|message| message.body.push(b' '), late),
            [TIMESTAMP_HEADER, SIGNATURE_HEADER]
        );
        assert_eq!(found(&|message| message.signature = None, CLOCK), [SIGNATURE_HEADER]);
        assert_eq!(found(&|message| message.id = None, CLOCK), [ID_HEADER, SIGNATURE_HEADER]);
        let bad_time = |message: &mut Message| message.timestamp = Some("soon".to_owned());
        assert_eq!(found(&bad_time, CLOCK), [TIMESTAMP_HEADER, SIGNATURE_HEADER]);
    }

    #[test]
    fn times_are_told_with_how_far_they_are_off() {
        let finding = |text: &str| timestamp(TIMESTAMP_HEADER, text, CLOCK).finding;
        assert_eq!(finding("1614265330"), "2021-02-25T15:02:10Z, 10s ago");
        assert!(finding("1614265000").ends_with("too old by 40s for a tolerance of 5m"));
        assert!(finding("1614269000").contains("too new by"), "{}", finding("1614269000"));
        assert!(finding("1614265330123").contains("milliseconds"));
        assert!(finding("-99999999999999").contains("no time that a clock shows"));
        assert!(finding("1614265330.5").contains("no integer"));
    }

    #[test]
    fn malformed_secrets_and_signatures_are_told_from_wrong_ones() {
        let message = signed(b"{}");
        let parts = |wrong: Vec<(String, String)>| wrong[0].clone();
        let found = wrong("whsec_?", &message, CLOCK);
        assert!(found[0].0 == SECRET && found[0].1.contains("base64"), "{found:?}");
        assert_eq!(found[1].1, "cannot be checked with such a secret");
        let other = "whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO";
        let (part, finding) = parts(wrong(other, &message, CLOCK));
        assert!(part == SIGNATURE_HEADER && finding.contains("another secret"), "{finding}");
        let message = Message { signature: Some("v1;abc".to_owned()), ..message };
        let (part, finding) = parts(wrong(SECRET_TEXT, &message, CLOCK));
        assert!(part == SIGNATURE_HEADER && finding.contains("malformed"), "{finding}");
    }
}
