//! What receivers do with requests.

use std::time::Duration;

/// What an endpoint does with each request it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 200 at once.
    Good,
    /// 200 after this time.
    Slow(Duration),
    /// 500 to this share of requests, per thousand; else 200.
    Faulty(u32),
    /// This status, always.
    Status(u16),
    /// 429, with this many seconds in Retry-After, if any.
    Busy(Option<u32>),
    /// No answer ever.
    Hang,
    /// The connection is reset once the request was read.
    Reset,
    /// Nobody listens.
    Refuse,
    /// 200, and a body that never ends.
    Endless,
    /// A head that never ends, a byte at a time.
    Drip,
    /// Good for this time, then 503 for as long, and so on.
    Flap(Duration),
}

/// What one request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Status(u16),
    Busy(Option<u32>),
    Hang,
    Reset,
    Endless,
    Drip,
}

impl Behaviour {
    /// The answer at this time of the run in microseconds, and what to wait before it; `chance` is a
    /// number below 1000.
    pub(super) fn answer(self, now: u64, chance: u32) -> (Duration, Answer) {
        let at_once = |answer| (Duration::ZERO, answer);
        match self {
            Self::Good => at_once(Answer::Status(200)),
            Self::Slow(pause) => (pause, Answer::Status(200)),
            Self::Faulty(share) if chance < share => at_once(Answer::Status(500)),
            Self::Faulty(_) => at_once(Answer::Status(200)),
            Self::Status(status) => at_once(Answer::Status(status)),
            Self::Busy(wait) => at_once(Answer::Busy(wait)),
            Self::Hang => at_once(Answer::Hang),
            Self::Reset | Self::Refuse => at_once(Answer::Reset),
            Self::Endless => at_once(Answer::Endless),
            Self::Drip => at_once(Answer::Drip),
            Self::Flap(period) => {
                let down = u128::from(now) / period.as_micros() % 2 == 1;
                at_once(Answer::Status(if down { 503 } else { 200 }))
            }
        }
    }
}
