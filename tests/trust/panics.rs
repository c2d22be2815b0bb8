//! Panics under load: of an attempt, which fails alone, and of loops, which end their daemon.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::{Rules, judge};
use crate::clock;
use crate::kills::{SETTINGS, four_endpoints, plan};
use crate::report::{Report, Run};

/// An attempt of the daemon that stays.
const ATTEMPT: &str = "send.before_connect=panic@40";
/// Of loops, and at which visit.
const LOOPS: &[(&str, u64)] = &[
    ("record.before_statement", 20),
    ("sweep.round", 1),
    ("fan_out.before_commit", 20),
    ("presence.before_bury", 1),
    ("claim.before", 2),
    ("fan_out.before_take", 20),
    ("record.after_commit", 20),
];
/// Longest from the start of a daemon to its end.
const END: Duration = Duration::from_secs(40);

pub async fn run(run: Run) -> Report {
    let loops = &LOOPS[..run.size(LOOPS.len(), 2)];
    let place = four_endpoints().await;
    let producer = place.produce(plan(run));
    let mut report = Report::default();
    let mut stays = place.daemon_with("stays", SETTINGS, Some(ATTEMPT));
    assert!(stays.ready().await, "no daemon: {}", stays.log());
    let mut deaths = Vec::new();
    for (point, visit) in loops {
        let failpoint = format!("{point}=panic@{visit}");
        let mut daemon = place.daemon_with(point, SETTINGS, Some(&failpoint));
        let ended = daemon.end_within(END).await;
        let code = ended.and_then(|ended| ended.code());
        let says = daemon.log().contains("a part of the daemon panicked");
        report.expect(
            code == Some(1) && says,
            format!("{failpoint}: it ended with {ended:?}: {}", daemon.log()),
        );
        deaths.push(place.death_of(&daemon).await);
    }
    let produced = producer.stop().await;
    let rests = place.rests_within(Duration::from_secs(60)).await;
    report.expect(rests, "deliveries are left after a minute of peace");
    let panics = stays.metric("outboxd_panics_total").await.unwrap_or(-1.0);
    report.expect((panics - 1.0).abs() < 0.1, format!("{panics} panics counted, not one"));
    let started = Instant::now();
    // A slot is given back a moment after its outcome is recorded.
    while stays.metric("outboxd_inflight_requests").await.unwrap_or(-1.0) != 0.0 {
        if started.elapsed() > Duration::from_secs(10) {
            report.expect(false, "a request that panicked is still under way");
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let failed = "SELECT count(*) FROM outbox.attempts WHERE error LIKE 'outboxd itself failed%'";
    report.expect(place.number(failed).await == 1, "the attempt that panicked is not recorded");
    let code = stays.drain().await;
    report.expect(code == Some(0), format!("the one that stays ended with {code:?}"));
    let histories = place.histories(produced, deaths).await;
    let rules = Rules { subscribers: place.subscribers.clone(), ..Rules::default() };
    let verdict = judge(&histories, &rules);
    report.done = format!("a panic of an attempt, and {} of loops, under load", loops.len());
    report.judge(&verdict);
    report.figure("leased at the ends", verdict.leased);
    report.figure("slowest re-send", clock::shown(verdict.slowest));
    report
}
