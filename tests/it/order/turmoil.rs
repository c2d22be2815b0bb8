//! Order under load: several daemons, receivers that fail at random, kills.

use std::time::Duration;

use super::{assert_in_order, subscribe};
use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// At random: one in eight fails, all take their time.
fn moody(seed: u64) -> Vec<Reply> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut reply = || {
        let status = if random.u8(..8) == 0 { 500 } else { 200 };
        Reply::status(status).delay(Duration::from_millis(random.u64(..12)))
    };
    (0..20_000).map(|_| reply()).chain([Reply::status(200)]).collect()
}

const SOON: [(&str, &str); 2] = [("delivery.retry", "1s*"), ("delivery.retry_scale", "0.05")];

/// A writer of some keys of its own: transactions of one or several events of each.
async fn write(url: String, writer: usize, keys: usize, each: usize) {
    let client = harness::connect(&url).await;
    let mut random = fastrand::Rng::with_seed(writer as u64);
    let mut written = 0;
    while written < each {
        let some = random.usize(1..=4).min(each - written);
        let sql = format!(
            "INSERT INTO outbox.events (id, type, payload, key) \
             SELECT 'w{writer}k' || k || '-' || n, 'e', '{{}}', 'w{writer}k' || k \
             FROM generate_series({}, {}) n, generate_series(1, {keys}) k ORDER BY n, random()",
            written + 1,
            written + some
        );
        client.batch_execute(&sql).await.expect("an insert");
        written += some;
        tokio::time::sleep(Duration::from_millis(random.u64(..30))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_at_once_and_moody_receivers_keep_the_order_of_every_key() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(moody(fastrand::u64(..)));
    subscribe(&database, "one", &receiver.url("/")).await;
    let daemons = [
        TestDaemon::start_with(&database.url, &SOON).await,
        TestDaemon::start_with(&database.url, &SOON).await,
    ];
    let writers: Vec<_> =
        (0..4).map(|writer| tokio::spawn(write(database.url.clone(), writer, 20, 25))).collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    database.wait_until_idle().await;
    assert_in_order(&receiver, 4 * 20, 25);
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_do_not_change_the_order_of_any_key() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(moody(fastrand::u64(..)));
    subscribe(&database, "one", &receiver.url("/")).await;
    let mut daemons =
        vec![Process::start(&database.url, &SOON), Process::start(&database.url, &SOON)];
    let writers: Vec<_> =
        (0..4).map(|writer| tokio::spawn(write(database.url.clone(), writer, 20, 40))).collect();
    for kill in 1..=3 {
        receiver.wait_until(|seen| seen.len() >= kill * 800).await;
        daemons.remove(0).kill();
        daemons.push(Process::start(&database.url, &SOON));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    database.wait_until_idle().await;
    assert_in_order(&receiver, 4 * 20, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_of_a_hot_key_and_many_others_drains_in_order() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    subscribe(&database, "one", &receiver.url("/")).await;
    // Their batches are of the same keys, and committed in any order.
    let daemons = [TestDaemon::start(&database).await, TestDaemon::start(&database).await];
    let (keys, each) = (1000, 20);
    database
        .execute(&format!(
            "INSERT INTO outbox.events (id, type, payload, key) \
             SELECT 'k' || k || '-' || n, 'e', '{{}}', CASE WHEN k <= 10 THEN 'hot' ELSE 'k' || k END \
             FROM generate_series(1, {each}) n, generate_series(1, {keys}) k"
        ))
        .await;
    // In two steps: together they may take longer than a test waits for one thing.
    database.wait_for("SELECT count(*) < 10000 FROM outbox.history", "false").await;
    database.wait_until_idle().await;
    assert_in_order(&receiver, keys, each);
    let ids = receiver.ids();
    assert_eq!(ids.len(), keys * each as usize, "each once");
    let hot: Vec<(u32, u32)> = ids
        .iter()
        .filter_map(|id| id.strip_prefix('k')?.split_once('-'))
        .map(|(key, n)| (n.parse().expect("a number"), key.parse().expect("a number")))
        .filter(|(_, key)| *key <= 10)
        .collect();
    assert!(hot.is_sorted() && hot.len() == 200, "{hot:?}");
    for daemon in daemons {
        daemon.stop().await.expect("an orderly end");
    }
}
