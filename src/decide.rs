//! What follows from an attempt: a pure function of its outcome and the schedule.

use std::time::Duration;

use crate::outcome::{Directive, Outcome, Reply};
use crate::retry::{Schedule, jittered};

/// How long a delivery waits before the one free repetition on a fresh connection.
const PROMPT: Duration = Duration::from_millis(50);

/// What happens to a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It ended well.
    Delivered,
    /// It is tried again.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Whether the attempt counts against the schedule.
        counts: bool,
    },
    /// The schedule has come to its end.
    Exhausted,
    /// The receiver asked to be left alone: this delivery ends and the endpoint is disabled.
    Gone {
        /// Whether it took this one.
        delivered: bool,
    },
}

/// Where a delivery stands in its schedule.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Number of the attempt just made, from 1.
    pub attempt: i32,
    /// Failed attempts before it.
    pub failures: i32,
}

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug)]
pub struct Pacing<'a> {
    /// The delays.
    pub schedule: &'a Schedule,
    /// Multiplies every one of them.
    pub scale: f64,
    /// How far one may stray, as a share of it in either direction.
    pub jitter: f64,
    /// Whether a receiver is believed that asks to be left alone: not while most of them fail
    /// together, for then something on the way may be speaking for all.
    pub may_disable: bool,
}

/// Decides what follows. `unit_random` is in `0.0..1.0` and spreads retries, so that receivers are
/// not hit in waves.
///
/// A `Retry-After` is honoured when it asks for more than the schedule does, and never beyond the
/// schedule's longest delay.
pub fn decide(reply: &Reply, progress: Progress, pacing: Pacing<'_>, unit_random: f64) -> Verdict {
    let Pacing { schedule, scale, jitter, may_disable } = pacing;
    let delivered = reply.outcome == Outcome::Success;
    match reply.directive {
        Some(Directive::Disable) if may_disable => return Verdict::Gone { delivered },
        Some(Directive::AbortMessage) if !delivered => return Verdict::Exhausted,
        _ => {}
    }
    match reply.outcome {
        Outcome::Success => return Verdict::Delivered,
        Outcome::Http410 if may_disable => return Verdict::Gone { delivered },
        _ if reply.hopeless => return Verdict::Exhausted,
        _ => {}
    }
    // Only the first uncounted attempt of a delivery is free; the next one like it counts.
    let uncounted = progress.attempt - 1 - progress.failures;
    if reply.closed_unanswered && uncounted == 0 {
        return Verdict::Retry { after: PROMPT, counts: false };
    }
    let failures = u32::try_from(progress.failures).unwrap_or(0).saturating_add(1);
    let Some(delay) = schedule.delay(failures) else {
        return Verdict::Exhausted;
    };
    let scaled = jittered(delay, jitter, unit_random).mul_f64(scale);
    let asked = reply.retry_after.unwrap_or(Duration::ZERO).min(schedule.longest());
    Verdict::Retry { after: scaled.max(asked), counts: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule::parse("10s 60s").expect("a valid schedule")
    }

    fn reply(outcome: Outcome) -> Reply {
        Reply::failure(outcome, "test")
    }

    fn after(reply: &Reply, attempt: i32, failures: i32) -> Verdict {
        let (schedule, progress) = (schedule(), Progress { attempt, failures });
        decide(reply, progress, pacing(&schedule), 0.5)
    }

    fn pacing(schedule: &Schedule) -> Pacing<'_> {
        Pacing { schedule, scale: 1.0, jitter: 0.2, may_disable: true }
    }

    #[test]
    fn success_delivers_and_gone_disables_whatever_the_schedule() {
        assert_eq!(after(&reply(Outcome::Success), 9, 8), Verdict::Delivered);
        assert_eq!(after(&reply(Outcome::Http410), 1, 0), Verdict::Gone { delivered: false });
    }

    #[test]
    fn failures_walk_the_schedule_to_its_end() {
        let failed = reply(Outcome::Http5xx);
        let wait = |s| Verdict::Retry { after: Duration::from_secs(s), counts: true };
        assert_eq!(after(&failed, 1, 0), wait(10));
        assert_eq!(after(&failed, 2, 1), wait(60));
        assert_eq!(after(&failed, 3, 2), Verdict::Exhausted);
    }

    #[test]
    fn interrupted_attempts_do_not_move_the_schedule() {
        let failed = reply(Outcome::Tcp);
        let expected = Verdict::Retry { after: Duration::from_secs(10), counts: true };
        assert_eq!(after(&failed, 5, 0), expected);
    }

    #[test]
    fn retry_after_prolongs_but_never_beyond_the_longest_delay() {
        let mut limited = reply(Outcome::Http429);
        for (asked, waits) in [(5, 10), (30, 30), (86_400, 60)] {
            limited.retry_after = Some(Duration::from_secs(asked));
            let expected = Verdict::Retry { after: Duration::from_secs(waits), counts: true };
            assert_eq!(after(&limited, 1, 0), expected, "asked for {asked} s");
        }
    }

    #[test]
    fn a_directive_counts_whatever_the_status() {
        for (outcome, directive, verdict) in [
            (Outcome::Success, Directive::Disable, Verdict::Gone { delivered: true }),
            (Outcome::Http5xx, Directive::Disable, Verdict::Gone { delivered: false }),
            (Outcome::Success, Directive::AbortMessage, Verdict::Delivered),
            (Outcome::Http5xx, Directive::AbortMessage, Verdict::Exhausted),
        ] {
            let reply = Reply { directive: Some(directive), ..reply(outcome) };
            assert_eq!(after(&reply, 1, 0), verdict, "{outcome:?} {directive:?}");
        }
    }

    #[test]
    fn nobody_is_disabled_while_most_fail_together() {
        let schedule = schedule();
        let pacing = Pacing { may_disable: false, ..pacing(&schedule) };
        let progress = Progress { attempt: 1, failures: 0 };
        let after = Duration::from_secs(10);
        let asks = |outcome| Reply { directive: Some(Directive::Disable), ..reply(outcome) };
        for (reply, verdict) in [
            (reply(Outcome::Http410), Verdict::Retry { after, counts: true }),
            (asks(Outcome::Http5xx), Verdict::Retry { after, counts: true }),
            (asks(Outcome::Success), Verdict::Delivered),
        ] {
            assert_eq!(decide(&reply, progress, pacing, 0.5), verdict, "{reply:?}");
        }
    }

    #[test]
    fn what_can_never_be_sent_is_given_up_at_once() {
        let mut hopeless = reply(Outcome::Protocol);
        hopeless.hopeless = true;
        assert_eq!(after(&hopeless, 1, 0), Verdict::Exhausted);
    }

    #[test]
    fn a_retired_connection_is_repeated_once_for_free() {
        let mut closed = reply(Outcome::Tcp);
        closed.closed_unanswered = true;
        assert_eq!(after(&closed, 1, 0), Verdict::Retry { after: PROMPT, counts: false });
        assert_eq!(
            after(&closed, 2, 0),
            Verdict::Retry { after: Duration::from_secs(10), counts: true }
        );
    }

    #[test]
    fn the_scale_multiplies_the_delay() {
        let failed = reply(Outcome::Http5xx);
        let schedule = schedule();
        let paced = |scale, jitter, random| {
            let pacing = Pacing { scale, jitter, ..pacing(&schedule) };
            decide(&failed, Progress { attempt: 1, failures: 0 }, pacing, random)
        };
        let after = |millis| Verdict::Retry { after: Duration::from_millis(millis), counts: true };
        assert_eq!(paced(0.001, 0.2, 0.5), after(10));
        assert_eq!(paced(1.0, 0.2, 0.0), after(8_000));
        assert_eq!(paced(1.0, 0.0, 0.0), after(10_000));
    }
}
