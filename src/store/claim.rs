//! Claiming: leases on deliveries that are due.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::fan_out::{INLINE_PAYLOAD_BYTES, read_payload};
use super::{Store, micros};
use crate::endpoint::EndpointKey;
use crate::event::Event;

/// A delivery that has just been leased.
#[derive(Debug)]
pub struct Claimed {
    /// Number of the event.
    pub event_seq: i64,
    /// Where it goes.
    pub endpoint: EndpointKey,
    /// Number of the attempt that the lease is for.
    pub attempt: i32,
    /// Failed attempts before.
    pub failures: i32,
    /// The event; `None` when somebody deleted it.
    pub event: Option<Event>,
}

impl Store {
    /// Leases what is due, for each endpoint up to its own room. Also returns the time that the
    /// leases count from.
    pub async fn claim(
        &self,
        endpoints: &[EndpointKey],
        room: &[i32],
        holder: i32,
        lease: Duration,
    ) -> Result<(Instant, Vec<Claimed>), StoreError> {
        let leased_at = Instant::now();
        let rows = self
            .work(
                include_str!("../../sql/claim.sql"),
                &[
                    (&endpoints, Type::INT4_ARRAY),
                    (&room, Type::INT4_ARRAY),
                    (&holder, Type::INT4),
                    (&micros(lease), Type::INT8),
                    (&INLINE_PAYLOAD_BYTES, Type::INT4),
                ],
            )
            .await?;
        failpoint!("claim.after_commit"?);
        let read = |row: &tokio_postgres::Row| {
            let seq: i64 = row.try_get(0)?;
            let event = match row.try_get::<_, Option<String>>(4)? {
                None => None,
                Some(id) => Some(Event {
                    seq,
                    id,
                    event_type: row.try_get(5)?,
                    tenant: row.try_get(6)?,
                    live: row.try_get(7)?,
                    created_us: row.try_get(8)?,
                    payload: read_payload(row, 9)?,
                }),
            };
            Ok(Claimed {
                event_seq: seq,
                endpoint: row.try_get(1)?,
                attempt: row.try_get(2)?,
                failures: row.try_get(3)?,
                event,
            })
        };
        let claimed: Result<Vec<Claimed>, tokio_postgres::Error> = rows.iter().map(read).collect();
        Ok((leased_at, claimed?))
    }

    /// How long until the next delivery of each endpoint is due; zero when it is. Endpoints without
    /// work are left out.
    pub async fn probe_due(
        &self,
        endpoints: &[EndpointKey],
    ) -> Result<Vec<(EndpointKey, Duration)>, StoreError> {
        let sql = include_str!("../../sql/probe_due.sql");
        let rows = self.work(sql, &[(&endpoints, Type::INT4_ARRAY)]).await?;
        rows.iter()
            .map(|row| {
                let wait_us: i64 = row.try_get(1)?;
                Ok((row.try_get(0)?, Duration::from_micros(wait_us.max(0).unsigned_abs())))
            })
            .collect()
    }

    /// The payload of one event; `None` when it is gone.
    pub async fn load_payload(&self, event_seq: i64) -> Result<Option<Bytes>, StoreError> {
        let sql = include_str!("../../sql/load_payload.sql");
        let rows = self.work(sql, &[(&event_seq, Type::INT8)]).await?;
        match rows.first() {
            Some(row) => Ok(read_payload(row, 0)?),
            None => Ok(None),
        }
    }
}
