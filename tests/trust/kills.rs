//! SIGKILL of one of two daemons under load: half at failpoints, half at random moments.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tokio::time::sleep;

use crate::checker::{Rules, judge};
use crate::clock;
use crate::daemon::{Daemon, say};
use crate::history::{Death, Endpoint};
use crate::place::Place;
use crate::producer::Plan;
use crate::receivers::Behaviour;
use crate::report::{Report, Run};

/// Committed events a second, in full and as an unoptimised slice; each is for three endpoints.
const EVENTS_PER_SECOND: (f64, f64) = (300.0, 80.0);
const ENDPOINTS: Endpoint = 4;
/// Longest that what a dead daemon had leased may take to be sent again.
const RESENT_WITHIN: Duration = Duration::from_secs(10);
/// A daemon lives this long, in milliseconds, when it is killed at random.
const LIFE: std::ops::Range<u64> = 100..1100;
/// How long a failpoint is waited for; then it counts as a random kill.
const FAILPOINT_PATIENCE: Duration = Duration::from_secs(4);
/// After this many deaths of one daemon, it is the other's turn. In between the survivor has to be
/// there for as long as it takes to be sure that the other is dead: daemons that all die every
/// second have nobody to take over from them.
const TURN: usize = 20;

const SIGKILL: i32 = 9;

/// Where daemons die, and up to which visit.
const FAILPOINTS: &[(&str, u64)] = &[
    ("fan_out.before_take", 60),
    ("fan_out.after_take", 40),
    ("fan_out.before_commit", 40),
    ("fan_out.after_commit", 40),
    ("fan_out.before_submit", 40),
    ("claim.before", 3),
    ("claim.after_commit", 2),
    ("claim.before_submit", 2),
    ("store.committing", 40),
    ("send.before_connect", 300),
    ("send.after_head", 300),
    ("send.after_body", 300),
    ("record.before_statement", 100),
    ("record.after_commit", 100),
    ("record.settled", 100),
    ("presence.before_join", 1),
    ("presence.joined", 1),
    ("sweep.round", 1),
    ("sweep.after_batch", 1),
];

pub const SETTINGS: &[(&str, &str)] = &[("delivery.retry", "1s 1s 1s 1s 1s 1s 1s 1s 1s")];

/// Four endpoints, of which each event is for three. One takes its time, so that there is something
/// under way at any moment, and one fails one request in a hundred, so
/// that there are retries to claim.
pub async fn four_endpoints() -> Place {
    let mut behaviours = vec![Behaviour::Good; usize::from(ENDPOINTS)];
    behaviours[2] = Behaviour::Slow(Duration::from_millis(30));
    behaviours[3] = Behaviour::Faulty(10);
    let all_but = |kind: Endpoint| (0..ENDPOINTS).filter(|one| *one != kind).collect();
    Place::new(behaviours, (0..ENDPOINTS).map(all_but).collect()).await
}

pub fn plan(run: Run) -> Plan {
    let rate = run.size(EVENTS_PER_SECOND.0, EVENTS_PER_SECOND.1);
    Plan { rate, connections: 4, kinds: ENDPOINTS, seed: run.seed, undone: 0.3 }
}

/// The kills of a run.
struct Killer<'a> {
    place: &'a Place,
    random: fastrand::Rng,
    deaths: Vec<Death>,
    /// How many were to die at a failpoint, and how many did.
    armed: usize,
    at_failpoints: usize,
    reached: BTreeSet<&'static str>,
}

impl Killer<'_> {
    /// Starts a daemon, lets it die, and notes what it held.
    async fn life_and_death(&mut self, run: Run) {
        let number = self.deaths.len();
        // One that is not reached in time leaves a death at a random moment.
        let armed = self.at_failpoints * 2 <= number;
        let (point, most) = FAILPOINTS[self.armed % FAILPOINTS.len()];
        // With less to do it takes longer to get there.
        let visit = self.random.u64(1..=run.size(most, most.div_ceil(10)));
        let failpoint = armed.then(|| format!("{point}=kill@{visit}"));
        self.armed += usize::from(armed);
        let name = format!("d{number}");
        let mut daemon = self.place.daemon_with(&name, SETTINGS, failpoint.as_deref());
        let mut died = false;
        if armed {
            died = match daemon.end_within(FAILPOINT_PATIENCE).await {
                Some(ended) => {
                    // Or the point was not what ended it.
                    let killed = ended.signal() == Some(SIGKILL);
                    assert!(killed, "{failpoint:?}: {ended}: {}", daemon.log());
                    true
                }
                None => false,
            };
        } else if daemon.ready().await {
            sleep(Duration::from_millis(self.random.u64(LIFE))).await;
        }
        if died {
            self.at_failpoints += 1;
            self.reached.insert(point);
        } else {
            daemon.kill().await;
        }
        self.deaths.push(self.place.death_of(&daemon).await);
    }
}

pub async fn run(run: Run) -> Report {
    let wanted = run.size(500, 24);
    let place = four_endpoints().await;
    let producer = place.produce(plan(run));
    let mut killer = Killer {
        place: &place,
        random: fastrand::Rng::with_seed(run.seed),
        deaths: Vec::new(),
        armed: 0,
        at_failpoints: 0,
        reached: BTreeSet::new(),
    };
    let mut survivor: Daemon = place.daemon("s0", SETTINGS);
    assert!(survivor.ready().await, "no daemon: {}", survivor.log());
    let started = clock::now();
    while killer.deaths.len() < wanted {
        killer.life_and_death(run).await;
        let deaths = killer.deaths.len();
        if deaths.is_multiple_of(TURN) && deaths < wanted {
            // The other's turn: one that will live comes first.
            let mut next = place.daemon(&format!("s{deaths}"), SETTINGS);
            assert!(next.ready().await, "no daemon: {}", next.log());
            survivor.kill().await;
            killer.deaths.push(place.death_of(&survivor).await);
            survivor = next;
            say(&format!("  {} kills, {} requests", killer.deaths.len(), place.receivers.seen()));
        }
    }
    let seconds = (clock::now() - started) as f64 / 1e6;
    let rate = place.receivers.seen() as f64 / seconds;
    let produced = producer.stop().await;
    let rests = place.rests_within(Duration::from_secs(120)).await;
    let Killer { deaths, at_failpoints, reached, .. } = killer;
    let kills = deaths.len();
    let histories = place.histories(produced, deaths).await;
    let resent_within = Some(clock::micros(RESENT_WITHIN));
    let verdict = judge(
        &histories,
        &Rules { subscribers: place.subscribers.clone(), resent_within, ..Rules::default() },
    );
    let mut report = Report::new(format!(
        "{kills} SIGKILLs under load, one of two daemons at a time, {at_failpoints} of them at {} failpoints",
        reached.len()
    ));
    report.judge(&verdict);
    report.figure("leased at the kills", verdict.leased);
    report.figure("slowest re-send", clock::shown(verdict.slowest));
    report.figure("requests/s", rate.round());
    report.expect(rests, "deliveries are left after two minutes of peace");
    let enough = run.size(wanted / 2, wanted / 3);
    report.expect(at_failpoints >= enough, format!("only {at_failpoints} kills at failpoints"));
    let missing: Vec<_> = FAILPOINTS.iter().filter(|point| !reached.contains(point.0)).collect();
    report.expect(
        run.slice || missing.is_empty(),
        format!("failpoints that nobody reached: {missing:?}"),
    );
    drop(survivor);
    report
}
