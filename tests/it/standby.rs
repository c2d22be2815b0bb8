//! What the daemon does when a standby takes the place of its database.

use std::time::{Duration, Instant};

use outboxd::throwaway::{Cluster, Options};

use crate::crash::arrivals;
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed_and_loses_nothing() {
    let ports = [harness::free_port(), harness::free_port()];
    let mut primary = harness::start_cluster_on(ports[0]);
    let url = primary.url("postgres");
    harness::migrate(&url).await;
    let standby_of = Some(url.clone());
    let options = Options { tcp_port: Some(ports[1]), standby_of, ..Options::default() };
    let standby = Cluster::start(options).expect("a standby");
    let (old, receiver) = (Database::at(url).await, Receiver::start());
    // From here on what is committed is on both.
    old.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    old.execute("SELECT pg_reload_conf()").await;
    old.wait_for("SELECT bool_and(sync_state = 'sync') FROM pg_stat_replication", "true").await;
    old.subscribe("one", &receiver.url("/")).await;
    let [a, b] = ports;
    let both = format!("postgresql://postgres@127.0.0.1:{a},127.0.0.1:{b}/postgres");
    let daemon = TestDaemon::start_with(&both, &[]).await;
    let (rounds, each) = (10, 30);
    for _ in 0..rounds {
        old.insert_many("a", each).await;
    }
    receiver.wait_for(rounds * each / 2).await;
    old.insert_many("a", each).await;
    primary.kill();
    let new = Database::at(standby.url("postgres")).await;
    new.execute("SELECT pg_promote()").await;
    let promoted = Instant::now();
    new.insert_many("b", each).await;
    let last = new.text("SELECT max(id) FROM outbox.events WHERE type = 'b'").await;
    receiver
        .wait_until(|seen| seen.iter().any(|one| one.header("webhook-id") == Some(&last)))
        .await;
    let took = promoted.elapsed();
    assert!(took < Duration::from_secs(10), "claimed again after {took:?}");
    new.wait_until_idle().await;
    assert_eq!(arrivals(&receiver).len(), (rounds + 2) * each, "every event arrived");
    daemon.wait_until_ready().await;
    daemon.stop().await.expect("an orderly end");
}
