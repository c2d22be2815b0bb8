//! What the receiver does with a request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// The body that [`Reply::slow_body`] sends unless it is given another.
const SLOW_BODY: Bytes = Bytes::from_static(&[b'.'; 64]);

/// One reply a request, in order; the last one repeats.
#[derive(Debug)]
pub struct Script(VecDeque<Reply>);

impl Script {
    pub(super) fn next(&mut self) -> Reply {
        let is_last = self.0.len() == 1;
        let next = if is_last { self.0.front().cloned() } else { self.0.pop_front() };
        next.expect("a script has a reply")
    }
}

impl Default for Script {
    fn default() -> Self {
        Reply::status(200).into()
    }
}

impl From<Reply> for Script {
    fn from(reply: Reply) -> Self {
        Self([reply].into())
    }
}

impl<const N: usize> From<[Reply; N]> for Script {
    fn from(replies: [Reply; N]) -> Self {
        const { assert!(N > 0, "a script has a reply") };
        Self(replies.into())
    }
}

impl From<Vec<Reply>> for Script {
    fn from(replies: Vec<Reply>) -> Self {
        assert!(!replies.is_empty(), "a script has a reply");
        Self(replies.into())
    }
}

/// One reply.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) gate: Option<Gate>,
    pub(super) delay: Option<Duration>,
    pub(super) action: Action,
    /// Whether the connection ends after the answer.
    pub(super) ends: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Answer(Answer),
    /// These bytes, as they are.
    Raw(Bytes),
    Hang,
    Reset,
    ResetBeforeReading,
}

/// An HTTP response, before it is bytes.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
    pub(super) pace: Pace,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Sized(Bytes),
    Endless,
}

impl Answer {
    /// The status line, without the reason that HTTP no longer needs, and the headers.
    pub(super) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} \r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            // These statuses have no body, and must not state a length.
            Body::Sized(_) if [204, 304].contains(&self.status) => {}
            Body::Sized(body) => head += &format!("content-length: {}\r\n", body.len()),
            Body::Endless => head += "transfer-encoding: chunked\r\n",
        }
        head + "\r\n"
    }
}

/// How fast an answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    AtOnce,
    /// This many bytes an interval, from the status line on.
    Drip(Drip),
    /// The head at once, and then this many bytes of body an interval.
    DripBody(Drip),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Drip {
    pub(super) interval: Duration,
    pub(super) bytes: usize,
}

impl Drip {
    fn new(interval: Duration, bytes: usize) -> Self {
        assert!(bytes > 0, "a drip without bytes is a hang");
        Self { interval, bytes }
    }
}

impl Reply {
    /// Answers with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self::doing(Action::Answer(Answer {
            status,
            headers: Vec::new(),
            body: Body::Sized(Bytes::new()),
            pace: Pace::AtOnce,
        }))
    }

    /// Answers 200 once the gate lets it through.
    pub fn hold(gate: &Gate) -> Self {
        Self::status(200).held_by(gate)
    }

    /// Answers 200 with so few bytes an interval, from the status line on.
    pub fn drip(interval: Duration, bytes: usize) -> Self {
        Self::status(200).paced(Pace::Drip(Drip::new(interval, bytes)))
    }

    /// Answers 200 at once, and sends so few bytes of its body an interval.
    pub fn slow_body(interval: Duration, bytes: usize) -> Self {
        let pace = Pace::DripBody(Drip::new(interval, bytes));
        Self::status(200).body(SLOW_BODY).paced(pace)
    }

    /// Answers 200 with a body that goes on until the client leaves.
    pub fn endless_body() -> Self {
        let mut reply = Self::status(200);
        reply.answer().body = Body::Endless;
        reply
    }

    /// Writes these bytes as they are and closes the connection.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::doing(Action::Raw(bytes.into())).close_after_reply_silently()
    }

    /// Reads the request and never answers.
    pub fn hang() -> Self {
        Self::doing(Action::Hang)
    }

    /// Reads the request and resets the connection (RST).
    pub fn reset() -> Self {
        Self::doing(Action::Reset)
    }

    /// Resets the connection (RST) when only the head was read, for that says which script
    /// applies. Such a request is never complete, so it is not recorded.
    pub fn reset_before_reading() -> Self {
        Self::doing(Action::ResetBeforeReading)
    }

    /// Adds a header to an answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let header = (name.to_owned(), value.to_owned());
        self.answer().headers.push(header);
        self
    }

    /// Gives an answer this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.answer().body = Body::Sized(body.into());
        self
    }

    /// Does nothing for this long first.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Does nothing until the gate lets it through.
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Announces the end of the connection (`connection: close`) and ends it after the answer.
    pub fn close(self) -> Self {
        self.header("connection", "close").close_after_reply_silently()
    }

    /// Ends the connection after the answer without having announced it.
    pub fn close_after_reply_silently(mut self) -> Self {
        self.ends = true;
        self
    }

    fn doing(action: Action) -> Self {
        Self { gate: None, delay: None, action, ends: false }
    }

    fn paced(mut self, pace: Pace) -> Self {
        self.answer().pace = pace;
        self
    }

    fn answer(&mut self) -> &mut Answer {
        match &mut self.action {
            Action::Answer(answer) => answer,
            other => panic!("{other:?} has no headers and no body"),
        }
    }
}

/// Holds requests until the test lets them through; closed at first.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `n` requests through, of those held or those to come.
    pub fn release(&self, n: usize) {
        self.0.add_permits(n);
    }

    /// Lets all requests through, those held and those to come.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // An error means that the gate stands open.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}
