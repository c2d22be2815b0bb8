//! Hostile endpoints among many: the healthy ones notice nothing.

use std::collections::HashSet;
use std::time::Duration;

use crate::checker::{Rules, judge};
use crate::clock::{self, shown};
use crate::history::{Endpoint, name_of};
use crate::latency::{Window, mebibytes, watch};
use crate::place::Place;
use crate::producer::Plan;
use crate::receivers::Behaviour;
use crate::report::{Report, Run};

/// What hostile endpoints do, in turn.
const HOSTILE: &[Behaviour] = &[
    Behaviour::Hang,
    // A second before the time limit of a request.
    Behaviour::Slow(Duration::from_secs(14)),
    Behaviour::Status(500),
    Behaviour::Reset,
    Behaviour::Refuse,
    Behaviour::Busy(None),
    Behaviour::Busy(Some(30)),
    Behaviour::Endless,
    Behaviour::Drip,
    Behaviour::Flap(Duration::from_secs(20)),
];
const MOST_RESIDENT: u64 = 256 * 1024 * 1024;
/// Opening the first connections is not what is measured.
const WARM_UP: Duration = Duration::from_secs(10);
/// What a healthy endpoint is owed at the end of a window is given this time to arrive.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Every fifth endpoint turns hostile.
fn is_hostile(endpoint: Endpoint) -> bool {
    endpoint.is_multiple_of(5)
}

/// Turns the hostile ones loose. What refuses has another address.
async fn turn(place: &Place, endpoints: Endpoint) {
    for endpoint in (0..endpoints).filter(|endpoint| is_hostile(*endpoint)) {
        let behaviour = HOSTILE[usize::from(endpoint / 5) % HOSTILE.len()];
        place.receivers.set(endpoint, behaviour);
        if behaviour == Behaviour::Refuse {
            let sql = "UPDATE outbox.endpoints SET url = $2 WHERE name = $1";
            let (name, url) = (name_of(endpoint), place.receivers.url(endpoint));
            place.client.execute(sql, &[&name, &url]).await.expect("another address");
        }
    }
}

pub async fn run(run: Run) -> Report {
    let endpoints: Endpoint = run.size(1000, 200);
    let rate = run.size(400.0, 100.0);
    let baseline_for = Duration::from_secs(run.size(120, 8));
    let hostile_for = Duration::from_secs(run.size(600, 20));
    // A slice runs unoptimised, on machines that do other things too.
    let (factor, slack) = run.size((1.25, 50_000), (2.0, 200_000));

    let subscribers = (0..endpoints).map(|endpoint| vec![endpoint]).collect();
    let place = Place::new(vec![Behaviour::Good; usize::from(endpoints)], subscribers).await;
    let mut daemon = place.daemon("daemon", &[]);
    assert!(daemon.ready().await, "no daemon: {}", daemon.log());
    let plan = Plan { rate, connections: 4, kinds: endpoints, seed: run.seed, undone: 0.1 };
    let producer = place.produce(plan);
    watch(&daemon, WARM_UP).await;
    let begun = clock::now();
    watch(&daemon, baseline_for).await;
    let turned = clock::now();
    turn(&place, endpoints).await;
    let resident = watch(&daemon, hostile_for).await;
    let ended = clock::now();
    let produced = producer.stop().await;
    watch(&daemon, AFTERWARDS).await;
    let code = daemon.drain().await;

    let mut report = Report::new(format!(
        "{endpoints} endpoints, {} of them hostile for {} s, {rate} deliveries/s",
        endpoints / 5,
        hostile_for.as_secs()
    ));
    let histories = place.histories(produced, Vec::new()).await;
    let healthy: HashSet<Endpoint> = (0..endpoints).filter(|one| !is_hostile(*one)).collect();
    let window = |range| Window::of(&histories, &place.subscribers, &healthy, &range);
    let (mut before, mut during) = (window(begun..turned), window(turned..ended));
    let (base, now) = (before.percentile(99.0), during.percentile(99.0));
    let limit = ((base as f64 * factor) as u64).max(base.saturating_add(slack));
    report.figure("healthy p99", shown(now));
    report.figure("baseline p99", shown(base));
    report.figure("healthy p50", shown(during.percentile(50.0)));
    report.figure("baseline p50", shown(before.percentile(50.0)));
    report.figure("throughput", format!("{:.1} %", during.throughput() * 100.0));
    report.figure("resident", mebibytes(resident));
    let verdict =
        judge(&histories, &Rules { subscribers: place.subscribers.clone(), ..Rules::default() });
    report.judge(&verdict);
    report.expect(now <= limit, format!("healthy p99 {} of at most {}", shown(now), shown(limit)));
    report.expect(during.throughput() >= 0.95, "healthy endpoints got less than 95 % in time");
    report.expect(resident <= MOST_RESIDENT, format!("resident {}", mebibytes(resident)));
    report.expect(code == Some(0), format!("it ended with {code:?}: {}", daemon.log()));
    report
}
