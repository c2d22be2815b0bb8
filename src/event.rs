//! The nouns of the work: an event, and a delivery of it that has been leased.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::endpoint::EndpointKey;

/// One event, shared by all its deliveries.
#[derive(Debug)]
pub struct Event {
    /// Its number, `outbox.events.seq`.
    pub seq: i64,
    /// Its public id, the `webhook-id`.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The tenant it belongs to.
    pub tenant: Option<String>,
    /// False for test events.
    pub live: bool,
    /// When it was created, in microseconds since the epoch, by the database's clock.
    pub created_us: i64,
    /// When it was to be sent at the earliest, in microseconds since the epoch, by the database's
    /// clock: when it was inserted, or later if its producer wanted that.
    pub wanted_us: i64,
    /// The payload as inserted; `None` when it is too large to travel with a batch, and is loaded
    /// when its turn comes.
    pub payload: Option<Bytes>,
}

/// One delivery that this daemon has leased: the next attempt is recorded and must be made, given
/// back, or left to the end of the lease.
#[derive(Debug)]
pub struct Job {
    /// What to send.
    pub event: Arc<Event>,
    /// Where to. Looked up when the attempt starts, so that it is made to the endpoint as it is
    /// then.
    pub endpoint: EndpointKey,
    /// Number of this attempt, from 1; with `holder`, the fence of every later write.
    pub attempt: i32,
    /// Failed attempts before this one.
    pub failures: i32,
    /// The instance that holds the lease.
    pub holder: i32,
    /// Whether somebody waits for it: it goes ahead of what is queued for its endpoint.
    pub ahead: bool,
    /// When the lease ends; always a little earlier than the database has it.
    pub lease_ends: Instant,
}

impl Job {
    /// The lease, as every write names it.
    pub fn lease(&self) -> Lease {
        Lease {
            event_seq: self.event.seq,
            endpoint: self.endpoint,
            attempt: self.attempt,
            holder: self.holder,
        }
    }
}

/// A leased delivery, as every write after its claim has to name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Number of the event.
    pub event_seq: i64,
    /// The endpoint.
    pub endpoint: EndpointKey,
    /// The attempt that was leased.
    pub attempt: i32,
    /// Who leased it.
    pub holder: i32,
}
