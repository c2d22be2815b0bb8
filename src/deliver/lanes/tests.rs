//! The lanes, without a daemon around them.

mod slots;

use std::sync::Arc;

use super::*;
use crate::breaker::Sign;
use crate::endpoint::{EndpointRow, Rules};
use crate::event::Event;
use crate::guard::Policy;
use crate::profile::Profiles;

const LIMITS: Limits = Limits {
    max_in_flight: 100,
    prompt_in_flight: 100,
    max_per_endpoint: 4,
    instances: 1,
    lease: Duration::from_secs(90),
    pause_scale: 1.0,
};

fn endpoint(key: EndpointKey) -> Endpoint {
    let row = EndpointRow {
        key,
        id: format!("ep_{key}"),
        name: format!("e{key}"),
        url: "https://example.com/".to_owned(),
        profile: "standard".to_owned(),
        headers: "{}".to_owned(),
        ..EndpointRow::default()
    };
    let rules = Rules { policy: &Policy::default(), profiles: &Profiles::default() };
    Endpoint::check(&row, rules).expect("a valid endpoint")
}

fn lanes(limits: Limits, endpoints: &[Endpoint]) -> Lanes {
    let mut lanes = Lanes::new(limits);
    lanes.adapt(limits, endpoints.iter(), Instant::now());
    lanes
}

fn job(key: EndpointKey, seq: i64) -> Job {
    let event = Event {
        seq,
        id: format!("evt_{seq}"),
        event_type: "a".into(),
        tenant: None,
        live: true,
        wanted_us: 0,
        created_us: 0,
        payload: Some("{}".into()),
    };
    Job {
        event: Arc::new(event),
        endpoint: key,
        attempt: 1,
        failures: 0,
        ahead: false,
        holder: 1,
        lease_ends: Instant::now() + Duration::from_secs(90),
    }
}

#[test]
fn a_test_goes_ahead_of_a_full_lane_and_a_few_of_them_at_once() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    while fill(&mut lanes, 1, 1) == 1 {}
    // Promised all at once, as in one batch.
    for _ in 0..MAX_AHEAD {
        assert!(lanes.reserve_ahead(1));
    }
    assert!(!lanes.reserve_ahead(1), "a lane is bounded for tests too");
    lanes.unreserve_ahead(1);
    assert!(lanes.reserve_ahead(1), "a promise was taken back");
    for seq in 100..100 + MAX_AHEAD as i64 {
        lanes.push(Job { ahead: true, ..job(1, seq) }, Instant::now()).expect("room was promised");
    }
    assert!(!lanes.reserve_ahead(1));
    assert!(!lanes.reserve_ahead(2), "there is no such lane");
    let first = lanes.start(Instant::now()).expect("one");
    let second = lanes.start(Instant::now()).expect("another");
    assert_eq!((first.event.seq, second.event.seq), (100, 101));
    assert!(lanes.reserve_ahead(1), "what has started makes room");
}

/// Reserves and queues so many; returns how many found room.
fn fill(lanes: &mut Lanes, key: EndpointKey, count: i64) -> usize {
    let granted = lanes.reserve(key, usize::try_from(count).expect("a count"), Instant::now());
    for seq in 0..i64::try_from(granted).expect("a count") {
        lanes.push(job(key, seq), Instant::now()).expect("room was promised");
    }
    granted
}

fn took_it(took: Duration) -> Heard {
    Heard { sign: Sign::Took, took, hold: None }
}

fn start_all(lanes: &mut Lanes) -> Vec<Job> {
    std::iter::from_fn(|| lanes.start(Instant::now())).collect()
}

#[test]
fn an_endpoint_gets_its_cap_and_no_more() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    assert_eq!(fill(&mut lanes, 1, 100), 8, "four in flight, and four that wait");
    let started = start_all(&mut lanes);
    assert_eq!(started.len(), 4);
    lanes.finished(started[0].lease(), None, Instant::now());
    assert_eq!(start_all(&mut lanes).len(), 1);
}

#[test]
fn endpoints_take_turns() {
    let mut lanes = lanes(LIMITS, &[endpoint(1), endpoint(2)]);
    fill(&mut lanes, 1, 4);
    fill(&mut lanes, 2, 4);
    let order: Vec<EndpointKey> = start_all(&mut lanes).iter().map(|job| job.endpoint).collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2, 1, 2]);
}

#[test]
fn a_full_endpoint_takes_no_room_from_another() {
    let mut lanes = lanes(LIMITS, &[endpoint(1), endpoint(2)]);
    while fill(&mut lanes, 1, 100) > 0 {}
    assert_eq!(lanes.reserve(1, 1, Instant::now()), 0);
    assert_eq!(fill(&mut lanes, 2, 4), 4);
}

#[test]
fn what_is_promised_and_not_used_can_be_promised_again() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    assert_eq!(
        (lanes.reserve(1, 100, Instant::now()), lanes.reserve(1, 100, Instant::now())),
        (8, 0)
    );
    lanes.unreserve(1, 8);
    assert_eq!(lanes.reserve(1, 100, Instant::now()), 8);
}

#[test]
fn a_fast_endpoint_may_have_more_leased_ahead_than_a_slow_one() {
    let room = |took| {
        let mut lanes = lanes(LIMITS, &[endpoint(1)]);
        fill(&mut lanes, 1, 1);
        let job = lanes.start(Instant::now()).expect("one is queued");
        lanes.finished(job.lease(), Some(took_it(took)), Instant::now());
        lanes.reserve(1, 10_000, Instant::now())
    };
    assert_eq!(room(Duration::from_millis(1)), 4 + lane::MAX_QUEUE);
    assert_eq!(room(Duration::from_secs(15)), 8);
}

#[test]
fn instances_share_the_limits_of_an_endpoint() {
    let shared = Limits { instances: 3, ..LIMITS };
    let mut capped = lanes(shared, &[endpoint(1)]);
    fill(&mut capped, 1, 100);
    assert_eq!(start_all(&mut capped).len(), 2, "a third of four, rounded up");
    let mut paced = endpoint(1);
    paced.rate_per_second = Some(10.0);
    let mut lanes = lanes(shared, &[paced]);
    fill(&mut lanes, 1, 2);
    let now = Instant::now();
    assert!(lanes.start(now).is_some());
    assert!(lanes.start(now + Duration::from_millis(250)).is_none(), "a third of ten a second");
    assert!(lanes.start(now + Duration::from_millis(310)).is_some());
}

#[test]
fn the_whole_daemon_has_a_cap() {
    let small = Limits { max_in_flight: 3, ..LIMITS };
    let mut lanes = lanes(small, &[endpoint(1)]);
    fill(&mut lanes, 1, 8);
    let started = start_all(&mut lanes);
    assert_eq!((started.len(), lanes.in_flight()), (3, 3), "one alone may have all of it");
    lanes.finished(started[0].lease(), None, Instant::now());
    assert_eq!(start_all(&mut lanes).len(), 1);
}

/// Lanes of so many endpoints with a cap of 32 each, of 64 in all.
fn crowd(count: EndpointKey) -> Lanes {
    let limits = Limits { max_in_flight: 64, max_per_endpoint: 32, ..LIMITS };
    let endpoints: Vec<Endpoint> = (1..=count).map(endpoint).collect();
    lanes(limits, &endpoints)
}

/// Lets an endpoint answer one request after such a time, which makes its speed known.
fn answer(lanes: &mut Lanes, key: EndpointKey, took: Duration) {
    assert_eq!(fill(lanes, key, 1), 1);
    let job = start_all(lanes).pop().expect("one is queued");
    lanes.finished(job.lease(), Some(took_it(took)), Instant::now());
}

#[test]
fn an_open_circuit_gives_back_what_is_queued_and_lets_one_probe_through() {
    let mut lanes = crowd(2);
    let begin = Instant::now();
    let failed = |now| Heard { sign: Sign::Failed, took: now - begin, hold: None };
    fill(&mut lanes, 1, 64);
    let started = start_all(&mut lanes);
    let late = begin + Duration::from_secs(11);
    let (mut change, mut back) = (None, Vec::new());
    for job in &started {
        let finished = lanes.finished(job.lease(), Some(failed(late)), late);
        change = change.or(finished.change);
        back.extend(finished.back);
    }
    assert_eq!((change, back.len()), (Some(Change::Opened), 32));
    lanes.note_due(1, late);
    assert_eq!((lanes.reserve(1, 9, late), lanes.reserve_due(late, 9)), (0, vec![]));
    assert!(lanes.push(job(1, 99), late).is_err(), "what was leased before comes back");
    let probe = lanes.next_due().expect("it is tried again");
    assert!(probe > late && probe < late + Duration::from_secs(2));
    assert_eq!(lanes.reserve_due(probe, 9), [(1, 1)]);
    assert_eq!(lanes.reserve(1, 9, probe), 0, "one at a time");
    lanes.push(job(1, 100), probe).expect("room was promised");
    let job = lanes.start(probe).expect("the probe");
    let finished = lanes.finished(job.lease(), Some(took_it(Duration::ZERO)), probe);
    assert_eq!(finished.change, Some(Change::Closed));
    assert!(lanes.reserve(1, 9, probe) > 0);
}

#[test]
fn a_test_reaches_an_endpoint_whose_circuit_is_open() {
    let mut paused = endpoint(1);
    paused.auto_paused = true;
    let mut lanes = lanes(LIMITS, &[paused]);
    let now = Instant::now();
    assert_eq!(lanes.reserve(1, 1, now), 0);
    assert!(lanes.reserve_ahead(1));
    lanes.push(Job { ahead: true, ..job(1, 1) }, now).expect("room was promised");
    assert!(lanes.start(now).is_some());
}

#[test]
fn what_has_waited_for_half_its_lease_is_given_back() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 4);
    let now = Instant::now();
    assert!(lanes.age(now + Duration::from_secs(44)).is_empty());
    assert_eq!(lanes.age(now + Duration::from_secs(46)).len(), 4);
    assert!(lanes.held().is_empty());
    assert_eq!(fill(&mut lanes, 1, 100), 8, "its room is free again");
}

#[test]
fn most_failing_together_is_an_outage_of_ours() {
    for (failing, heard, outage) in
        [(4, 4, false), (5, 5, true), (5, 10, false), (6, 10, true), (0, 0, false)]
    {
        assert_eq!(Fleet { failing, heard }.is_outage(), outage, "{failing} of {heard}");
    }
}

#[test]
fn a_pace_holds_back_without_losing_the_turn() {
    let mut paced = endpoint(1);
    paced.rate_per_second = Some(10.0);
    let mut lanes = lanes(LIMITS, &[paced]);
    fill(&mut lanes, 1, 3);
    let now = Instant::now();
    assert!(lanes.start(now).is_some());
    assert!(lanes.start(now).is_none() && lanes.has_waiting());
    assert!(lanes.start(now + Duration::from_millis(101)).is_some());
}

#[test]
fn nothing_starts_while_the_leases_are_in_doubt_or_after_the_end() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 2);
    lanes.suspend(true);
    assert!(lanes.start(Instant::now()).is_none() && lanes.reserve(1, 1, Instant::now()) == 0);
    lanes.suspend(false);
    assert_eq!(lanes.close().len(), 2);
    assert!(
        lanes.start(Instant::now()).is_none() && lanes.push(job(1, 9), Instant::now()).is_err()
    );
}

#[test]
fn leases_of_another_holder_are_given_back_and_the_room_is_free_again() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 100);
    assert_eq!(lanes.take_other_holders(2).len(), 8);
    assert!(lanes.held().is_empty() && lanes.start(Instant::now()).is_none());
    assert_eq!(lanes.reserve(1, 100, Instant::now()), 8);
}

#[test]
fn due_work_is_shared_out_and_remembered_where_there_was_no_room() {
    let mut lanes = lanes(LIMITS, &[endpoint(1), endpoint(2)]);
    let now = Instant::now();
    fill(&mut lanes, 1, 100);
    lanes.note_due(1, now);
    lanes.note_due(2, now);
    assert_eq!(lanes.reserve_due(now, 6), [(2, 6)], "who has no room takes no share");
    assert!(lanes.next_due().is_none(), "the one that is due has no room");
    let started = start_all(&mut lanes);
    for job in &started {
        lanes.finished(job.lease(), None, Instant::now());
    }
    assert_eq!(lanes.next_due(), Some(now));
}

#[test]
fn a_paced_endpoint_has_no_more_leased_than_it_can_send_soon() {
    let mut paced = endpoint(1);
    paced.rate_per_second = Some(10.0);
    let mut lanes = lanes(LIMITS, &[paced]);
    assert_eq!(lanes.reserve(1, 10_000, Instant::now()), 20, "two seconds of it");
}

#[test]
fn nothing_is_leased_for_an_endpoint_that_is_not_ready() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 1);
    let job = lanes.start(Instant::now()).expect("one is queued");
    lanes.adapt(LIMITS, std::iter::empty(), Instant::now());
    lanes.note_due(1, Instant::now());
    assert_eq!((lanes.reserve(1, 1, Instant::now()), lanes.next_due()), (0, None));
    lanes.finished(job.lease(), None, Instant::now());
}

#[test]
fn room_comes_soon_only_where_what_is_leased_is_being_sent() {
    let (now, within) = (Instant::now(), Duration::from_millis(250));
    let busy = |endpoint: Endpoint| {
        let mut lanes = lanes(LIMITS, &[endpoint]);
        answer(&mut lanes, 1, Duration::from_millis(1));
        while fill(&mut lanes, 1, 100) > 0 {}
        lanes
    };
    let mut quick = busy(endpoint(1));
    let started = start_all(&mut quick);
    assert_eq!(started.len(), 4);
    assert!(
        !quick.soon_has_room(1, Duration::from_millis(100), now),
        "2000 by four, a millisecond each"
    );
    assert!(quick.soon_has_room(1, Duration::from_millis(600), now));
    assert!(
        !quick.soon_has_room(1, Duration::from_secs(9), now + Duration::from_secs(2)),
        "they hang"
    );
    assert!(!quick.soon_has_room(2, within, now), "nobody knows it");
    let hold = Some(Duration::from_secs(60));
    let asks = Heard { sign: Sign::Overloaded, took: Duration::from_millis(1), hold };
    quick.finished(started[0].lease(), Some(asks), now);
    assert!(!quick.soon_has_room(1, Duration::from_secs(9), now), "it asked for a pause");
    let mut paced = endpoint(1);
    paced.rate_per_second = Some(10.0);
    let paced = busy(paced);
    assert!(!paced.soon_has_room(1, within, now), "ten of twenty, ten a second");
    assert!(paced.soon_has_room(1, Duration::from_secs(2), now));
}
