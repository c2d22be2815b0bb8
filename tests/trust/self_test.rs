//! Whether the checker sees: a good history, and what spoils it in each way.

use std::collections::HashSet;

use crate::checker::{Fault, Rules, judge};
use crate::history::{Death, Fate, Histories, Produced, Recorded, Request};

const LIMIT: u64 = 10_000_000;

/// Twenty events, of two types, to three endpoints. Some were rolled back, event 1 is ambiguous but
/// stored; event 2 was refused once at endpoint 0, event 4 was sent twice because of a death.
fn good() -> (Histories, Rules) {
    let rules = Rules {
        subscribers: vec![vec![0, 1], vec![0, 2]],
        ordered: HashSet::from([1]),
        resent_within: Some(LIMIT),
    };
    let mut histories = Histories::default();
    for event in 0..20 {
        let (kind, at) = (u16::from(event >= 10), u64::from(event) * 1000);
        let fate = match event {
            1 => Fate::Unknown,
            n if n % 7 == 3 => Fate::RolledBack,
            _ => Fate::Committed,
        };
        let key = (event % 2) as u16;
        histories.produced.push(Produced { event, kind, key, fate, payload: at, at });
        if fate == Fate::RolledBack {
            continue;
        }
        histories.stored.push(event);
        for endpoint in rules.subscribers[usize::from(kind)].clone() {
            let twice = endpoint == 0 && matches!(event, 2 | 4);
            let request = Request {
                event,
                endpoint,
                payload: at,
                body: at + 1,
                signed: true,
                accepted: event != 2 || endpoint != 0,
                at: at + 10,
            };
            histories.requests.push(request);
            if twice {
                let again = Request { accepted: true, at: at + 4_000_000, ..request };
                histories.requests.push(again);
            }
            let attempts = 1 + u32::from(twice);
            let recorded = Recorded { attempts, delivered: true, open: false };
            histories.recorded.insert((event, endpoint), recorded);
        }
    }
    histories.deaths.push(Death { at: 5000, leased: vec![(4, 0)] });
    histories.requests.sort_by_key(|request| request.at);
    (histories, rules)
}

type Spoil = fn(&mut Histories);

fn first(histories: &mut Histories, event: u32) -> &mut Request {
    let mut requests = histories.requests.iter_mut();
    requests.find(|request| request.event == event).expect("a request")
}

fn again(histories: &mut Histories, change: fn(&mut Request)) {
    let mut copy = *first(histories, 5);
    copy.at += 5_000_000;
    change(&mut copy);
    histories.requests.push(copy);
}

/// Each one way to break a promise, with the fault that it is.
const SPOILT: &[(Fault, Spoil)] = &[
    (Fault::Lost, |h| {
        h.requests.retain(|request| request.event != 6);
        h.recorded.retain(|pair, _| pair.0 != 6);
    }),
    // The database says that it was delivered, and nobody got it.
    (Fault::Lost, |h| h.requests.retain(|request| request.event != 6)),
    (Fault::Lost, |h| h.recorded.retain(|pair, _| *pair != (6, 1))),
    (Fault::Lost, |h| h.recorded.get_mut(&(6, 1)).expect("one").delivered = false),
    (Fault::Ghost, |h| again(h, |request| request.event = 3)),
    (Fault::Ghost, |h| again(h, |request| request.event = u32::MAX)),
    // What was ambiguous and is not in the database was not committed.
    (Fault::Ghost, |h| h.stored.retain(|event| *event != 1)),
    (Fault::Unexpected, |h| again(h, |request| request.endpoint = 2)),
    (Fault::Duplicate, |h| again(h, |_| {})),
    (Fault::Duplicate, |h| h.deaths.clear()),
    (Fault::Duplicate, |h| {
        let copy = Request { at: 6_000_000, ..*first(h, 4) };
        h.requests.push(copy);
    }),
    (Fault::Unrecorded, |h| h.recorded.get_mut(&(2, 0)).expect("one").attempts = 1),
    (Fault::Unrecorded, |h| again(h, |request| request.accepted = false)),
    (Fault::Changed, |h| first(h, 8).payload += 1),
    // Only the second attempt differs.
    (Fault::Changed, |h| {
        let mut all = h.requests.iter_mut().rev();
        all.find(|request| request.event == 2).expect("one").body += 1;
    }),
    (Fault::Unsigned, |h| first(h, 8).signed = false),
    (Fault::Late, |h| {
        let mut all = h.requests.iter_mut();
        all.find(|request| request.event == 4 && request.at > 5000).expect("one").at += LIMIT;
    }),
    (Fault::Late, |h| h.deaths.push(Death { at: 30_000_000, leased: vec![(8, 1)] })),
    (Fault::Disordered, |h| {
        let earlier = h.requests.iter().position(|r| r.event == 6 && r.endpoint == 1);
        let later = h.requests.iter().position(|r| r.event == 8 && r.endpoint == 1);
        h.requests.swap(earlier.expect("one"), later.expect("one"));
    }),
];

/// Finds nothing in the good history, and each fault in those that have it.
pub fn run() -> Result<usize, String> {
    let (histories, rules) = good();
    let verdict = judge(&histories, &rules);
    if !verdict.faults.is_empty() || verdict.duplicates != 1 || verdict.expected != 34 {
        return Err(format!("the good history: {verdict:?}"));
    }
    for (number, (fault, spoil)) in SPOILT.iter().enumerate() {
        let (mut histories, rules) = good();
        spoil(&mut histories);
        let verdict = judge(&histories, &rules);
        if verdict.count(*fault) == 0 {
            return Err(format!("spoilt history {number}: no '{fault}' in {verdict:?}"));
        }
    }
    Ok(SPOILT.len())
}
