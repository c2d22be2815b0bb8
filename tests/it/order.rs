//! That the events of a key arrive in their order, whatever happens to it and to others.

mod cost;
mod turns;
mod turmoil;

use std::collections::BTreeMap;

use crate::harness::Database;
use crate::receiver::Receiver;

/// An ordered endpoint for the events of type `e`.
async fn subscribe(database: &Database, name: &str, url: &str) {
    let sql =
        format!("SELECT outbox.subscribe('{url}', '{{e}}', name => '{name}', ordered => true)");
    database.execute(&sql).await;
}

/// Emits events of type `e`, each in a transaction of its own. Their ids are `key-number`.
async fn emit(database: &Database, ids: &[&str]) {
    for id in ids {
        let (key, _) = id.split_once('-').expect("key and number");
        database
            .execute(&format!("SELECT outbox.emit('e', '{{}}', id => '{id}', key => '{key}')"))
            .await;
    }
}

/// The numbers received so far, of each key, an attempt each.
fn by_key(receiver: &Receiver) -> BTreeMap<String, Vec<u32>> {
    let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for id in receiver.ids() {
        if let Some((key, number)) = id.split_once('-') {
            keys.entry(key.to_owned()).or_default().push(number.parse().expect("a number"));
        }
    }
    keys
}

/// The numbers received of one key, an attempt each.
fn of(receiver: &Receiver, key: &str) -> Vec<u32> {
    by_key(receiver).remove(key).unwrap_or_default()
}

/// Waits until this event has been received.
async fn wait_for(receiver: &Receiver, id: &str) {
    receiver.wait_until(|seen| seen.iter().any(|it| it.header("webhook-id") == Some(id))).await;
}

/// All of each key, from 1 to `most`; where one came again, then before the next.
fn assert_in_order(receiver: &Receiver, keys: usize, most: u32) {
    let received = by_key(receiver);
    assert_eq!(received.len(), keys);
    for (key, numbers) in received {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        let mut each = numbers.clone();
        each.dedup();
        assert_eq!(each, (1..=most).collect::<Vec<u32>>(), "{key}");
    }
}
