//! Claiming: leases on deliveries that are due.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::fan_out::{INLINE_PAYLOAD_BYTES, read_payload};
use super::{Param, Store, micros};
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
    /// The event, or why there is none.
    pub event: Result<Event, NoEvent>,
}

/// Why there is no event to deliver.
#[derive(Debug)]
pub enum NoEvent {
    /// Somebody deleted it.
    Gone,
    /// It cannot be read.
    Unreadable(String),
}

/// A payload that was loaded alone.
#[derive(Debug)]
pub enum Loaded {
    /// The payload.
    Payload(Bytes),
    /// It is larger than was asked for: this many bytes.
    Larger(i32),
    /// Its event is gone.
    Gone,
}

/// An event from the columns `id`, `type`, `tenant`, `live`, `created_us`, `wanted_us`, `payload`, the first of
/// them at this place; `None` where there is none.
pub(super) fn read_event(
    row: &Row,
    seq: i64,
    first: usize,
) -> Result<Option<Event>, tokio_postgres::Error> {
    let Some(id) = row.try_get::<_, Option<String>>(first)? else { return Ok(None) };
    Ok(Some(Event {
        seq,
        id,
        event_type: row.try_get(first + 1)?,
        tenant: row.try_get(first + 2)?,
        live: row.try_get(first + 3)?,
        created_us: row.try_get(first + 4)?,
        wanted_us: row.try_get(first + 5)?,
        payload: read_payload(row, first + 6)?,
    }))
}

impl Store {
    /// Leases what is due, for each endpoint up to its own room. Also returns the time that the
    /// leases count from. Where an event cannot be read, none comes along, and each is read apart
    /// from the others.
    pub async fn claim(
        &self,
        endpoints: &[EndpointKey],
        room: &[i32],
        holder: i32,
        lease: Duration,
    ) -> Result<(Instant, Vec<Claimed>), StoreError> {
        let leased_at = Instant::now();
        let claim = |inline| self.lease(endpoints, room, holder, lease, inline);
        let error = match claim(Some(INLINE_PAYLOAD_BYTES)).await {
            Err(error) if error.is_of_a_row() => error,
            claimed => return claimed.map(|claimed| (leased_at, claimed)),
        };
        tracing::warn!(%error, "a claim cannot be read; its events are read one by one");
        let leased_at = Instant::now();
        let mut claimed = claim(None).await?;
        for one in &mut claimed {
            one.event = self.event_alone(one.event_seq).await?;
        }
        Ok((leased_at, claimed))
    }

    /// Without a size for the payloads that come along, no event does.
    async fn lease(
        &self,
        endpoints: &[EndpointKey],
        room: &[i32],
        holder: i32,
        lease: Duration,
        inline: Option<i32>,
    ) -> Result<Vec<Claimed>, StoreError> {
        let rows = self
            .lease_once(
                include_str!("../../sql/claim.sql"),
                &[
                    (&endpoints, Type::INT4_ARRAY),
                    (&room, Type::INT4_ARRAY),
                    (&holder, Type::INT4),
                    (&micros(lease), Type::INT8),
                    (&inline, Type::INT4),
                ],
            )
            .await?;
        failpoint!("claim.after_commit"?);
        rows.iter()
            .map(|row| {
                let event_seq: i64 = row.try_get(0)?;
                Ok(Claimed {
                    event_seq,
                    endpoint: row.try_get(1)?,
                    attempt: row.try_get(2)?,
                    failures: row.try_get(3)?,
                    event: found(read_event(row, event_seq, 4).map_err(StoreError::from)),
                })
            })
            .collect()
    }

    /// One event without its payload.
    async fn event_alone(&self, seq: i64) -> Result<Result<Event, NoEvent>, StoreError> {
        let params: [Param<'_>; 2] = [(&seq, Type::INT8), (&-1, Type::INT4)];
        let read = match self.work(include_str!("../../sql/event_read.sql"), &params).await {
            Ok(rows) => match rows.first() {
                Some(row) => read_event(row, seq, 0).map_err(StoreError::from),
                None => Ok(None),
            },
            Err(error) => Err(error),
        };
        match read {
            Err(error) if !error.is_of_a_row() => Err(error),
            read => Ok(found(read)),
        }
    }

    /// How long until the next delivery of each endpoint is due; zero when it is. Left out are
    /// endpoints without one between so long ago and so far ahead.
    pub async fn probe_due(
        &self,
        endpoints: &[EndpointKey],
        back: Duration,
        ahead: Duration,
    ) -> Result<Vec<(EndpointKey, Duration)>, StoreError> {
        let sql = include_str!("../../sql/probe_due.sql");
        let (back, ahead) = (micros(back), micros(ahead));
        let params: [Param<'_>; 3] =
            [(&endpoints, Type::INT4_ARRAY), (&back, Type::INT8), (&ahead, Type::INT8)];
        let rows = self.chore(sql, &params).await?;
        rows.iter()
            .map(|row| {
                let wait_us: i64 = row.try_get(1)?;
                Ok((row.try_get(0)?, Duration::from_micros(wait_us.max(0).unsigned_abs())))
            })
            .collect()
    }

    /// The payload of one event, if it is no larger than this.
    pub async fn load_payload(&self, event_seq: i64, most: i32) -> Result<Loaded, StoreError> {
        let sql = include_str!("../../sql/load_payload.sql");
        let rows = self.work(sql, &[(&event_seq, Type::INT8), (&most, Type::INT4)]).await?;
        let Some(row) = rows.first() else { return Ok(Loaded::Gone) };
        Ok(match read_payload(row, 0)? {
            Some(payload) => Loaded::Payload(payload),
            None => Loaded::Larger(row.try_get(1)?),
        })
    }
}

fn found(read: Result<Option<Event>, StoreError>) -> Result<Event, NoEvent> {
    match read {
        Ok(event) => event.ok_or(NoEvent::Gone),
        Err(error) => Err(NoEvent::Unreadable(error.to_string())),
    }
}
