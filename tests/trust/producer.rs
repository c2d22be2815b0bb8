//! An application: transactions at a given rate, whatever becomes of their events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::history::{Event, Fate, Produced, digest, id_of};

/// How long after a lost connection another one is tried.
const RECONNECT: Duration = Duration::from_millis(50);

/// What to produce.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Committed events a second.
    pub rate: f64,
    /// Writers, each with a connection and ordering keys of its own.
    pub connections: u16,
    /// How many event types.
    pub kinds: u16,
    pub seed: u64,
    /// The share of events that are undone, half of them by savepoints.
    pub undone: f64,
}

/// Writers at work.
pub struct Producer {
    stop: CancellationToken,
    writers: JoinSet<Vec<Produced>>,
}

impl Producer {
    /// Starts writing; `next` gives events their numbers.
    pub fn start(url: &str, plan: Plan, next: Arc<AtomicU32>) -> Self {
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        for number in 0..plan.connections {
            let writer = Writer {
                plan,
                number,
                url: url.to_owned(),
                next: next.clone(),
                random: fastrand::Rng::with_seed(plan.seed ^ (u64::from(number) << 32)),
                history: Vec::new(),
            };
            writers.spawn(writer.run(stop.clone()));
        }
        Self { stop, writers }
    }

    /// Ends it after the transactions under way, and returns what was produced.
    pub async fn stop(mut self) -> Vec<Produced> {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(history) = self.writers.join_next().await {
            all.extend(history.expect("no writer panics"));
        }
        all.sort_unstable_by_key(|one| one.event);
        all
    }
}

struct Writer {
    plan: Plan,
    number: u16,
    url: String,
    next: Arc<AtomicU32>,
    random: fastrand::Rng,
    history: Vec<Produced>,
}

impl Writer {
    /// An open loop: what an outage held up is made up for afterwards.
    async fn run(mut self, stop: CancellationToken) -> Vec<Produced> {
        let pause = f64::from(self.plan.connections) / self.plan.rate;
        let mut due = Instant::now();
        let mut client = None;
        while !stop.is_cancelled() {
            tokio::select! {
                () = sleep_until(due) => {}
                () = stop.cancelled() => break,
            }
            let Some(connected) = connected(&mut client, &self.url).await else {
                sleep(RECONNECT).await;
                continue;
            };
            let committed = self.transaction(connected).await;
            due += Duration::from_secs_f64(pause * f64::from(committed));
        }
        self.history
    }

    /// One to five events; returns how many were committed.
    async fn transaction(&mut self, client: &Client) -> u32 {
        let first = self.history.len();
        let mut sql = "BEGIN".to_owned();
        for _ in 0..self.random.u32(1..=5) {
            let insert = self.insert();
            if self.random.f64() < self.plan.undone / 2.0 {
                sql += &format!("; SAVEPOINT s; {insert}; ROLLBACK TO SAVEPOINT s");
            } else {
                sql += &format!("; {insert}");
                // Until the commit says otherwise.
                self.history.last_mut().expect("just inserted").fate = Fate::Unknown;
            }
        }
        let commit = self.random.f64() >= self.plan.undone / 2.0;
        let inserted = client.batch_execute(&sql).await.is_ok();
        let at = clock::now();
        let fate = if inserted && commit {
            match client.batch_execute("COMMIT").await {
                Ok(()) => Fate::Committed,
                // Even words of a dying server may come after it has committed.
                Err(_) => Fate::Unknown,
            }
        } else {
            // Undone by the lost connection if not by this.
            client.batch_execute("ROLLBACK").await.ok();
            Fate::RolledBack
        };
        let mut committed = 0;
        for one in self.history[first..].iter_mut() {
            one.at = at;
            if one.fate == Fate::Unknown {
                one.fate = fate;
                committed += u32::from(fate == Fate::Committed);
            }
        }
        committed
    }

    /// The statement that inserts the next event.
    fn insert(&mut self) -> String {
        let event = self.next.fetch_add(1, Ordering::Relaxed);
        let kind = self.random.u16(..self.plan.kinds);
        let key = self.number * 8 + self.random.u16(..8);
        let payload = payload(event, &mut self.random);
        let id = id_of(event);
        let digest = digest(payload.as_bytes());
        self.history.push(Produced {
            event,
            kind,
            key,
            fate: Fate::RolledBack,
            payload: digest,
            at: 0,
        });
        format!(
            "INSERT INTO outbox.events (id, type, key, payload) \
             VALUES ('{id}', '{}', 'k{key}', '{payload}')",
            kind_name(kind)
        )
    }
}

/// The event type of a number.
pub fn kind_name(kind: u16) -> String {
    format!("kind.{kind}")
}

/// JSON that reading and writing again would change: numbers, spaces, escapes, repeated names.
fn payload(event: Event, random: &mut fastrand::Rng) -> String {
    let padding = "ä\\u00e4 x".repeat(random.usize(..40));
    let number = random.u64(..);
    format!(r#"{{ "n":{event}, "a":1.0e2,  "a": {number}.10, "text": "{padding}" }}"#)
}

async fn connected<'a>(client: &'a mut Option<Client>, url: &str) -> Option<&'a Client> {
    if client.as_ref().is_none_or(Client::is_closed) {
        *client = None;
        let (fresh, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
        tokio::spawn(async move { drop(connection.await) });
        *client = Some(fresh);
    }
    client.as_ref()
}
