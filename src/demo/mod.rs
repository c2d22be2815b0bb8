//! The demonstration: an application that inserts sample events, the daemon in this process, three
//! receivers on this machine, and a table of what becomes of the events.

pub mod board;
pub mod place;
pub mod receivers;
pub mod summary;

mod ledger;
mod producer;
mod samples;
mod scrape;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::{ConnectionError, Problems};
use crate::daemon::{Daemon, DaemonError};
use crate::store::Store;
use crate::store::demo::NewEndpoint;
use crate::store::error::StoreError;
use crate::throwaway::StartError;
use board::{Row, Screen};
use ledger::Ledger;
use place::Place;
use producer::Producer;
use receivers::{Manner, Receiver};

/// Whose the endpoints and events of the demonstration are.
pub const TENANT: &str = "outboxd-demo";
/// Retries that a person can wait for.
const RETRY: &str = "1s 2s 4s";
/// Requests of one delivery, as `RETRY` has it.
const ATTEMPTS: usize = 4;
/// The deadline of a request: the flaky receiver lets some run into it.
const TIMEOUT: &str = "1 second";
/// Between two looks at how things stand.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing may arrive before what is missing is taken for lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the dead endpoint's retries are shown when all else has arrived.
const SHOWN_ENOUGH: Duration = Duration::from_secs(15);

/// Why the demonstration failed, apart from what it shows.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no throwaway cluster.
    #[error(transparent)]
    Cluster(#[from] StartError),
    /// The database refused.
    #[error("{0}: {1}")]
    Database(String, StoreError),
    /// A connection string is wrong.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A flag is wrong.
    #[error("{0}")]
    Configuration(#[from] Problems),
    /// The daemon did not start.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A socket or the terminal.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The sample events do not parse.
    #[error("the sample events: {0}")]
    Samples(#[from] serde_json::Error),
    /// A part of it panicked.
    #[error("{0}")]
    Panic(#[from] JoinError),
}

/// How it came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was delivered or given up.
    Complete,
    /// Nothing more happened, or enough was shown.
    OutOfPatience,
    /// Somebody stopped it.
    Stopped,
}

/// What the demonstration showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// One row for each endpoint.
    pub rows: Vec<Row>,
    /// How it ended.
    pub ending: Ending,
}

/// Runs it, from the schema to the removal of its endpoints. `events`: how many; `None`: until it
/// is stopped.
///
/// # Errors
/// See [`DemoError`].
pub async fn run(
    place: &Place,
    events: Option<u64>,
    screen: &mut Screen,
    stop: &CancellationToken,
) -> Result<Report, DemoError> {
    let admin = place.admin()?;
    let failed = |error| DemoError::Database(place.target(), error);
    admin.migrate().await.map_err(failed)?;
    // Those of a demonstration that was killed.
    admin.remove_endpoints(TENANT).await.map_err(failed)?;
    let outcome = Stage::set(&admin, place).await;
    let outcome = match outcome {
        Ok(stage) => stage.play(place, events, screen, stop).await,
        Err(error) => Err(error),
    };
    admin.remove_endpoints(TENANT).await.map_err(failed)?;
    outcome
}

/// The receivers, and when it all began.
struct Stage {
    receivers: Vec<Receiver>,
    ledger: Arc<Ledger>,
    began: Instant,
}

impl Stage {
    async fn set(admin: &Store, place: &Place) -> Result<Self, DemoError> {
        let run = getrandom::u32().map_err(std::io::Error::other)?;
        let ledger = Arc::new(Ledger::new(run));
        let mut receivers = Vec::new();
        for manner in Manner::ALL {
            let receiver = Receiver::start(manner, ledger.clone()).await?;
            let endpoint = NewEndpoint {
                name: manner.endpoint(),
                url: &receiver.url,
                tenant: TENANT,
                secret: &receiver.secret,
                retry: RETRY,
                timeout: TIMEOUT,
            };
            let failed = |error| DemoError::Database(place.target(), error);
            admin.add_endpoint(endpoint).await.map_err(failed)?;
            receivers.push(receiver);
        }
        Ok(Self { receivers, ledger, began: Instant::now() })
    }

    async fn play(
        mut self,
        place: &Place,
        events: Option<u64>,
        screen: &mut Screen,
        stop: &CancellationToken,
    ) -> Result<Report, DemoError> {
        // Held to the end: the daemon listens for changes that never come.
        let (_changes, changes) = watch::channel(Arc::new(place.config.clone()));
        let daemon = Daemon::new(changes).await?;
        let Some(metrics) = daemon.admin_address() else {
            return Err(std::io::Error::other("the daemon has no address for its metrics").into());
        };
        board::write(&summary::introduction(place, metrics))?;
        let end = CancellationToken::new();
        let mut daemon = tokio::spawn(daemon.run(end.clone()));
        let producer = Producer {
            store: place.producer()?,
            samples: samples::samples()?,
            ledger: self.ledger.clone(),
            events,
        };
        let shown = tokio::select! {
            // It ends only when it cannot start: nobody has told it to.
            ended = &mut daemon => return Err(early_end(ended)),
            shown = async {
                scrape::ready(metrics).await?;
                self.began = Instant::now();
                let failed = |error| DemoError::Database(place.target(), error);
                let producing = tokio::spawn(producer.run(end.clone()));
                self.watch(metrics, producing, screen).await?.map_err(failed)
            } => shown,
            () = stop.cancelled() => Ok(Ending::Stopped),
        };
        let report = match shown {
            Ok(ending) => self.rows(metrics).await.map(|rows| Report { rows, ending }),
            Err(error) => Err(error),
        };
        end.cancel();
        daemon.await??;
        let report = report?;
        screen.finish(self.began.elapsed(), "The end", &report.rows)?;
        Ok(report)
    }

    /// Shows how things stand until there is nothing left to see.
    async fn watch(
        &self,
        metrics: SocketAddr,
        mut producing: JoinHandle<Result<(), StoreError>>,
        screen: &mut Screen,
    ) -> Result<Result<Ending, StoreError>, DemoError> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inserting = true;
        let (mut arrived, mut last_arrival) = (0, Instant::now());
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                produced = &mut producing, if inserting => {
                    if let Err(error) = produced? {
                        return Ok(Err(error));
                    }
                    inserting = false;
                }
            }
            let rows = self.rows(metrics).await?;
            let phase = if inserting { "Inserting events" } else { "Waiting for retries" };
            screen.show(self.began.elapsed(), phase, &rows)?;
            let now_arrived = rows.iter().map(|row| row.delivered).sum();
            if inserting || now_arrived > arrived {
                (arrived, last_arrival) = (now_arrived, Instant::now());
            }
            if inserting {
                continue;
            }
            if rows.iter().all(|row| row.waiting() == 0) {
                return Ok(Ok(Ending::Complete));
            }
            let missing = rows.iter().any(|row| row.manner != Manner::Dead && row.waiting() > 0);
            let patience = if missing { PATIENCE } else { SHOWN_ENOUGH };
            if last_arrival.elapsed() > patience {
                return Ok(Ok(Ending::OutOfPatience));
            }
        }
    }

    async fn rows(&self, metrics: SocketAddr) -> Result<Vec<Row>, DemoError> {
        let counts = scrape::scrape(metrics).await?;
        let row = |receiver: &Receiver| {
            let counts = counts.get(receiver.manner.endpoint()).copied().unwrap_or_default();
            let seen = receiver.seen();
            Row {
                manner: receiver.manner,
                inserted: self.ledger.count(),
                delivered: seen.taken,
                retried: counts.failed.saturating_sub(counts.exhausted),
                given_up: counts.exhausted,
                p50: seen.p50,
                p99: seen.p99,
                verified: seen.verified,
                wrong: seen.wrong,
                duplicates: seen.duplicates,
            }
        };
        Ok(self.receivers.iter().map(row).collect())
    }
}

fn early_end(ended: Result<Result<(), DaemonError>, JoinError>) -> DemoError {
    match ended {
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
        Ok(Ok(())) => std::io::Error::other("the daemon stopped").into(),
    }
}
