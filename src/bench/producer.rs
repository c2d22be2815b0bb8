//! The application: transactions with one event each, at times that do not depend on how fast the
//! database or the daemon is; and beside them, where asked for, some that stay open for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::BenchError;
use super::body::{self, EVENT_TYPE};
use super::place::Place;
use super::stage::now;
use crate::store::bench::Session;
use crate::store::error::StoreError;

/// Connections of the prompt transactions: more than ever commit at once.
const PROMPT: usize = 16;
/// Connections of the transactions that stay open.
const LATE: usize = 32;
/// How long those stay open, in milliseconds.
const OPEN_MS: std::ops::Range<u64> = 1_000..3_000;

/// How much is produced.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Events a second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
    /// The number of the first event.
    pub first: u32,
    /// So many tenants take turns, `tenant-1` and so on; none: no tenant.
    pub tenants: Option<u32>,
    /// Whether half of the events are in transactions that stay open for one to three seconds.
    pub late: bool,
    /// Bytes of a body.
    pub body_bytes: usize,
}

/// An event that was committed. Times in microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The number of the event.
    pub event: u32,
    /// Just before COMMIT was sent.
    pub sent: u64,
    /// When it was answered.
    pub answered: u64,
    /// Whether the transaction had been open for long.
    pub late: bool,
}

/// The connections of an application.
#[derive(Debug)]
pub struct Producers {
    sessions: Vec<Arc<Session>>,
    target: String,
}

impl Producers {
    /// Connects; with the connections that late transactions need.
    ///
    /// # Errors
    /// Of the database.
    pub async fn connect(place: &Place, late: bool) -> Result<Self, BenchError> {
        let mut sessions = Vec::new();
        for _ in 0..PROMPT + if late { LATE } else { 0 } {
            sessions.push(Arc::new(place.producer().await?));
        }
        Ok(Self { sessions, target: place.target() })
    }

    /// Produces, and returns every event that is committed.
    ///
    /// # Errors
    /// When an insert or a commit fails.
    pub async fn produce(&self, pace: Pace) -> Result<Vec<Commit>, BenchError> {
        let prompt_rate = if pace.late { pace.rate / 2 } else { pace.rate };
        let prompt = prompt_rate * pace.seconds;
        let work = Arc::new(Work {
            pace,
            prompt_rate,
            prompt,
            payload: body::payload(pace.body_bytes),
            next: AtomicU32::new(0),
            next_late: AtomicU32::new(prompt),
            started: Instant::now(),
        });
        let mut tasks = JoinSet::new();
        for (number, session) in self.sessions.iter().enumerate() {
            let (work, session) = (work.clone(), session.clone());
            tasks.spawn(async move {
                if number < PROMPT {
                    work.promptly(&session).await
                } else {
                    work.late(&session, number as u64).await
                }
            });
        }
        let mut commits = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let failed = |error| BenchError::Database(self.target.clone(), error);
            commits.append(&mut done?.map_err(failed)?);
        }
        Ok(commits)
    }
}

/// What the connections share.
struct Work {
    pace: Pace,
    prompt_rate: u32,
    /// Prompt events in all.
    prompt: u32,
    payload: String,
    next: AtomicU32,
    next_late: AtomicU32,
    started: Instant,
}

impl Work {
    async fn promptly(&self, session: &Session) -> Result<Vec<Commit>, StoreError> {
        let mut commits = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.prompt {
                return Ok(commits);
            }
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(self.prompt_rate));
            sleep_until(self.started + due).await;
            session.run("BEGIN").await?;
            self.insert(session, number).await?;
            commits.push(self.commit(session, number, false).await?);
        }
    }

    /// Transactions that insert at their beginning, so that their events have low numbers and become
    /// visible late.
    async fn late(&self, session: &Session, seed: u64) -> Result<Vec<Commit>, StoreError> {
        let mut random = fastrand::Rng::with_seed(seed);
        let end = self.started + Duration::from_secs(self.pace.seconds.into());
        let mean_open = (OPEN_MS.start + OPEN_MS.end) as f64 / 2000.0;
        let each = f64::from(self.pace.rate) / 2.0 * mean_open / LATE as f64;
        let mut commits = Vec::new();
        while Instant::now() < end {
            session.run("BEGIN").await?;
            let events: Vec<u32> = (0..each.round().max(1.0) as u32)
                .map(|_| self.next_late.fetch_add(1, Ordering::Relaxed))
                .collect();
            for event in &events {
                self.insert(session, *event).await?;
            }
            sleep(Duration::from_millis(random.u64(OPEN_MS))).await;
            let first = self.commit(session, 0, true).await?;
            let all = events.iter().map(|event| self.pace.first + event);
            commits.extend(all.map(|event| Commit { event, ..first }));
        }
        Ok(commits)
    }

    async fn insert(&self, session: &Session, number: u32) -> Result<(), StoreError> {
        let event = self.pace.first + number;
        let tenant = self.pace.tenants.map(|count| format!("tenant-{}", number % count + 1));
        session.insert(&body::id(event), EVENT_TYPE, &self.payload, tenant.as_deref()).await
    }

    async fn commit(
        &self,
        session: &Session,
        number: u32,
        late: bool,
    ) -> Result<Commit, StoreError> {
        let sent = now();
        session.run("COMMIT").await?;
        Ok(Commit { event: self.pace.first + number, sent, answered: now(), late })
    }
}
