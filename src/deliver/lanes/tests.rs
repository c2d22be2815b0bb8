//! The lanes, without a daemon around them.

use std::sync::Arc;

use super::*;
use crate::endpoint::{EndpointRow, Rules};
use crate::event::Event;
use crate::guard::Policy;
use crate::profile::Profiles;

const LIMITS: Limits = Limits { max_in_flight: 100, max_per_endpoint: 4, instances: 1 };

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
    lanes.adapt(limits, endpoints.iter());
    lanes
}

fn job(key: EndpointKey, seq: i64) -> Job {
    let event = Event {
        seq,
        id: format!("evt_{seq}"),
        event_type: "a".into(),
        tenant: None,
        live: true,
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
        lanes.push(Job { ahead: true, ..job(1, seq) }).expect("room was promised");
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
    let granted = lanes.reserve(key, usize::try_from(count).expect("a count"));
    for seq in 0..i64::try_from(granted).expect("a count") {
        lanes.push(job(key, seq)).expect("room was promised");
    }
    granted
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
    lanes.finished(started[0].lease(), None);
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
    assert_eq!(lanes.reserve(1, 1), 0);
    assert_eq!(fill(&mut lanes, 2, 4), 4);
}

#[test]
fn what_is_promised_and_not_used_can_be_promised_again() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    assert_eq!((lanes.reserve(1, 100), lanes.reserve(1, 100)), (8, 0));
    lanes.unreserve(1, 8);
    assert_eq!(lanes.reserve(1, 100), 8);
}

#[test]
fn a_fast_endpoint_may_have_more_leased_ahead_than_a_slow_one() {
    let room = |took| {
        let mut lanes = lanes(LIMITS, &[endpoint(1)]);
        fill(&mut lanes, 1, 1);
        let job = lanes.start(Instant::now()).expect("one is queued");
        lanes.finished(job.lease(), Some(took));
        lanes.reserve(1, 10_000)
    };
    assert_eq!(room(Duration::from_millis(1)), 4 + MAX_LANE_QUEUE);
    assert_eq!(room(Duration::from_secs(15)), 8);
}

#[test]
fn instances_share_the_cap_of_an_endpoint() {
    let shared = Limits { instances: 3, ..LIMITS };
    let mut lanes = lanes(shared, &[endpoint(1)]);
    fill(&mut lanes, 1, 100);
    assert_eq!(start_all(&mut lanes).len(), 2, "a third of four, rounded up");
}

#[test]
fn the_whole_daemon_has_a_cap() {
    let small = Limits { max_in_flight: 3, ..LIMITS };
    let mut lanes = lanes(small, &[endpoint(1), endpoint(2)]);
    fill(&mut lanes, 1, 4);
    fill(&mut lanes, 2, 4);
    let started = start_all(&mut lanes);
    assert_eq!((started.len(), lanes.in_flight()), (3, 3));
    lanes.finished(started[0].lease(), None);
    assert_eq!(start_all(&mut lanes).len(), 1);
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
    assert!(lanes.start(Instant::now()).is_none() && lanes.reserve(1, 1) == 0);
    lanes.suspend(false);
    assert_eq!(lanes.close().len(), 2);
    assert!(lanes.start(Instant::now()).is_none() && lanes.push(job(1, 9)).is_err());
}

#[test]
fn leases_of_another_holder_are_given_back_and_the_room_is_free_again() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 100);
    assert_eq!(lanes.take_other_holders(2).len(), 8);
    assert!(lanes.held().is_empty() && lanes.start(Instant::now()).is_none());
    assert_eq!(lanes.reserve(1, 100), 8);
}

#[test]
fn due_work_is_shared_out_and_remembered_where_there_was_no_room() {
    let mut lanes = lanes(LIMITS, &[endpoint(1), endpoint(2)]);
    let now = Instant::now();
    fill(&mut lanes, 1, 100);
    lanes.note_due(1, now);
    lanes.note_due(2, now);
    assert_eq!(lanes.reserve_due(now, 6), [(2, 3)]);
    assert!(lanes.next_due().is_none(), "the one that is due has no room");
    let started = start_all(&mut lanes);
    for job in &started {
        lanes.finished(job.lease(), None);
    }
    assert_eq!(lanes.next_due(), Some(now));
}

#[test]
fn a_paced_endpoint_has_no_more_leased_than_it_can_send_soon() {
    let mut paced = endpoint(1);
    paced.rate_per_second = Some(10.0);
    let mut lanes = lanes(LIMITS, &[paced]);
    assert_eq!(lanes.reserve(1, 10_000), 20, "two seconds of it");
}

#[test]
fn nothing_is_leased_for_an_endpoint_that_is_not_ready() {
    let mut lanes = lanes(LIMITS, &[endpoint(1)]);
    fill(&mut lanes, 1, 1);
    let job = lanes.start(Instant::now()).expect("one is queued");
    lanes.adapt(LIMITS, std::iter::empty());
    lanes.note_due(1, Instant::now());
    assert_eq!((lanes.reserve(1, 1), lanes.next_due()), (0, None));
    lanes.finished(job.lease(), None);
}
