//! Sessions that are ours alone, with no pooler in between: their settings are made once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Hook, HookError, Metrics, Object};
use tokio::time::timeout;

use super::opening::SESSION;

/// Longest wait until a session has its settings.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether new connections of the pool are sessions of ours alone.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    own: bool,
    /// When this changed.
    since: Option<Instant>,
}

impl Sessions {
    /// Connections of before are not used again once this changes.
    pub fn own(&self, own: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.own != own {
            *state = State { own, since: Some(Instant::now()) };
        }
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session was given its settings, and may be relied on to have them still.
    pub fn has_settled(&self, connection: &Object) -> bool {
        let state = self.state();
        state.own && !state.is_past(Object::metrics(connection))
    }

    /// Gives new connections their settings.
    pub fn settling(&self) -> Hook {
        let sessions = self.clone();
        Hook::async_fn(move |client, _| {
            let own = sessions.state().own;
            Box::pin(async move {
                if !own {
                    return Ok(());
                }
                match timeout(LIMIT, client.batch_execute(SESSION)).await {
                    Ok(set) => set.map_err(HookError::Backend),
                    Err(_) => Err(HookError::message("no answer to the settings of a session")),
                }
            })
        })
    }

    /// Ends connections of before.
    pub fn retiring(&self) -> Hook {
        let sessions = self.clone();
        Hook::sync_fn(move |_, metrics| {
            if sessions.state().is_past(metrics) {
                return Err(HookError::message("it is of before"));
            }
            Ok(())
        })
    }
}

impl State {
    /// Whether a connection is of before the last change.
    fn is_past(self, metrics: &Metrics) -> bool {
        self.since.is_some_and(|since| metrics.created <= since)
    }
}
