//! What the three parties remember: the producer, the receivers, the database.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio_postgres::Client;

/// Events have numbers, which their ids are made of.
pub type Event = u32;
/// Endpoints are numbered from 0, in their names and paths too.
pub type Endpoint = u16;
/// A delivery.
pub type Pair = (Event, Endpoint);

/// An event of an id that the producer never made.
pub const STRANGE: Event = Event::MAX;

/// The id of an event.
pub fn id_of(event: Event) -> String {
    format!("t{event}")
}

/// The event of an id.
pub fn event_of(id: &str) -> Event {
    id.strip_prefix('t').and_then(|number| number.parse().ok()).unwrap_or(STRANGE)
}

/// The name of an endpoint.
pub fn name_of(endpoint: Endpoint) -> String {
    format!("e{endpoint}")
}

/// What stands for bytes in a history.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What became of an event's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
    /// The connection broke during COMMIT: only the database knows.
    Unknown,
}

/// An event, as its producer remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Produced {
    pub event: Event,
    /// Number of its type; endpoints subscribe to types.
    pub kind: u16,
    /// Ordering key.
    pub key: u16,
    pub fate: Fate,
    /// Of the payload as inserted.
    pub payload: u64,
    /// Just before COMMIT was sent.
    pub at: u64,
}

/// A request, as a receiver remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub event: Event,
    pub endpoint: Endpoint,
    /// Of the part of the body that is the payload.
    pub payload: u64,
    /// Of the whole body.
    pub body: u64,
    pub signed: bool,
    /// Whether it was answered with a success.
    pub accepted: bool,
    pub at: u64,
}

/// A delivery, as the database remembers it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    pub attempts: u32,
    pub delivered: bool,
    /// Not delivered, but accounted for: waiting, exhausted or cancelled.
    pub open: bool,
}

/// What a process held when it died, or was shut out.
#[derive(Clone, Debug)]
pub struct Death {
    pub at: u64,
    pub leased: Vec<Pair>,
}

/// Everything that a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Histories {
    pub produced: Vec<Produced>,
    pub requests: Vec<Request>,
    pub recorded: HashMap<Pair, Recorded>,
    /// The events in the database.
    pub stored: Vec<Event>,
    /// The deaths, in order of time.
    pub deaths: Vec<Death>,
}

/// Reads events and deliveries from the database.
pub async fn read_database(
    client: &Client,
) -> Result<(Vec<Event>, HashMap<Pair, Recorded>), tokio_postgres::Error> {
    let sql = "SELECT substr(id, 2)::int FROM outbox.events WHERE id ~ '^t[0-9]+$'";
    let rows = client.query(sql, &[]).await?;
    let stored = rows.iter().map(|row| row.get::<_, i32>(0) as Event).collect();
    // Numbers only, and one row a delivery: a full run has millions of attempts.
    let sql = "
        WITH ended AS (
            SELECT event_seq, endpoint, count(*) FILTER (WHERE is_attempt)::int AS attempts,
                   bool_or(result = 'delivered') AS delivered,
                   bool_or(result IN ('exhausted', 'cancelled')) AS closed
            FROM outbox.history GROUP BY event_seq, endpoint
        )
        SELECT substr(e.id, 2)::int, substr(n.name, 2)::int, coalesce(h.attempts, 0),
               coalesce(h.delivered, false), coalesce(h.closed, false) OR w.event_seq IS NOT NULL
        FROM ended h FULL JOIN outbox.work w USING (event_seq, endpoint)
        JOIN outbox.events e ON e.seq = coalesce(h.event_seq, w.event_seq)
        JOIN outbox.endpoint_names n ON n.endpoint = coalesce(h.endpoint, w.endpoint)
        WHERE e.id ~ '^t[0-9]+$'";
    let rows = client.query(sql, &[]).await?;
    let recorded = rows.iter().map(|row| {
        let pair = (row.get::<_, i32>(0) as Event, row.get::<_, i32>(1) as Endpoint);
        let attempts = row.get::<_, i32>(2) as u32;
        (pair, Recorded { attempts, delivered: row.get(3), open: row.get(4) })
    });
    Ok((stored, recorded.collect()))
}
