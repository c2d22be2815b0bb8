//! How quick and slow endpoints share the slots.

use super::*;

#[test]
fn strangers_and_slow_endpoints_share_one_half_of_the_slots() {
    let mut lanes = crowd(20);
    answer(&mut lanes, 1, Duration::from_secs(5));
    answer(&mut lanes, 20, Duration::from_millis(5));
    for key in 1..=19 {
        fill(&mut lanes, key, 32);
    }
    let started = start_all(&mut lanes);
    assert_eq!(started.len(), 31, "the last one is for the next stranger");
    let of = |key| started.iter().filter(|job| job.endpoint == key).count();
    assert!((1..=19).all(|key| of(key) >= 1), "each of them gets a request");
    fill(&mut lanes, 20, 40);
    assert_eq!(start_all(&mut lanes).len(), 17, "a quick one as many as it leaves over");
}

#[test]
fn quick_endpoints_that_hang_become_slow_and_leave_slots_and_room_to_others() {
    let mut lanes = crowd(10);
    for key in 1..=10 {
        answer(&mut lanes, key, Duration::from_millis(5));
    }
    for key in 1..=9 {
        fill(&mut lanes, key, 1000);
    }
    let now = Instant::now();
    let started = start_all(&mut lanes).len();
    assert!(started < 64, "{started}: they leave some over");
    let back = lanes.age(now + Duration::from_millis(1500));
    assert!(back.len() > 8000, "{}: they keep what they can send", back.len());
    assert!(fill(&mut lanes, 10, 10) == 10);
    let job = lanes.start(now + Duration::from_millis(1500)).expect("a slot");
    assert_eq!(job.endpoint, 10, "the only quick one");
}

#[test]
fn an_endpoint_that_turns_out_quick_no_longer_waits_among_the_slow() {
    let mut lanes = crowd(40);
    for key in 1..=40 {
        fill(&mut lanes, key, 32);
    }
    let started = start_all(&mut lanes);
    assert_eq!(started.len(), 32, "strangers, one half of the slots");
    let now = Instant::now();
    let key = started[0].endpoint;
    lanes.finished(started[0].lease(), Some(took_it(Duration::from_millis(5))), now);
    let others: Vec<EndpointKey> = start_all(&mut lanes).iter().map(|job| job.endpoint).collect();
    assert!(others.iter().filter(|other| **other == key).count() >= 15, "{others:?}");
}

#[test]
fn slow_endpoints_get_their_turns_beside_quick_ones_that_could_use_all() {
    let mut lanes = crowd(3);
    for key in [1, 2] {
        answer(&mut lanes, key, Duration::from_millis(5));
    }
    for key in 1..=3 {
        fill(&mut lanes, key, 64);
    }
    let started = start_all(&mut lanes);
    assert!(started.iter().any(|job| job.endpoint == 3), "a stranger is not starved");
}

#[test]
fn prompt_endpoints_share_no_more_slots_than_keep_the_processor_busy() {
    let limits = Limits { prompt_in_flight: 12, max_per_endpoint: 32, ..LIMITS };
    let endpoints: Vec<Endpoint> = (1..=22).map(endpoint).collect();
    let mut lanes = lanes(limits, &endpoints);
    for key in 1..=21 {
        answer(&mut lanes, key, Duration::from_millis(5));
    }
    answer(&mut lanes, 22, Duration::from_millis(50));
    for key in [1, 2] {
        fill(&mut lanes, key, 64);
    }
    assert_eq!(start_all(&mut lanes).len(), 8, "they leave some over");
    for key in 3..=22 {
        fill(&mut lanes, key, 64);
    }
    let started = start_all(&mut lanes);
    let of = |key| started.iter().filter(|job| job.endpoint == key).count();
    assert!((3..=21).all(|key| of(key) >= 1), "one for each of them in any case");
    assert!((3..=21).map(of).sum::<usize>() <= 21, "and few more");
    assert_eq!(of(22), 32, "whose receiver takes longer is not held back by that");
}
