//! What bad rows, bad defaults and vandals come to: a state with a name, and the rest flows.

use std::time::{Duration, Instant};

use crate::harness::{Database, TestDaemon};
use crate::receiver::Receiver;

/// Stored data that cannot be read, or that the database refuses to work with.
mod damage;
/// Roles and databases whose settings are hostile, and what can be looked up in `public`.
mod defaults;
/// What a server has no room for, and whose clock decides.
mod limits;
/// What others leave open: transactions that nobody ends, snapshots, replication slots.
mod open;
/// Replies with every byte there is.
mod replies;
/// A backup that was restored: what waited in it is not sent again unasked.
mod restored;
/// Rows with values that no schema of ours would have let in, and those it lets in.
mod rows;
/// People and processes that change what the daemon works on.
mod vandals;

/// How long a good event beside bad ones takes at most; mostly it takes milliseconds.
const PROMPT: Duration = Duration::from_secs(5);

/// How an event stands, whatever became of it: its status or `quarantined`, and what was said of it.
async fn state(database: &Database, event: &str) -> String {
    database.text(&state_sql(event)).await
}

fn state_sql(event: &str) -> String {
    format!(
        "SELECT coalesce(
            (SELECT 'quarantined: ' || reason FROM outbox.quarantined_events WHERE event_id = '{event}'),
            (SELECT string_agg(d.status || coalesce(': ' || (
                 SELECT a.error FROM outbox.attempts a
                 WHERE a.event_id = d.event_id AND a.endpoint_id = d.endpoint_id AND a.error IS NOT NULL
                 ORDER BY a.attempt DESC LIMIT 1), ''), ', ' ORDER BY d.endpoint_name)
             FROM outbox.deliveries d WHERE d.event_id = '{event}'),
            'nothing')"
    )
}

/// Waits until the state of an event begins so, and returns all of it.
async fn wait_for_state(database: &Database, event: &str, beginning: &str) -> String {
    let sql = format!("SELECT left(({}), {})", state_sql(event), beginning.len());
    database.wait_for(&sql, beginning).await;
    state(database, event).await
}

/// That the rest flows: a good event arrives at once, everywhere.
async fn flows(database: &Database, receiver: &Receiver, at: &[&str]) {
    let started = Instant::now();
    let event = database.emit("good", "{\"good\":true}").await;
    receiver
        .wait_until(|requests| {
            at.iter().all(|path| {
                requests.iter().any(|request| {
                    request.path == *path && request.header("webhook-id") == Some(&event)
                })
            })
        })
        .await;
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

/// A database with an endpoint for everything, its receiver and a daemon.
async fn scene(settings: &[(&str, &str)]) -> (Database, Receiver, TestDaemon) {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, settings).await;
    flows(&database, &receiver, &["/"]).await;
    (database, receiver, daemon)
}
