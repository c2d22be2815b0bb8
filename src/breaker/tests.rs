//! The breaker by a clock of the tests' own.

use super::*;

/// A receiver whose endpoint may have eight requests at once, and a clock.
struct Story {
    breaker: Breaker,
    now: Instant,
}

const MOST: usize = 8;

impl Story {
    fn new() -> Self {
        Self { breaker: Breaker::new(1.0), now: Instant::now() }
    }

    fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn allowance(&self) -> usize {
        self.breaker.allowance(self.now, MOST)
    }

    /// An attempt of this many milliseconds that ends now, among `in_flight`.
    fn hear_among(&mut self, in_flight: usize, sign: Sign, ms: u64) -> Option<Change> {
        self.breaker.started();
        let heard = Heard { sign, took: Duration::from_millis(ms), hold: None };
        self.breaker.heard(heard, self.now, (in_flight, MOST), 0.5)
    }

    fn hear(&mut self, sign: Sign) -> Option<Change> {
        self.hear_among(MOST, sign, 10)
    }

    /// Fails once a second until the circuit opens; returns for how many seconds.
    fn fail_until_open(&mut self) -> u32 {
        for second in 1..60 {
            if self.hear(Sign::Failed) == Some(Change::Opened) {
                return second - 1;
            }
            self.wait(1.0);
        }
        panic!("the circuit never opened");
    }
}

#[test]
fn many_failures_over_some_time_open_the_circuit_and_fewer_or_faster_ones_do_not() {
    let mut burst = Story::new();
    for _ in 0..1000 {
        assert_eq!(burst.hear(Sign::Failed), None, "all at one moment");
    }
    let mut steady = Story::new();
    assert_eq!(steady.fail_until_open(), 10);
    assert_eq!(steady.allowance(), 0);
    let mut sparse = Story::new();
    for _ in 0..2 {
        sparse.wait(20.0);
        assert_eq!(sparse.hear(Sign::Overloaded), None);
    }
    sparse.wait(20.0);
    assert_eq!(sparse.hear(Sign::Overloaded), Some(Change::Opened), "the third, after 40 s");
}

#[test]
fn a_success_among_failures_keeps_it_closed_and_so_does_a_judgement() {
    for sign in [Sign::Took, Sign::Judged] {
        let mut story = Story::new();
        for _ in 0..100 {
            for _ in 0..9 {
                story.wait(1.0);
                assert_eq!(story.hear(Sign::Failed), None);
            }
            assert_eq!(story.hear(sign), None);
        }
        assert_eq!(story.allowance(), MOST);
    }
}

#[test]
fn probes_come_one_at_a_time_and_ever_more_rarely() {
    let mut story = Story::new();
    story.fail_until_open();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let opens = story.breaker.opens_at().expect("it is open");
        pauses.push((opens - story.now).as_secs());
        story.now = opens;
        assert_eq!(story.allowance(), 1);
        story.breaker.started();
        assert_eq!(story.allowance(), 1, "the one that is under way");
        assert_eq!(story.hear(Sign::Failed), None);
        assert_eq!(story.allowance(), 0);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_probe_that_was_not_made_is_made_next() {
    let mut story = Story::new();
    story.fail_until_open();
    story.wait(1.0);
    story.breaker.started();
    story.breaker.lost(story.now);
    assert_eq!(story.allowance(), 1);
}

#[test]
fn late_failures_of_the_time_before_prolong_nothing() {
    let mut story = Story::new();
    story.fail_until_open();
    let opens = story.breaker.opens_at();
    let heard = Heard { sign: Sign::Failed, took: Duration::from_secs(15), hold: None };
    story.breaker.heard(heard, story.now, (MOST, MOST), 0.5);
    assert_eq!(story.breaker.opens_at(), opens);
}

#[test]
fn after_a_successful_probe_the_window_opens_reply_by_reply() {
    let mut story = Story::new();
    story.fail_until_open();
    story.wait(1.0);
    assert_eq!(story.hear_among(1, Sign::Took, 10), Some(Change::Closed));
    let mut windows = vec![story.allowance()];
    for _ in 0..7 {
        story.hear(Sign::Took);
        windows.push(story.allowance());
    }
    assert_eq!(windows, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn overload_halves_the_window_once_a_round_and_replies_open_it_again() {
    let mut story = Story::new();
    story.wait(1.0);
    for _ in 0..MOST {
        story.hear_among(MOST, Sign::Overloaded, 10);
    }
    assert_eq!(story.allowance(), 4, "all eight were sent before the cut");
    story.wait(1.0);
    story.hear_among(4, Sign::Overloaded, 10);
    assert_eq!(story.allowance(), 2);
    let mut replies = 0;
    while story.allowance() < MOST {
        story.hear(Sign::Took);
        replies += 1;
    }
    // Two to eight by one for each window of replies: 2 + 3 + ... + 7, and a little.
    assert!((27..=35).contains(&replies), "{replies}");
}

#[test]
fn a_failure_that_is_no_overload_leaves_the_window() {
    let mut story = Story::new();
    story.hear(Sign::Failed);
    assert_eq!(story.allowance(), MOST);
}

#[test]
fn a_receiver_that_becomes_ten_times_as_slow_gets_fewer_requests() {
    let mut story = Story::new();
    for _ in 0..100 {
        story.wait(1.0);
        story.hear_among(MOST, Sign::Took, 50);
    }
    assert_eq!(story.allowance(), MOST);
    story.wait(1.0);
    story.hear_among(MOST, Sign::Took, 600);
    assert_eq!(story.allowance(), 4);
    let mut always_slow = Story::new();
    for _ in 0..100 {
        always_slow.wait(1.0);
        always_slow.hear_among(MOST, Sign::Took, 600);
    }
    assert_eq!(always_slow.allowance(), MOST, "that is its pace");
}

#[test]
fn a_pause_that_was_asked_for_holds_for_all() {
    let mut story = Story::new();
    let hold = Some(Duration::from_secs(30));
    let heard = Heard { sign: Sign::Overloaded, took: Duration::ZERO, hold };
    story.breaker.heard(heard, story.now, (2, MOST), 0.5);
    story.wait(29.0);
    assert_eq!(story.allowance(), 0);
    story.hear(Sign::Took);
    assert_eq!(story.allowance(), 0, "a reply to what was sent before does not end it");
    story.wait(1.0);
    assert!(story.allowance() > 0);
}

#[test]
fn an_endpoint_that_outboxd_paused_is_probed_once_in_a_while_until_it_takes_something() {
    let mut story = Story::new();
    story.breaker.adapt(1.0, true, story.now, 0.5);
    assert_eq!(story.allowance(), 0);
    story.wait(300.0);
    assert_eq!(story.allowance(), 1);
    story.hear(Sign::Failed);
    story.wait(599.0);
    assert_eq!(story.allowance(), 0);
    story.wait(1.0);
    assert_eq!(story.hear(Sign::Took), Some(Change::Closed));
    assert_eq!(story.allowance(), 1);
}

#[test]
fn an_endpoint_that_somebody_resumes_is_tried_at_once() {
    let mut story = Story::new();
    story.breaker.adapt(1.0, true, story.now, 0.5);
    story.breaker.adapt(1.0, false, story.now, 0.5);
    assert_eq!(story.allowance(), 1);
    story.hear(Sign::Failed);
    story.wait(2.0);
    assert_eq!(story.allowance(), 1, "with the pauses of one that is not paused");
}

#[test]
fn who_has_not_been_heard_of_lately_is_neither_failing_nor_well() {
    let mut story = Story::new();
    assert_eq!(story.breaker.is_failing(story.now), None);
    for _ in 0..3 {
        assert_ne!(story.breaker.is_failing(story.now), Some(true));
        story.hear(Sign::Judged);
    }
    assert_eq!(story.breaker.is_failing(story.now), Some(true));
    story.hear(Sign::Took);
    assert_eq!(story.breaker.is_failing(story.now), Some(false));
    story.wait(601.0);
    assert_eq!(story.breaker.is_failing(story.now), None);
}

#[test]
fn signs_are_read_from_outcome_and_status() {
    for (outcome, status, sign) in [
        (Outcome::Success, Some(200), Some(Sign::Took)),
        (Outcome::Http2xx, Some(202), Some(Sign::Judged)),
        (Outcome::Http3xx, Some(302), Some(Sign::Judged)),
        (Outcome::Http4xx, Some(404), Some(Sign::Judged)),
        (Outcome::Http410, Some(410), Some(Sign::Judged)),
        (Outcome::Http429, Some(429), Some(Sign::Overloaded)),
        (Outcome::Http5xx, Some(500), Some(Sign::Failed)),
        (Outcome::Http5xx, Some(503), Some(Sign::Overloaded)),
        (Outcome::TimeoutResponse, None, Some(Sign::Overloaded)),
        (Outcome::Tcp, None, Some(Sign::Failed)),
        (Outcome::Protocol, Some(999), Some(Sign::Failed)),
        (Outcome::Interrupted, None, None),
    ] {
        let reply = Reply { status, ..Reply::failure(outcome, "test") };
        assert_eq!(Sign::of(&reply), sign, "{outcome:?} {status:?}");
    }
}
