//! That the events of a key arrive in their order, whatever happens to it and to others.

use std::collections::HashMap;
use std::time::Duration;

use crate::harness::{Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// An ordered endpoint for every event.
async fn subscribe_in_order(database: &Database, name: &str, url: &str) {
    database.subscribe(name, url).await;
    database.execute(&format!("SELECT outbox.subscribe('{url}', ordered => true)")).await;
}

/// Events with the ids `a1`, `a2`, ... of the key `a`, each in a transaction of its own.
async fn emit_keyed(database: &Database, key: &str, numbers: std::ops::RangeInclusive<usize>) {
    for n in numbers {
        let sql = format!("SELECT outbox.emit('e', '{{}}', id => '{key}{n}', key => '{key}')");
        database.execute(&sql).await;
    }
}

/// The ids received, of each key, without those that come again at once after a failure.
fn by_key(receiver: &Receiver) -> HashMap<char, Vec<String>> {
    let mut keys: HashMap<char, Vec<String>> = HashMap::new();
    for id in receiver.ids() {
        let key = id.chars().next().expect("an id");
        let ids = keys.entry(key).or_default();
        if ids.last() != Some(&id) {
            ids.push(id);
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_sent_one_by_one_and_others_beside_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise(Reply::hold(&gate));
    subscribe_in_order(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start(&database).await;
    emit_keyed(&database, "a", 1..=3).await;
    emit_keyed(&database, "b", 1..=3).await;
    // Nothing orders those without a key.
    database.insert_many("e", 3).await;
    receiver.wait_in_flight(5).await;
    database.wait_for("SELECT count(*) FROM outbox.work WHERE behind", "4").await;
    let first: Vec<String> = receiver.ids().into_iter().filter(|id| id.len() == 2).collect();
    assert!(first.len() == 2 && first.iter().all(|id| id.ends_with('1')), "{first:?}");
    gate.open();
    database.wait_until_idle().await;
    assert_eq!(by_key(&receiver)[&'a'], ["a1", "a2", "a3"]);
    assert_eq!(by_key(&receiver)[&'b'], ["b1", "b2", "b3"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_key_blocks_itself_alone_until_it_is_given_up() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(vec![Reply::status(500), Reply::status(500), Reply::status(200)]);
    subscribe_in_order(&database, "one", &receiver.url("/")).await;
    let settings = [("delivery.retry", "1s"), ("delivery.retry_scale", "0.5")];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    emit_keyed(&database, "a", 1..=1).await;
    receiver.wait_for(1).await;
    emit_keyed(&database, "a", 2..=2).await;
    emit_keyed(&database, "b", 1..=1).await;
    // b1 takes the second failure, or a1's retry does: whichever, a2 comes after a1 has ended.
    database.wait_until_idle().await;
    assert_eq!(by_key(&receiver)[&'a'], ["a1", "a2"]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_pending_with_the_time_of_what_it_waits_for() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    subscribe_in_order(&database, "one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "1h")]).await;
    emit_keyed(&database, "a", 1..=2).await;
    let times = "SELECT count(*) || ' ' || count(DISTINCT next_attempt_at) || ' ' \
                 || bool_and(isfinite(next_attempt_at) AND next_attempt_at > now() + interval '30 min') \
                 FROM outbox.deliveries WHERE status = 'pending'";
    database.wait_for(times, "2 1 true").await;
    // Who cancels the first lets the second go.
    database.execute("SELECT outbox.cancel('a1', 'one')").await;
    receiver.wait_until(|seen| seen.iter().any(|it| it.header("webhook-id") == Some("a2"))).await;
    tokio::time::timeout(Duration::from_secs(30), daemon.stop())
        .await
        .expect("in time")
        .expect("an end");
}
