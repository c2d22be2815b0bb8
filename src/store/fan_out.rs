//! Fan-out: events off the queue, deliveries into the work table, in one transaction.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::error::StoreError;
use super::{LEASE, Param, Store, Transaction, WORK, micros};
use crate::endpoint::EndpointKey;
use crate::event::Event;

/// Payloads up to this size travel with a batch; a larger one is loaded when it is sent, so that a
/// batch stays small in memory.
pub const INLINE_PAYLOAD_BYTES: i32 = 16 * 1024;

/// No payload is sent that is larger. The schema admits less, but a constraint can be dropped.
pub const LARGEST_PAYLOAD_BYTES: i32 = 16 * 1024 * 1024;

/// An event off the queue.
#[derive(Debug)]
pub struct Taken {
    /// The event.
    pub event: Arc<Event>,
    /// The only endpoint it is for, if it is a test.
    pub target: Option<EndpointKey>,
    /// How long its deliveries wait at least.
    pub wait: Duration,
    /// What ordered endpoints order it by.
    pub key: Option<String>,
}

/// A batch of events, taken but not yet committed.
pub struct Batch {
    pub(super) transaction: Transaction,
    /// The revision of the endpoints in the snapshot that the events were read in.
    pub revision: i64,
    /// The highest number on the queue, those taken included, if it is not below where it was looked.
    pub newest: Option<i64>,
    /// The events.
    pub taken: Vec<Taken>,
}

/// What one snapshot of the database says of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The oldest transaction that may still write; all before it have ended.
    pub oldest: i64,
    /// The first transaction that had not begun.
    pub next: i64,
    /// The lowest number on the queue, from where it was looked.
    pub first: Option<i64>,
    /// The highest number of an event.
    pub newest: Option<i64>,
}

/// Deliveries to create, in the arrays that SQL takes.
#[derive(Debug, Default)]
pub struct NewDeliveries {
    /// `events.seq` of each.
    pub event_seq: Vec<i64>,
    /// Endpoint of each.
    pub endpoint: Vec<EndpointKey>,
    /// Whether it is leased at once.
    pub leased: Vec<bool>,
    /// Microseconds until it is due, where it is not leased.
    pub wait_us: Vec<i64>,
    /// Whether it waits for its turn among the events of its key. Then it is not leased.
    pub ordered: Vec<bool>,
}

impl Store {
    /// The revision of the endpoints, and whether an event waits that is not below the number `from`.
    pub async fn peek_events(&self, from: i64) -> Result<(i64, bool), StoreError> {
        let sql = include_str!("../../sql/fan_out_peek.sql");
        let params: [Param<'_>; 1] = [(&from, Type::INT8)];
        let rows = match self.begin(WORK).await?.alone(sql, &params).await {
            // The role or the database has a time limit that is too short: under our own then.
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                self.work(sql, &params).await?
            }
            found => found?,
        };
        Ok((rows[0].try_get(0)?, rows[0].try_get(1)?))
    }

    /// How far the queue is decided, looked at from this number.
    pub async fn queue_horizon(&self, from: i64) -> Result<Horizon, StoreError> {
        let sql = include_str!("../../sql/fan_out_horizon.sql");
        let rows = self.work(sql, &[(&from, Type::INT8)]).await?;
        let row = &rows[0];
        Ok(Horizon {
            oldest: row.try_get(0)?,
            next: row.try_get(1)?,
            first: row.try_get(2)?,
            newest: row.try_get(3)?,
        })
    }

    /// Takes up to `limit` events off the queue, oldest first, none below the number `from`. If asked,
    /// it says which is the newest that waits.
    pub async fn take_events(
        &self,
        limit: i64,
        from: i64,
        newest: bool,
    ) -> Result<Batch, StoreError> {
        let mut transaction = self.begin(LEASE).await?;
        let rows = transaction
            .query(
                include_str!("../../sql/fan_out_take.sql"),
                &[
                    (&limit, Type::INT8),
                    (&INLINE_PAYLOAD_BYTES, Type::INT4),
                    (&from, Type::INT8),
                    (&newest, Type::BOOL),
                ],
            )
            .await?;
        let revision = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        let newest = rows.first().map_or(Ok(None), |row| row.try_get(1))?;
        let taken = rows.iter().filter_map(read_taken).collect::<Result<Vec<_>, _>>()?;
        Ok(Batch { transaction, revision, newest, taken })
    }
}

fn read_taken(row: &Row) -> Option<Result<Taken, tokio_postgres::Error>> {
    let read = || {
        let Some(seq) = row.try_get::<_, Option<i64>>(2)? else { return Ok(None) };
        let wait_us: Option<i64> = row.try_get(9)?;
        let event = Event {
            seq,
            id: row.try_get(3)?,
            event_type: row.try_get(4)?,
            tenant: row.try_get(5)?,
            live: row.try_get(6)?,
            created_us: row.try_get(8)?,
            wanted_us: row.try_get(12)?,
            payload: read_payload(row, 10)?,
        };
        Ok(Some(Taken {
            event: Arc::new(event),
            target: row.try_get(7)?,
            wait: Duration::from_micros(wait_us.unwrap_or(0).max(0).unsigned_abs()),
            key: row.try_get(11)?,
        }))
    };
    read().transpose()
}

/// A payload column, copied once out of the row's buffer.
pub(super) fn read_payload(
    row: &Row,
    column: usize,
) -> Result<Option<Bytes>, tokio_postgres::Error> {
    let text: Option<&str> = row.try_get(column)?;
    Ok(text.map(|text| Bytes::copy_from_slice(text.as_bytes())))
}

impl Batch {
    /// The keys of its events.
    pub fn keys(&self) -> Vec<String> {
        let keys: HashSet<&String> = self.taken.iter().filter_map(|it| it.key.as_ref()).collect();
        keys.into_iter().cloned().collect()
    }

    /// Bytes of the payloads that came along.
    pub fn bytes(&self) -> usize {
        self.taken.iter().filter_map(|it| it.event.payload.as_ref()).map(Bytes::len).sum()
    }

    /// Creates the deliveries and commits. Returns when the leases began; `None` when some of the
    /// deliveries were there already, then nothing was committed and the events are on the queue
    /// again: the next batch has to be finished without leases, by [`Batch::finish_unleased`].
    pub async fn finish(
        self,
        new: &NewDeliveries,
        holder: i32,
        lease: Duration,
    ) -> Result<Option<Instant>, StoreError> {
        let leased_at = Instant::now();
        let sql = include_str!("../../sql/fan_out_insert.sql");
        match self.insert(sql, new, holder, lease).await {
            Ok(()) => Ok(Some(leased_at)),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates those deliveries that are not there yet, none of them leased, and commits.
    pub async fn finish_unleased(self, mut new: NewDeliveries) -> Result<(), StoreError> {
        new.leased.fill(false);
        let sql = concat!(include_str!("../../sql/fan_out_insert.sql"), "ON CONFLICT DO NOTHING");
        self.insert(sql, &new, 0, Duration::ZERO).await
    }

    async fn insert(
        self,
        sql: &str,
        new: &NewDeliveries,
        holder: i32,
        lease: Duration,
    ) -> Result<(), StoreError> {
        if new.event_seq.is_empty() {
            return self.transaction.commit().await;
        }
        let params = [
            (&new.event_seq as &(dyn ToSql + Sync), Type::INT8_ARRAY),
            (&new.endpoint, Type::INT4_ARRAY),
            (&new.leased, Type::BOOL_ARRAY),
            (&new.wait_us, Type::INT8_ARRAY),
            (&holder, Type::INT4),
            (&micros(lease), Type::INT8),
            (&new.ordered, Type::BOOL_ARRAY),
        ];
        self.transaction.last(sql, &params).await?;
        failpoint!("fan_out.after_commit"?);
        Ok(())
    }

    /// The payload of one of its events that was too large to come along; `None` when the event is
    /// gone, or its payload too large to be sent. On the connection of the batch, which may be the
    /// only one.
    pub async fn payload(&mut self, seq: i64) -> Result<Option<Bytes>, StoreError> {
        let sql = include_str!("../../sql/load_payload.sql");
        let params: [Param<'_>; 2] = [(&seq, Type::INT8), (&LARGEST_PAYLOAD_BYTES, Type::INT4)];
        let rows = self.transaction.query(sql, &params).await?;
        Ok(rows.first().map(|row| read_payload(row, 0)).transpose()?.flatten())
    }

    /// Puts events into quarantine when the batch commits, each with the reason. Returns which; the
    /// others have been released from there before.
    pub async fn quarantine(
        &mut self,
        seqs: &[i64],
        reasons: &[&str],
    ) -> Result<HashSet<i64>, StoreError> {
        let sql = include_str!("../../sql/fan_out_quarantine.sql");
        let params: [Param<'_>; 2] = [(&seqs, Type::INT8_ARRAY), (&reasons, Type::TEXT_ARRAY)];
        let rows = self.transaction.query(sql, &params).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Which of these events have been released from quarantine.
    pub async fn released(&mut self, seqs: &[i64]) -> Result<HashSet<i64>, StoreError> {
        let sql = include_str!("../../sql/fan_out_released.sql");
        let rows = self.transaction.query(sql, &[(&seqs, Type::INT8_ARRAY)]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Gives the events back to the queue.
    pub async fn abandon(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }
}
