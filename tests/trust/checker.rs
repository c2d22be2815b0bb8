//! Judges the histories of a run against the promises. Pure, and linear in what it reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::clock;
use crate::history::{Endpoint, Event, Fate, Histories, Pair, Produced, Request};

/// How many examples of each fault are kept.
const EXAMPLES: usize = 5;

/// What a run may not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Committed and subscribed to, but neither received nor accounted for.
    Lost,
    /// Sent, but never committed.
    Ghost,
    /// Sent to an endpoint that does not subscribe to it.
    Unexpected,
    /// Accepted again, although no process that died had it leased.
    Duplicate,
    /// A delivery with more requests than attempts recorded.
    Unrecorded,
    /// The payload is not what was inserted, or one attempt differs from another.
    Changed,
    /// The signature does not verify.
    Unsigned,
    /// Leased by a process that died, and not sent again in time.
    Late,
    /// Sent before an earlier event of its key was accepted.
    Disordered,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Ghost => "ghosts",
            Self::Unexpected => "unexpected",
            Self::Duplicate => "duplicates beyond those allowed",
            Self::Unrecorded => "attempts unrecorded",
            Self::Changed => "bytes changed",
            Self::Unsigned => "bad signatures",
            Self::Late => "late",
            Self::Disordered => "out of order",
        })
    }
}

/// What to judge by.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The endpoints of each event type.
    pub subscribers: Vec<Vec<Endpoint>>,
    /// Those that get the events of a key in order.
    pub ordered: HashSet<Endpoint>,
    /// How long after a death, in microseconds, what it had leased may take; `None`: any time.
    pub resent_within: Option<u64>,
}

/// The findings.
#[derive(Debug, Default)]
pub struct Verdict {
    pub faults: BTreeMap<Fault, Found>,
    /// Deliveries that had to be made.
    pub expected: usize,
    pub duplicates: usize,
    /// Deliveries leased by processes when they died.
    pub leased: usize,
    /// The longest time from a death to the next request for what it had leased.
    pub slowest: u64,
}

/// A fault's number and first examples.
#[derive(Debug, Default)]
pub struct Found {
    pub count: usize,
    pub examples: Vec<String>,
}

/// What the receivers saw of a delivery.
#[derive(Default)]
struct Seen {
    requests: u32,
    accepted: u32,
    body: u64,
    /// When, in order.
    times: Vec<u64>,
}

impl Verdict {
    pub fn count(&self, fault: Fault) -> usize {
        self.faults.get(&fault).map_or(0, |found| found.count)
    }

    fn note(&mut self, fault: Fault, example: impl FnOnce() -> String) {
        let found = self.faults.entry(fault).or_default();
        found.count += 1;
        if found.examples.len() < EXAMPLES {
            found.examples.push(example());
        }
    }
}

/// Judges a run that has come to rest.
pub fn judge(histories: &Histories, rules: &Rules) -> Verdict {
    let mut verdict = Verdict::default();
    let committed = committed(histories);
    let seen = judge_requests(histories, rules, &committed, &mut verdict);
    judge_deliveries(histories, rules, &committed, &seen, &mut verdict);
    judge_repeats(histories, &seen, &mut verdict);
    if let Some(limit) = rules.resent_within {
        judge_lateness(histories, limit, &seen, &mut verdict);
    }
    if !rules.ordered.is_empty() {
        judge_order(histories, rules, &committed, &mut verdict);
    }
    verdict
}

/// The events that count as committed: by the producer, or by the database where he cannot know.
fn committed(histories: &Histories) -> HashMap<Event, &Produced> {
    let stored: HashSet<Event> = histories.stored.iter().copied().collect();
    let counts = |one: &&Produced| match one.fate {
        Fate::Committed => true,
        Fate::RolledBack => false,
        Fate::Unknown => stored.contains(&one.event),
    };
    histories.produced.iter().filter(counts).map(|one| (one.event, one)).collect()
}

fn judge_requests(
    histories: &Histories,
    rules: &Rules,
    committed: &HashMap<Event, &Produced>,
    verdict: &mut Verdict,
) -> HashMap<Pair, Seen> {
    let mut seen: HashMap<Pair, Seen> = HashMap::new();
    for request in &histories.requests {
        let Request { event, endpoint, at, .. } = *request;
        let what = || format!("event {event} at endpoint {endpoint}, {}", clock::shown(at));
        if !request.signed {
            verdict.note(Fault::Unsigned, what);
        }
        let Some(produced) = committed.get(&event) else {
            verdict.note(Fault::Ghost, what);
            continue;
        };
        let subscribed = rules.subscribers.get(usize::from(produced.kind));
        if !subscribed.is_some_and(|all| all.contains(&endpoint)) {
            verdict.note(Fault::Unexpected, what);
            continue;
        }
        let pair = seen.entry((event, endpoint)).or_default();
        let differs = pair.requests > 0 && pair.body != request.body;
        if differs || request.payload != produced.payload {
            verdict.note(Fault::Changed, what);
        }
        pair.body = request.body;
        pair.requests += 1;
        pair.accepted += u32::from(request.accepted);
        pair.times.push(at);
    }
    seen
}

fn judge_deliveries(
    histories: &Histories,
    rules: &Rules,
    committed: &HashMap<Event, &Produced>,
    seen: &HashMap<Pair, Seen>,
    verdict: &mut Verdict,
) {
    for (event, produced) in committed {
        for endpoint in rules.subscribers.get(usize::from(produced.kind)).into_iter().flatten() {
            verdict.expected += 1;
            let pair = (*event, *endpoint);
            let recorded = histories.recorded.get(&pair).copied().unwrap_or_default();
            let (requests, accepted) = seen.get(&pair).map_or((0, 0), |s| (s.requests, s.accepted));
            let what = || {
                format!("event {event} to endpoint {endpoint}: {requests} requests, {recorded:?}")
            };
            let accounted_for = if recorded.delivered { accepted > 0 } else { recorded.open };
            if !accounted_for {
                verdict.note(Fault::Lost, what);
            }
            if recorded.attempts < requests {
                verdict.note(Fault::Unrecorded, what);
            }
        }
    }
}

fn judge_repeats(histories: &Histories, seen: &HashMap<Pair, Seen>, verdict: &mut Verdict) {
    let mut allowed: HashMap<Pair, usize> = HashMap::new();
    for pair in histories.deaths.iter().flat_map(|death| &death.leased) {
        *allowed.entry(*pair).or_default() += 1;
        verdict.leased += 1;
    }
    for (pair, seen) in seen {
        let repeats = seen.accepted.saturating_sub(1) as usize;
        verdict.duplicates += repeats;
        let allowed = allowed.get(pair).copied().unwrap_or(0);
        for _ in allowed..repeats {
            verdict.note(Fault::Duplicate, || {
                let (event, endpoint) = pair;
                let times: Vec<String> = seen.times.iter().map(|at| clock::shown(*at)).collect();
                format!("event {event} at endpoint {endpoint}: at {}", times.join(", "))
            });
        }
    }
}

/// What a process had leased when it died is sent again in time; or another process, which had it
/// by then, died too, and from then on it is that one's.
fn judge_lateness(
    histories: &Histories,
    limit: u64,
    seen: &HashMap<Pair, Seen>,
    verdict: &mut Verdict,
) {
    // Backwards: the next death of each delivery is then known.
    let mut next_death: HashMap<Pair, u64> = HashMap::new();
    for death in histories.deaths.iter().rev() {
        for pair in &death.leased {
            let times = seen.get(pair).map_or(&[][..], |seen| &seen.times);
            let sent = times.iter().copied().find(|at| *at > death.at);
            let died = next_death.insert(*pair, death.at);
            let next = [sent, died].into_iter().flatten().min();
            let took = next.map(|at| at - death.at);
            verdict.slowest = verdict.slowest.max(took.unwrap_or(u64::MAX));
            if took.is_none_or(|took| took > limit) {
                verdict.note(Fault::Late, || {
                    let took = took.map_or("never".to_owned(), clock::shown);
                    format!("{pair:?}, leased at {}: again after {took}", clock::shown(death.at))
                });
            }
        }
    }
}

/// The events of a key in the order of their numbers, each accepted before the next is sent. A
/// producer gives the events of a key their numbers in the order of their commits.
fn judge_order(
    histories: &Histories,
    rules: &Rules,
    committed: &HashMap<Event, &Produced>,
    verdict: &mut Verdict,
) {
    let mut lines: HashMap<(Endpoint, u16), Vec<Event>> = HashMap::new();
    for one in committed.values() {
        let subscribed = rules.subscribers.get(usize::from(one.kind)).into_iter().flatten();
        for endpoint in subscribed.filter(|endpoint| rules.ordered.contains(endpoint)) {
            lines.entry((*endpoint, one.key)).or_default().push(one.event);
        }
    }
    for events in lines.values_mut() {
        events.sort_unstable();
    }
    let mut accepted: HashMap<(Endpoint, u16), usize> = HashMap::new();
    for request in &histories.requests {
        let Some(produced) = committed.get(&request.event) else { continue };
        let line = (request.endpoint, produced.key);
        let Some(events) = lines.get(&line) else { continue };
        let next = accepted.entry(line).or_default();
        let expected = events.get(*next).copied().unwrap_or(Event::MAX);
        if request.event > expected {
            verdict.note(Fault::Disordered, || {
                format!("event {} before {expected}, key {}", request.event, produced.key)
            });
        }
        if request.event == expected && request.accepted {
            *next += 1;
        }
    }
}
