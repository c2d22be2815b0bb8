//! SIGTERM under load, of one of two daemons at a time.

use std::time::Duration;

use tokio::time::sleep;

use crate::checker::{Rules, judge};
use crate::clock::{self, micros, shown};
use crate::kills::{SETTINGS, four_endpoints, plan};
use crate::report::{Report, Run};

/// How long a daemon works, in milliseconds, before it is told to stop.
const LIFE: std::ops::Range<u64> = 50..600;
/// Leases that name a daemon which is no more.
const ORPHANS: &str = "SELECT count(*) FROM outbox.work \
    WHERE holder IS NOT NULL AND holder NOT IN (SELECT id FROM outbox.instances)";

pub async fn run(run: Run) -> Report {
    let wanted = run.size(200, 10);
    let place = four_endpoints().await;
    let producer = place.produce(plan(run));
    let mut random = fastrand::Rng::with_seed(run.seed);
    let mut report = Report::default();
    let mut other = place.daemon("d0", SETTINGS);
    let (mut orphans, mut slowest) = (0, 0);
    for number in 1..=wanted {
        let fresh = place.daemon(&format!("d{number}"), SETTINGS);
        assert!(other.ready().await, "no daemon: {}", other.log());
        sleep(Duration::from_millis(random.u64(LIFE))).await;
        let told = clock::now();
        let code = other.drain().await;
        slowest = slowest.max(clock::now() - told);
        report.expect(
            code == Some(0),
            format!("{} ended with {code:?}: {}", other.name, other.log()),
        );
        orphans += place.number(ORPHANS).await;
        other = fresh;
    }
    let rate = place.receivers.seen();
    let produced = producer.stop().await;
    let rests = place.rests_within(Duration::from_secs(60)).await;
    let code = other.drain().await;
    report.expect(code == Some(0), format!("the last one ended with {code:?}"));
    let histories = place.histories(produced, Vec::new()).await;
    let verdict =
        judge(&histories, &Rules { subscribers: place.subscribers.clone(), ..Rules::default() });
    report.done =
        format!("{wanted} SIGTERMs under load, one of two daemons at a time; {rate} requests");
    report.judge(&verdict);
    report.figure("leases left behind", orphans);
    report.figure("slowest drain", shown(slowest));
    report.expect(orphans == 0, "leases of daemons that have left");
    report.expect(micros(Duration::from_secs(30)) > slowest, "a drain took longer than the grace");
    report.expect(rests, "deliveries are left after a minute of peace");
    report
}
