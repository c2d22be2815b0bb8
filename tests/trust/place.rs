//! Where a scenario takes place: a cluster of its own, a database, endpoints, and a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outboxd::throwaway::{Cluster, Options};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Row};

use crate::clock;
use crate::daemon::Daemon;
use crate::harness;
use crate::history::{self, Death, Endpoint, Event, Histories, Pair, Produced, name_of};
use crate::producer::{Plan, Producer, kind_name};
use crate::receivers::{Behaviour, Receivers};

/// How often the database is looked at while something is awaited.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for the server processes of a dead daemon to end.
const BACKENDS_END: Duration = Duration::from_secs(20);

/// Everything but daemons.
pub struct Place {
    pub url: String,
    pub client: Client,
    pub receivers: Receivers,
    /// The endpoints of each event type.
    pub subscribers: Vec<Vec<Endpoint>>,
    home: Home,
    next_event: Arc<AtomicU32>,
    /// Last, for daemons and connections need it. Shared by places in several databases.
    pub cluster: Arc<Cluster>,
}

/// A folder for sockets and logs, which goes with its owner.
struct Home(PathBuf);

impl Home {
    fn create() -> Self {
        let path = std::env::temp_dir().join(format!("trust-{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cluster for a scenario. Nothing of it has to survive a power cut.
pub fn cluster() -> Arc<Cluster> {
    let settings =
        [("max_connections", "400"), ("max_wal_size", "4GB"), ("shared_buffers", "256MB")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let bin = std::env::var_os("OUTBOXD_TEST_PG_BIN").map(Into::into);
    let options = Options { bin, settings, ..Options::default() };
    Arc::new(Cluster::start(options).expect("a throwaway cluster"))
}

impl Place {
    /// With these endpoints; `subscribers` says which get the events of each type.
    pub async fn new(behaviours: Vec<Behaviour>, subscribers: Vec<Vec<Endpoint>>) -> Self {
        Self::within(cluster(), "postgres", behaviours, subscribers).await
    }

    /// In a database of a cluster that others use too; it is made if there is none.
    pub async fn within(
        cluster: Arc<Cluster>,
        database: &str,
        behaviours: Vec<Behaviour>,
        subscribers: Vec<Vec<Endpoint>>,
    ) -> Self {
        if database != "postgres" {
            let client = harness::connect(&cluster.url("postgres")).await;
            let create = format!("CREATE DATABASE {database}");
            client.batch_execute(&create).await.expect("a database");
        }
        let url = cluster.url(database);
        Self::at(cluster, url, behaviours, subscribers).await
    }

    /// In an empty database at this address, which may lead through something.
    pub async fn at(
        cluster: Arc<Cluster>,
        url: String,
        behaviours: Vec<Behaviour>,
        subscribers: Vec<Vec<Endpoint>>,
    ) -> Self {
        harness::migrate(&url).await;
        let client = harness::connect(&url).await;
        let endpoints = Endpoint::try_from(behaviours.len()).expect("not too many");
        let receivers = Receivers::start(behaviours);
        for endpoint in 0..endpoints {
            let kinds = subscribers.iter().enumerate();
            let kinds = kinds.filter(|(_, subscribed)| subscribed.contains(&endpoint));
            let kinds: Vec<String> = kinds.map(|(kind, _)| kind_name(kind as u16)).collect();
            let (to, name) = (receivers.url(endpoint), name_of(endpoint));
            let sql = "SELECT outbox.subscribe($1, events => $2, name => $3, secret => $4)";
            let done = client.query(sql, &[&to, &kinds, &name, &harness::SECRET]).await;
            done.expect("an endpoint");
        }
        Self {
            url,
            client,
            receivers,
            subscribers,
            home: Home::create(),
            next_event: Arc::default(),
            cluster,
        }
    }

    /// Where daemons keep their sockets and logs.
    pub fn home(&self) -> &Path {
        &self.home.0
    }

    pub fn daemon(&self, name: &str, settings: &[(&str, &str)]) -> Daemon {
        self.daemon_with(name, settings, None)
    }

    pub fn daemon_with(
        &self,
        name: &str,
        settings: &[(&str, &str)],
        failpoints: Option<&str>,
    ) -> Daemon {
        Daemon::start(self.home(), &self.url, name, settings, failpoints)
    }

    /// Writers, whose events continue the numbers of those before.
    pub fn produce(&self, plan: Plan) -> Producer {
        Producer::start(&self.url, plan, self.next_event.clone())
    }

    /// The only number that a query gives.
    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.client.query_one(&format!("SELECT ({sql})::bigint"), &[]).await;
        row.expect("a row").get(0)
    }

    /// Whether nothing waits or is under way before the time is over.
    pub async fn rests_within(&self, limit: Duration) -> bool {
        let left = "(SELECT count(*) FROM outbox.queue) + (SELECT count(*) FROM outbox.work)";
        self.becomes(left, 0, limit).await
    }

    /// Whether a query comes to give this number before the time is over.
    pub async fn becomes(&self, sql: &str, number: i64, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            if self.number(sql).await == number {
                return true;
            }
            sleep(LOOK).await;
        }
        false
    }

    /// What a daemon that has just died had leased. Its last statements may still be at work in the
    /// server, so its connections have to end first.
    pub async fn death_of(&self, daemon: &Daemon) -> Death {
        let at = clock::now();
        let name = &daemon.name;
        let theirs =
            format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        let ended = self.becomes(&theirs, 0, BACKENDS_END).await;
        assert!(ended, "connections of {name} outlive it");
        Death { at, leased: self.leased_by(daemon.pid()).await }
    }

    /// What the daemon of a process has leased.
    pub async fn leased_by(&self, pid: u32) -> Vec<Pair> {
        let sql = "SELECT e.id, substr(n.name, 2)::int FROM outbox.work w \
            JOIN outbox.events e ON e.seq = w.event_seq JOIN outbox.endpoints n USING (endpoint) \
            WHERE w.holder IN (SELECT id FROM outbox.instances WHERE pid = $1)";
        let rows = self.client.query(sql, &[&(pid as i32)]).await.expect("its leases");
        let pair = |row: &Row| (history::event_of(row.get(0)), row.get::<_, i32>(1) as Endpoint);
        rows.iter().map(pair).collect()
    }

    /// The first of as many numbers for events, which the caller inserts.
    pub fn reserve(&self, count: u32) -> Event {
        self.next_event.fetch_add(count, Ordering::Relaxed)
    }

    /// All that was seen so far.
    pub async fn histories(&self, produced: Vec<Produced>, deaths: Vec<Death>) -> Histories {
        let requests = self.receivers.take();
        let read = history::read_database(&self.client).await;
        let (stored, recorded) = read.expect("the database's history");
        Histories { produced, requests, recorded, stored, deaths }
    }
}
