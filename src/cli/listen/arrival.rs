//! One request that arrived, and how it is shown.

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::seen::Repeat;
use crate::cli::checks::{Status, escaped};
use crate::cli::verify::{Clock, Verifier};
use crate::profile::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

/// Bytes of a body that are shown.
const SHOWN: usize = 2000;

/// A request.
#[derive(Debug)]
pub(super) struct Arrival {
    at: i64,
    method: String,
    path: String,
    event_type: Option<String>,
    /// The `webhook-id`.
    pub(super) id: Option<String>,
    body: Vec<u8>,
    /// Why it is not verified.
    pub(super) problem: Option<String>,
    /// Whether its id was seen before.
    pub(super) repeat: Option<Repeat>,
    /// The answer.
    pub(super) status: u16,
}

impl Arrival {
    /// Reads and verifies a request; a body that could not be read is none.
    pub(super) fn new(
        parts: &Parts,
        body: Option<Bytes>,
        verifier: &Verifier,
        clock: Clock,
    ) -> Self {
        let headers = headers(&parts.headers);
        let problem = match &body {
            None => Some("body: longer than 2 MiB, or cut off".to_owned()),
            Some(body) => problem(verifier, &headers, body, clock),
        };
        let body = body.map(Vec::from).unwrap_or_default();
        Self {
            at: clock.now,
            method: parts.method.to_string(),
            path: parts.uri.to_string(),
            event_type: event_type(&body),
            id: headers.into_iter().find(|(name, _)| name == ID_HEADER).map(|(_, id)| id),
            body,
            problem,
            repeat: None,
            status: 0,
        }
    }

    fn repeat(&self) -> Option<&'static str> {
        self.repeat.map(|repeat| match repeat {
            Repeat::Retry => "retry",
            Repeat::Duplicate => "duplicate",
        })
    }

    fn time(&self) -> String {
        jiff::Timestamp::from_second(self.at).unwrap_or_default().to_string()
    }

    /// The beginning of the body, for people.
    fn body(&self) -> String {
        let body = &self.body;
        String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned()
    }

    /// Lines for people; nothing in a request can act on the terminal.
    pub(super) fn text(&self) -> String {
        let or_dash = |text: &Option<String>| escaped(text.as_deref().unwrap_or("-"));
        let verdict = if self.problem.is_none() { "verified" } else { "NOT VERIFIED" };
        let repeat = self.repeat().map(|repeat| format!(", {repeat}")).unwrap_or_default();
        let mut text = format!(
            "{} {} {}  {}  {}  {verdict}{repeat}  -> {}\n",
            self.time(),
            escaped(&self.method),
            escaped(&self.path),
            or_dash(&self.id),
            or_dash(&self.event_type),
            self.status
        );
        for line in self.problem.iter().flat_map(|problem| problem.lines()) {
            text.push_str(&format!("    {}\n", escaped(line)));
        }
        let length = self.body.len();
        let cut = if length > SHOWN { format!("... ({length} bytes)") } else { String::new() };
        if length > 0 {
            text.push_str(&format!("    {}{cut}\n", escaped(&self.body())));
        }
        text
    }

    /// One JSON object on a line.
    pub(super) fn json(&self) -> String {
        let object = json!({
            "time": self.time(),
            "method": self.method,
            "path": self.path,
            "id": self.id,
            "type": self.event_type,
            "verified": self.problem.is_none(),
            "problem": self.problem,
            "repeat": self.repeat(),
            "status": self.status,
            "bytes": self.body.len(),
            "body": self.body(),
        });
        format!("{object}\n")
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// What is wrong, part by part, a line each with its explanation.
fn problem(
    verifier: &Verifier,
    headers: &[(String, String)],
    body: &[u8],
    clock: Clock,
) -> Option<String> {
    let has = |name: &str| headers.iter().any(|(known, _)| known == name);
    if verifier.profile() == "standard" && !has(TIMESTAMP_HEADER) && !has(SIGNATURE_HEADER) {
        let reason = "not signed as Standard Webhooks are: it has no webhook-timestamp and \
                      webhook-signature; for another profile, give its name with --profile";
        return Some(reason.to_owned());
    }
    let wrong: Vec<String> = verifier
        .judge(headers, body, clock)
        .into_iter()
        .filter(|check| check.status == Status::Fail)
        .map(|check| {
            let mend = check.mend.map(|mend| format!("; {mend}")).unwrap_or_default();
            format!("{}: {}{mend}", check.check, check.finding)
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("\n"))
}

fn event_type(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value.get("type")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::profile::Profiles;
    use crate::sign::{Secret, standard_signature};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const AT: i64 = 1_614_265_330;

    fn verifier() -> Verifier {
        let standard = Profiles::default().named("standard").expect("built in").clone();
        Verifier::by(standard, vec![SECRET.to_owned()], None)
    }

    fn arrival(body: Option<&'static str>, signed: &str) -> Arrival {
        let secret = Secret::parse(SECRET).expect("a secret");
        let signature = standard_signature([&secret], "evt_1", AT, signed.as_bytes());
        let request = Request::post("/hooks?a=b")
            .header(ID_HEADER, "evt_1")
            .header(TIMESTAMP_HEADER, AT)
            .header(SIGNATURE_HEADER, signature)
            .body(())
            .expect("a request");
        let clock = Clock { now: AT, tolerance: None };
        let body = body.map(|body| Bytes::from_static(body.as_bytes()));
        let mut arrival = Arrival::new(&request.into_parts().0, body, &verifier(), clock);
        arrival.status = 200;
        arrival
    }

    #[test]
    fn a_verified_request_is_one_line_and_its_body() {
        let body = "{\"type\":\"a.b\",\"data\":\"\u{1b}\"}";
        assert_eq!(
            arrival(Some("{\"type\":\"a.b\"}"), "{\"type\":\"a.b\"}").text(),
            "2021-02-25T15:02:10Z POST /hooks?a=b  evt_1  a.b  verified  -> 200\n    \
             {\"type\":\"a.b\"}\n"
        );
        let shown = arrival(Some("\u{1b}[2J\n"), body).text();
        assert!(shown.contains("\\u{1b}[2J\\n\n") && shown.contains("NOT VERIFIED"), "{shown}");
    }

    #[test]
    fn json_tells_the_same() {
        let mut arrival = arrival(Some("{}\n"), "{}");
        arrival.repeat = Some(Repeat::Duplicate);
        let value: Value = serde_json::from_str(&arrival.json()).expect("a JSON object");
        assert_eq!(value["verified"], false);
        assert_eq!(value["repeat"], "duplicate");
        assert_eq!(value["bytes"], 3);
        let problem = value["problem"].as_str().expect("a problem");
        assert!(problem.starts_with("webhook-signature: does not match; "), "{problem}");
        assert!(problem.contains("line end"), "{problem}");
    }

    #[test]
    fn long_bodies_are_cut_and_bodies_too_long_are_told() {
        let long: &'static str = Box::leak("x".repeat(3000).into_boxed_str());
        assert!(arrival(Some(long), "").text().ends_with("x... (3000 bytes)\n"));
        assert!(arrival(None, "").problem.is_some_and(|problem| problem.contains("2 MiB")));
    }

    #[test]
    fn a_request_that_nobody_signed_is_told_in_one_line() {
        let problem = problem(&verifier(), &[], b"{}", Clock { now: AT, tolerance: None });
        assert!(problem.is_some_and(|problem| problem.starts_with("not signed")));
    }
}
