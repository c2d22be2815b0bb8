//! Whether deliveries are held since a backup was restored.

use super::connection;
use crate::cli::checks::Check;
use crate::store::error::StoreError;
use crate::store::home::Held;

const CHECK: &str = "restored backup";

/// What is held, and how to decide about it.
pub(super) fn check(held: Result<Option<Held>, StoreError>) -> Check {
    match held {
        Ok(None) => Check::ok(CHECK, "nothing is held"),
        Ok(Some(Held { reason, deliveries, events })) => {
            let finding = format!("{deliveries} deliveries and {events} events are held: {reason}");
            Check::warn(CHECK, finding)
                .mend("outboxd hold release, which delivers them, or outboxd hold cancel")
        }
        Err(error) => {
            Check::warn(CHECK, format!("cannot be read: {}", connection::finding(&error)))
        }
    }
}
