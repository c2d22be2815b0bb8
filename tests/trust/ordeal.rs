//! A daemon under load, whose database fails again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outboxd::throwaway::{Cluster, Options};
use tokio::time::Instant;

use crate::checker::{Fault, Rules, judge};
use crate::clock;
use crate::daemon::{Daemon, say};
use crate::harness;
use crate::history::Endpoint;
use crate::place::Place;
use crate::producer::{Plan, Producer};
use crate::receivers::Behaviour;
use crate::report::{Report, Run};

/// Committed events a second; each is for three endpoints.
const EVENTS_PER_SECOND: f64 = 200.0;
const ENDPOINTS: Endpoint = 4;
/// How soon after a fault deliveries have to go on.
const SOON: Duration = Duration::from_secs(10);
/// How long what goes on is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const SETTINGS: &[(&str, &str)] = &[("delivery.retry", "1s 1s 1s 1s 1s 1s 1s 1s 1s")];

/// What the faults may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nothing that was committed is forgotten: each delivery is accepted once.
    Nothing,
    /// The last commits that did not wait for the disk, which costs duplicates.
    LastWrites,
}

/// Producer, daemon and receivers, and what was measured so far.
pub struct Ordeal {
    pub place: Place,
    pub daemon: Daemon,
    producer: Producer,
    faults: usize,
    slowest: Duration,
    late: Vec<String>,
}

/// A cluster that also listens at a port.
pub fn cluster(port: u16, settings: &[(&str, &str)], standby_of: Option<String>) -> Cluster {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let settings = settings.iter().map(own).collect();
    let bin = std::env::var_os("OUTBOXD_TEST_PG_BIN").map(Into::into);
    let options = Options { bin, tcp_port: Some(port), standby_of, settings, ..Options::default() };
    Cluster::start(options).expect("a throwaway cluster")
}

/// Where a cluster listens.
pub fn address(cluster: &Cluster) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster.port()))
}

impl Ordeal {
    /// The producer takes the way of `url`, the daemon that of `way`.
    pub async fn start(cluster: Cluster, url: String, way: &str, run: Run) -> Self {
        let mut behaviours = vec![Behaviour::Good; usize::from(ENDPOINTS)];
        behaviours[2] = Behaviour::Slow(Duration::from_millis(30));
        behaviours[3] = Behaviour::Faulty(10);
        let all_but = |kind: Endpoint| (0..ENDPOINTS).filter(|one| *one != kind).collect();
        let subscribers = (0..ENDPOINTS).map(all_but).collect();
        let place = Place::at(Arc::new(cluster), url, behaviours, subscribers).await;
        let mut daemon = Daemon::start(place.home(), way, "d", SETTINGS, None);
        assert!(daemon.ready().await, "no daemon: {}", daemon.log());
        let producer = place.produce(Plan {
            rate: EVENTS_PER_SECOND,
            connections: 4,
            kinds: ENDPOINTS,
            seed: run.seed,
            undone: 0.3,
        });
        let (faults, slowest, late) = (0, Duration::ZERO, Vec::new());
        let mut ordeal = Self { place, daemon, producer, faults, slowest, late };
        ordeal.goes_on().await;
        ordeal
    }

    /// The only cluster's owner.
    pub fn cluster(&mut self) -> &mut Cluster {
        Arc::get_mut(&mut self.place.cluster).expect("nobody else has it")
    }

    /// A fault has just ended: waits until deliveries go on.
    pub async fn recovers(&mut self, fault: &str) {
        let took = self.goes_on().await;
        self.faults += 1;
        self.slowest = self.slowest.max(took);
        say(&format!("  {} {fault}: {}", self.faults, clock::shown(clock::micros(took))));
        if took > SOON {
            let log = self.daemon.log();
            self.late.push(format!("claiming again took {took:?} after {fault}: {log}"));
        }
    }

    /// How long it takes until an event that is inserted from now on is sent and recorded.
    async fn goes_on(&mut self) -> Duration {
        let started = Instant::now();
        self.place.client = harness::connect(&self.place.url).await;
        let newest = self.place.number("SELECT coalesce(max(seq), 0) FROM outbox.events").await;
        let newer = format!(
            "SELECT count(*) FROM (SELECT FROM outbox.history \
             WHERE event_seq > {newest} AND is_attempt LIMIT 1) one"
        );
        let goes_on = self.place.becomes(&newer, 1, PATIENCE).await;
        if goes_on { started.elapsed() } else { Duration::MAX }
    }

    /// Lets everything come to rest at the database, and judges.
    pub async fn end(mut self, done: String, cost: Cost) -> Report {
        let produced = self.producer.stop().await;
        self.place.client = harness::connect(&self.place.url).await;
        let rests = self.place.rests_within(Duration::from_secs(120)).await;
        let histories = self.place.histories(produced, Vec::new()).await;
        let requests = histories.requests.len();
        let subscribers = self.place.subscribers.clone();
        let mut verdict = judge(&histories, &Rules { subscribers, ..Rules::default() });
        let mut report = Report::new(done);
        if cost == Cost::LastWrites {
            verdict.faults.remove(&Fault::Duplicate);
        }
        report.judge(&verdict);
        report.figure("requests", requests);
        report.figure("slowest recovery", clock::shown(clock::micros(self.slowest)));
        report.expect(rests, "deliveries are left after two minutes of peace");
        report.faults.append(&mut self.late);
        let ended = self.daemon.end_within(Duration::ZERO).await;
        report.expect(ended.is_none(), format!("the daemon ended: {ended:?}"));
        report
    }
}
