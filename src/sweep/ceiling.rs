//! Keeps the outbox below `retention.max_bytes`: what has ended goes before its time, the oldest day
//! first. What has not ended never goes.

use std::time::Duration;

use super::{Left, Sweep};
use crate::store::error::StoreError;
use crate::store::room::Room;

/// Finished events that are younger stay: an application that is not sure whether its insert succeeded
/// makes it again with the same id.
const YOUNGEST: Duration = Duration::from_secs(60 * 60);

/// How far it has come, and what has been said of it.
#[derive(Default)]
pub(super) struct Ceiling {
    after: i64,
    said: Level,
}

/// How near the limit the outbox is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Well,
    Near,
    Over,
}

impl Level {
    fn of(room: &Room, limit: u64) -> Self {
        match room {
            _ if room.is_over(limit) => Self::Over,
            _ if Room::is_near(room.used(), limit) => Self::Near,
            _ => Self::Well,
        }
    }
}

impl Sweep {
    /// Lets go, day by day, of what has ended, until the outbox is well below the limit.
    pub(super) async fn keep_below(
        &self,
        limit: Option<u64>,
        ceiling: &mut Ceiling,
    ) -> Result<Left, StoreError> {
        let Some(limit) = limit else {
            return Ok(Left::Nothing);
        };
        let mut room = self.store.sample_room().await?;
        for day in (0..=room.oldest_day).rev() {
            if !room.is_over(limit) {
                break;
            }
            let (gone, left) = self.let_go(day, &room, limit, &mut ceiling.after).await?;
            if gone {
                tracing::warn!(
                    days = day,
                    "at retention.max_bytes: let go of what has ended and is as old as that"
                );
                room = self.store.sample_room().await?;
            }
            if left != Left::Nothing {
                return Ok(left);
            }
            if day == 0 && gone && room.is_over(limit) {
                // There may be more of today.
                return Ok(Left::More);
            }
        }
        ceiling.after = 0;
        ceiling.say(Level::of(&room, limit), &room, limit);
        Ok(Left::Nothing)
    }

    /// Lets go of what has ended of one day, so many days ago. Returns whether anything went.
    async fn let_go(
        &self,
        day: u32,
        room: &Room,
        limit: u64,
        after: &mut i64,
    ) -> Result<(bool, Left), StoreError> {
        if day > 0 {
            let age = room.age_after(day);
            let (history, locked) = self.drop_history(age).await?;
            let (events, more) = self.sweep_events(age.max(YOUNGEST), after).await?;
            return Ok((history + events > 0, locked.max(more)));
        }
        let (events, more) = self.sweep_events(YOUNGEST, after).await?;
        if events > 0 {
            return Ok((true, more));
        }
        // One day alone can be too much. The limit is there so that the disk does not fill up, for then
        // the application could insert nothing.
        let worth_it = room.today > limit / 10;
        Ok((worth_it && self.store.empty_history().await?, more))
    }
}

impl Ceiling {
    /// Once, and not each time.
    fn say(&mut self, level: Level, room: &Room, limit: u64) {
        let before = std::mem::replace(&mut self.said, level);
        let (bytes, used) = (room.disk, room.used());
        match level {
            Level::Over if before < Level::Over => tracing::warn!(
                bytes,
                used,
                limit,
                "at retention.max_bytes, and nothing that has ended is left to let go"
            ),
            Level::Near if before < Level::Near => tracing::warn!(
                bytes,
                used,
                limit,
                "near retention.max_bytes: what has ended will go before its time"
            ),
            Level::Well if before > Level::Well => {
                tracing::info!(bytes, used, limit, "well below retention.max_bytes again");
            }
            _ => {}
        }
    }
}
