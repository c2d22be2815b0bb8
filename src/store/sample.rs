//! The gauges of the database: several cheap looks, each with a short time limit of its own, so
//! that what one of them cannot have does not hide the others.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{Opening, Param, Store};
use crate::endpoint::EndpointKey;

/// How a look begins: it gives way at once.
const LOOK: Opening =
    opening!(3, "statement_timeout = '2s'", "lock_timeout = '500ms'", "jit = off");
/// For counting row by row, which dead rows can make slow, and which is not needed then.
const COUNT: Opening = opening!(
    2,
    "statement_timeout = '500ms'",
    "lock_timeout = '500ms'",
    "jit = off",
    "enable_seqscan = off"
);

/// Rows that are counted one by one at most.
pub const EXACT_ROWS: i64 = 20_000;
/// Pages of a table that an estimate is made from.
pub const ESTIMATE_PAGES: i64 = 2_000;

/// Deliveries given up that are counted at most.
pub const MOST_EXHAUSTED: i64 = 10_000;

/// Scheduled deliveries by when they are due: within 1 min, 5 min, 15 min, 1 h, 6 h, 1 d, later.
pub const AHEAD: [&str; 7] = ["1m", "5m", "15m", "1h", "6h", "1d", "later"];

/// What waits, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events not yet fanned out.
    pub queued: i64,
    /// Deliveries behind an earlier one of their key.
    pub behind: i64,
    /// Deliveries whose time has come, and that nobody has leased.
    pub due: i64,
    /// Deliveries leased to a daemon.
    pub in_flight: i64,
    /// Deliveries that wait for their time, in the order of [`AHEAD`].
    pub scheduled: [i64; 7],
    /// All of an endpoint.
    pub by_endpoint: HashMap<EndpointKey, i64>,
}

impl Counts {
    /// All deliveries.
    pub fn pending(&self) -> i64 {
        self.behind + self.due + self.in_flight + self.scheduled.iter().sum::<i64>()
    }

    fn of(rows: &[Row]) -> Result<Self, StoreError> {
        let mut counts = Self::default();
        for row in rows {
            let (endpoint, kind): (Option<EndpointKey>, i32) = (row.try_get(0)?, row.try_get(1)?);
            counts.add(endpoint, kind, row.try_get(2)?);
        }
        Ok(counts)
    }

    fn add(&mut self, endpoint: Option<EndpointKey>, kind: i32, rows: i64) {
        match kind {
            0 => self.queued += rows,
            1 => self.behind += rows,
            2 => self.due += rows,
            3 => self.in_flight += rows,
            _ => {
                let place = usize::try_from(kind - 4).unwrap_or(0).min(AHEAD.len() - 1);
                self.scheduled[place] += rows;
            }
        }
        if let Some(endpoint) = endpoint {
            *self.by_endpoint.entry(endpoint).or_default() += rows;
        }
    }
}

/// How long the oldest have waited, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Oldest {
    /// The oldest event in the queue.
    pub queued: Option<f64>,
    /// The oldest due delivery of each endpoint that has one.
    pub by_endpoint: Vec<(EndpointKey, f64)>,
}

/// A table of the schema, or several.
#[derive(Clone, Debug)]
pub struct Table {
    /// `events`, `queue`, `work`, `history`, `history_default` or `other`.
    pub name: String,
    /// Size with indexes and large values.
    pub bytes: i64,
    /// Dead rows, as the server's statistics have them.
    pub dead: i64,
    /// Of the days of history, the last one: so many days after today.
    pub days_ahead: Option<i32>,
    /// Of the days of history, when the first began, in unix seconds.
    pub first_day: Option<f64>,
}

/// Which transactions vacuum has to keep rows for.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The number of the next transaction.
    pub next: i64,
    /// For each of [`HOLDERS`], the oldest one that it still wants to see as running.
    pub oldest: [Option<i64>; 4],
}

/// Who keeps vacuum from removing rows.
pub const HOLDERS: [&str; 4] = ["backend", "prepared_transaction", "replication_slot", "standby"];

/// What is known of the database as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// How far this machine's clock is ahead of the database's, in seconds.
    pub skew: f64,
    /// Version of the schema.
    pub schema_version: i32,
    /// Events in quarantine.
    pub quarantined: i64,
    /// Deliveries that were given up, and not replayed since; [`MOST_EXHAUSTED`] at most.
    pub exhausted: i64,
    /// Deliveries and events that are held since a backup was restored.
    pub held: i64,
}

impl Store {
    /// What waits: counted where that is cheap, else estimated.
    ///
    /// # Errors
    /// Of the database; after 2 s at most, once there is a connection.
    pub async fn sample_counts(&self) -> Result<Counts, StoreError> {
        let sql = include_str!("../../sql/sample_exact.sql");
        let most: Param<'_> = (&(EXACT_ROWS + 1), Type::INT8);
        match self.begin(COUNT).await?.last(sql, &[most]).await {
            Ok(rows) => {
                let counts = Counts::of(&rows)?;
                if counts.queued <= EXACT_ROWS && counts.pending() <= EXACT_ROWS {
                    return Ok(counts);
                }
            }
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
            Err(error) => return Err(error),
        }
        let sql = include_str!("../../sql/sample_estimate.sql");
        Counts::of(&self.look(sql, &[(&ESTIMATE_PAGES, Type::INT8)]).await?)
    }

    /// Deliveries a second that each of the endpoints took lately; those that took none are left
    /// out.
    ///
    /// # Errors
    /// As above.
    pub async fn sample_rates(
        &self,
        endpoints: &[EndpointKey],
    ) -> Result<Vec<(EndpointKey, f64)>, StoreError> {
        let sql = include_str!("../../sql/sample_rates.sql");
        let rows = self.look(sql, &[(&endpoints, Type::INT4_ARRAY)]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// For how long the oldest have waited.
    ///
    /// # Errors
    /// As above.
    pub async fn sample_oldest(&self, endpoints: &[EndpointKey]) -> Result<Oldest, StoreError> {
        let sql = include_str!("../../sql/sample_oldest.sql");
        let mut oldest = Oldest::default();
        for row in self.look(sql, &[(&endpoints, Type::INT4_ARRAY)]).await? {
            match row.try_get(0)? {
                Some(endpoint) => oldest.by_endpoint.push((endpoint, row.try_get(1)?)),
                None => oldest.queued = Some(row.try_get(1)?),
            }
        }
        Ok(oldest)
    }

    /// The tables of the schema.
    ///
    /// # Errors
    /// As above.
    pub async fn sample_tables(&self) -> Result<Vec<Table>, StoreError> {
        let rows = self.look(include_str!("../../sql/sample_tables.sql"), &[]).await?;
        let table = |row: &Row| {
            Ok(Table {
                name: row.try_get(0)?,
                bytes: row.try_get(1)?,
                dead: row.try_get(2)?,
                days_ahead: row.try_get(3)?,
                first_day: row.try_get(4)?,
            })
        };
        rows.iter().map(table).collect()
    }

    /// What keeps vacuum from our tables.
    ///
    /// # Errors
    /// As above.
    pub async fn sample_horizon(&self) -> Result<Horizon, StoreError> {
        let rows = self.look(include_str!("../../sql/sample_horizon.sql"), &[]).await?;
        let next = rows[0].try_get(0)?;
        let mut oldest = [None; HOLDERS.len()];
        for (at, held) in oldest.iter_mut().enumerate() {
            *held = rows[0].try_get::<_, Option<i64>>(at + 1)?.map(|age| next - age);
        }
        Ok(Horizon { next, oldest })
    }

    /// The database as a whole. The clocks are compared in the middle of the round trip.
    ///
    /// # Errors
    /// As above.
    pub async fn sample_server(&self) -> Result<Server, StoreError> {
        let look = self.begin(LOOK).await?;
        let asked = SystemTime::now();
        let most: Param<'_> = (&MOST_EXHAUSTED, Type::INT8);
        let rows = look.last(include_str!("../../sql/sample_server.sql"), &[most]).await?;
        let took = asked.elapsed().unwrap_or_default();
        let middle = asked.duration_since(UNIX_EPOCH).unwrap_or_default() + took / 2;
        Ok(Server {
            skew: middle.as_secs_f64() - rows[0].try_get::<_, f64>(0)?,
            schema_version: rows[0].try_get(1)?,
            quarantined: rows[0].try_get(2)?,
            exhausted: rows[0].try_get(3)?,
            held: rows[0].try_get(4)?,
        })
    }

    /// One statement that gives way at once.
    pub(super) async fn look(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.begin(LOOK).await?.last(sql, params).await
    }
}
