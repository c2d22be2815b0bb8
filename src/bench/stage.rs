//! What all scenarios need: the place, receivers, endpoints, daemons, and the bare client beside.

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::bare::{self, Job, Shape};
use super::daemon::Daemon;
use super::figures::Figures;
use super::place::Place;
use super::process::Folder;
use super::receiver::{Kind, PLAIN, Receivers};
use super::{BenchError, Plan, SECRET, tls};

/// The bare client's requests are as many as the deliveries, within these limits.
const BARE_REQUESTS: (u64, u64) = (2_000, 100_000);
/// And no more bytes than these.
const BARE_BYTES: usize = 2_000_000_000;

/// A benchmark under way.
#[derive(Debug)]
pub struct Stage {
    /// What was asked for.
    pub plan: Plan,
    /// The database.
    pub place: Place,
    /// The receivers that the scenario needs.
    pub receivers: Receivers,
    folder: Folder,
    shapes: Vec<((Kind, usize), Shape)>,
}

impl Stage {
    /// With plain receivers.
    ///
    /// # Errors
    /// Of processes and files.
    pub async fn new(plan: Plan, place: Place) -> Result<Self, BenchError> {
        let folder = Folder::create()?;
        std::fs::write(folder.path().join("ca.pem"), tls::CERTIFICATE)?;
        let receivers = Receivers::start(PLAIN).await?;
        Ok(Self { plan, place, receivers, folder, shapes: Vec::new() })
    }

    /// Sees to it that the receivers are of this kind.
    ///
    /// # Errors
    /// Of their process.
    pub async fn receive(&mut self, kind: Kind) -> Result<(), BenchError> {
        if self.receivers.kind != kind {
            self.receivers = Receivers::start(kind).await?;
        }
        Ok(())
    }

    /// The number in the plan, or else the scenario's own: the full one, or the quick one.
    pub fn events(&self, full: u32, quick: u32) -> u32 {
        self.plan.events.unwrap_or(if self.plan.quick { quick } else { full })
    }

    /// Creates endpoints, numbered from 0, for all that `columns` (names and values that may use the
    /// number n) does not narrow down.
    ///
    /// # Errors
    /// Of the database.
    pub async fn subscribe(&self, count: u32, columns: (&str, &str)) -> Result<(), BenchError> {
        let hosts = self.receivers.kind.hosts;
        let (base, (names, values)) = (self.receivers.base(0), columns);
        let base = base.replace("127.0.0.1", &format!("127.0.0.' || n % {hosts} + 1 || '"));
        let (comma, last) = (if names.is_empty() { "" } else { ", " }, count.saturating_sub(1));
        let sql = format!(
            "INSERT INTO outbox.endpoints (name, url{comma}{names})
             SELECT 'bench-' || n, '{base}' || n{comma}{values} FROM generate_series(0, {last}) n;
             INSERT INTO outbox.secrets (endpoint_id, secret)
             SELECT id, '{SECRET}' FROM outbox.endpoints"
        );
        self.place.run(&sql).await
    }

    /// Starts daemons with the keys of the plan, and returns once they deliver.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn daemons(&self, count: usize) -> Result<Vec<Daemon>, BenchError> {
        let mut keys = self.plan.keys.clone();
        if self.receivers.kind.tls {
            let file = self.ca_file().display().to_string();
            keys.push(("delivery.ca_file".to_owned(), file));
        }
        let mut daemons = Vec::new();
        for number in 0..count {
            let name = format!("daemon-{number}");
            let url = &self.place.daemon_url;
            daemons.push(Daemon::start(self.folder.path(), &name, url, &keys).await?);
        }
        Ok(daemons)
    }

    /// Measures the bare client on as many requests as there are deliveries, and sets the ratio to it.
    ///
    /// # Errors
    /// See [`bare::rate`].
    pub async fn beside(
        &mut self,
        figures: &mut Figures,
        deliveries: u64,
        endpoints: u32,
        body_bytes: usize,
    ) -> Result<(), BenchError> {
        let kind = self.receivers.kind;
        let by_size = BARE_BYTES / body_bytes.max(1);
        let requests = deliveries.clamp(BARE_REQUESTS.0, BARE_REQUESTS.1).min(by_size as u64);
        let job = Job {
            bases: (0..u32::from(kind.hosts)).map(|host| self.receivers.base(host)).collect(),
            endpoints: endpoints.max(1),
            requests: u32::try_from(requests).map_err(io::Error::other)?,
            body_bytes,
            ca_file: kind.tls.then(|| self.ca_file()),
        };
        let known = self.shapes.iter().find(|(key, _)| *key == (kind, body_bytes));
        let shape = match known {
            Some((_, shape)) => *shape,
            None => {
                let shape = bare::best(&mut self.receivers, &job).await?;
                self.shapes.push(((kind, body_bytes), shape));
                shape
            }
        };
        let rate = bare::rate(&mut self.receivers, &job, shape).await?;
        figures.set("bare_per_second", rate);
        figures.set("bare_tasks", shape.tasks as f64);
        figures.set("bare_threads", shape.threads as f64);
        figures.set_some("ratio", figures.get("rate_per_second").map(|own| own / rate));
        Ok(())
    }

    /// A file in the private directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }
}

/// Microseconds since the epoch, by the clock that the receivers use too.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
