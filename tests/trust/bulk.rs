//! A million events in one transaction, beside an endpoint that gets a few a second.

use std::collections::HashSet;
use std::time::Duration;

use crate::checker::{Rules, judge};
use crate::clock::{self, shown};
use crate::history::{Event, Fate, Produced};
use crate::latency::{Window, mebibytes, watch};
use crate::place::Place;
use crate::producer::{Plan, kind_name};
use crate::receivers::Behaviour;
use crate::report::{Report, Run};

/// Events a second for the small endpoint.
const TRICKLE: f64 = 20.0;
const MOST_RESIDENT: u64 = 256 * 1024 * 1024;
/// What is committed just before the bulk is has to be found among it.
const FOUND_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
/// The bulk is delivered at least that fast, or the run ends.
const SLOWEST: u32 = 500;

/// Inserts the bulk, of the kind that only endpoint 1 gets.
async fn insert(place: &Place, count: u32) -> Vec<Produced> {
    let first = place.reserve(count);
    let sql = format!(
        "INSERT INTO outbox.events (id, type, payload) \
         SELECT 't' || n, '{}', json_build_object('n', n, 'text', repeat('x', 200)) \
         FROM generate_series({first}, {}) AS n",
        kind_name(1),
        first + (count - 1)
    );
    let client = crate::harness::connect(&place.url).await;
    client.batch_execute(&sql).await.expect("a bulk");
    let one = |event: Event| {
        let (fate, at) = (Fate::Committed, clock::now());
        Produced { event, kind: 1, key: 0, fate, payload: 0, at }
    };
    (first..first + count).map(one).collect()
}

pub async fn run(run: Run) -> Report {
    let count = run.size(1_000_000, 20_000);
    let baseline_for = Duration::from_secs(run.size(60, 10));
    let place = Place::new(vec![Behaviour::Good; 2], vec![vec![0], vec![1]]).await;
    place.receivers.be_quick();
    let mut daemon = place.daemon("daemon", &[]);
    assert!(daemon.ready().await, "no daemon: {}", daemon.log());
    let plan = Plan { rate: TRICKLE, connections: 1, kinds: 1, seed: run.seed, undone: 0.0 };
    let producer = place.produce(plan);
    watch(&daemon, LOOK * 2).await;
    let begun = clock::now();
    let mut resident = watch(&daemon, baseline_for).await;
    let inserting = clock::now();
    let bulk = insert(&place, count).await;
    let committed = clock::now();
    let limit = Duration::from_secs(u64::from(count / SLOWEST) + 30);
    let left = "SELECT count(*) FROM outbox.work WHERE endpoint = 2";
    while clock::now() - committed < clock::micros(limit) {
        resident = resident.max(watch(&daemon, LOOK).await);
        if place.receivers.seen() >= bulk.len() && place.number(left).await == 0 {
            break;
        }
    }
    let ended = clock::now();
    let mut produced = producer.stop().await;
    let idle = place.rests_within(Duration::from_secs(60)).await;
    let code = daemon.drain().await;

    // Receivers that only count know no bytes.
    produced.iter_mut().for_each(|one| one.payload = 0);
    produced.extend(bulk);
    let histories = place.histories(produced, Vec::new()).await;
    let trickle = HashSet::from([0]);
    let window = |range| Window::of(&histories, &place.subscribers, &trickle, &range);
    let (mut before, mut beside) = (window(begun..inserting), window(committed..ended));
    let (base, now) = (before.percentile(99.0), beside.percentile(99.0));
    let mut report =
        Report::new(format!("{count} events in one transaction beside {TRICKLE} a second"));
    report.figure("trickle p99", shown(now));
    report.figure("baseline p99", shown(base));
    report.figure("trickle p50", shown(beside.percentile(50.0)));
    report.figure("baseline p50", shown(before.percentile(50.0)));
    let during = window(inserting..committed).percentile(99.0);
    report.figure("p99 during the insert", shown(during));
    let rate = f64::from(count) / ((ended - committed) as f64 / 1e6);
    report.figure("deliveries/s", rate.round());
    report.figure("resident", mebibytes(resident));
    let verdict =
        judge(&histories, &Rules { subscribers: place.subscribers.clone(), ..Rules::default() });
    report.judge(&verdict);
    let most = base * run.size(2, 4);
    report.expect(now <= most, format!("trickle p99 {} of at most {}", shown(now), shown(most)));
    let soon = shown(clock::micros(FOUND_WITHIN));
    report.expect(
        during <= clock::micros(FOUND_WITHIN),
        format!("p99 during the insert {} of at most {soon}", shown(during)),
    );
    report.expect(resident <= MOST_RESIDENT, format!("resident {}", mebibytes(resident)));
    report.expect(idle, format!("the bulk is not delivered after {} s", limit.as_secs()));
    report.expect(code == Some(0), format!("it ended with {code:?}: {}", daemon.log()));
    report
}
