//! The room that the outbox takes on the disk, where `retention.max_bytes` limits it.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::Store;
use super::error::StoreError;

/// Pages of `outbox.events` that an estimate is made from.
const PAGES: i64 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the outbox takes, and what of it may be let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of all tables of the schema, as the disk has them.
    pub disk: u64,
    /// Of these, what events can take again without growing the outbox; an estimate.
    pub reusable: u64,
    /// Of these, the history of today.
    pub today: u64,
    /// How many days ago the oldest event or day of history is; 0: today.
    pub oldest_day: u32,
    /// Since midnight, by the clock of the database (UTC).
    pub since_midnight: Duration,
}

impl Room {
    /// What is in use. Deleted events leave room in their table, which does not get smaller by it.
    pub fn used(&self) -> u64 {
        self.disk.saturating_sub(self.reusable)
    }

    /// Whether something has to go: the limit is all but reached, and not only by room that events
    /// will take again. What is left of it is for what comes before the next look, and for what was
    /// deleted and not yet vacuumed; a tenth is made free, so that it is not met all the time.
    pub fn is_over(&self, limit: u64) -> bool {
        self.disk > limit / 100 * 95 && self.used() > limit / 100 * 85
    }

    /// Whether so many bytes are so much that something will have to go soon.
    pub fn is_near(bytes: u64, limit: u64) -> bool {
        bytes > limit / 100 * 80
    }

    /// How old what remains may be when everything to the end of that day is let go, so many days
    /// ago; of today there is no end yet.
    pub fn age_after(&self, day: u32) -> Duration {
        self.since_midnight + DAY * day.saturating_sub(1)
    }
}

impl Store {
    /// Looks at the room that is taken.
    ///
    /// # Errors
    /// Of the database; after 2 s at most, once there is a connection.
    pub async fn sample_room(&self) -> Result<Room, StoreError> {
        let sql = include_str!("../../sql/sample_room.sql");
        let rows = self.look(sql, &[(&PAGES, Type::INT8)]).await?;
        let bytes = |column| Ok::<_, StoreError>(rows[0].try_get::<_, i64>(column)?.unsigned_abs());
        Ok(Room {
            disk: bytes(0)?,
            reusable: bytes(1)?,
            today: bytes(2)?,
            oldest_day: rows[0].try_get::<_, i32>(3)?.unsigned_abs(),
            since_midnight: Duration::from_micros(bytes(4)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        disk: 1_000,
        reusable: 0,
        today: 0,
        oldest_day: 3,
        since_midnight: Duration::from_secs(600),
    };

    #[test]
    fn what_comes_near_the_limit_has_to_go_but_not_for_room_that_is_taken_again() {
        let room = Room { disk: 9_510, ..ROOM };
        assert!(room.is_over(10_000));
        assert!(!Room { disk: 9_500, ..ROOM }.is_over(10_000));
        assert!(Room { reusable: 1_000, ..room }.is_over(10_000));
        assert!(!Room { reusable: 1_020, ..room }.is_over(10_000));
        assert!(!Room { reusable: 20_000, ..room }.is_over(10_000));
    }

    #[test]
    fn eight_tenths_are_near() {
        assert!(!Room::is_near(800, 1_000));
        assert!(Room::is_near(801, 1_000));
    }

    #[test]
    fn a_day_is_let_go_to_its_end() {
        assert_eq!(ROOM.age_after(1), Duration::from_secs(600), "yesterday ended at midnight");
        assert_eq!(ROOM.age_after(3), Duration::from_secs(600) + 2 * DAY);
    }
}
