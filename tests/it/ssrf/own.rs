//! Our own addresses, and what a reload changes.

use super::tripwire::Tripwire;
use super::world::{self, INTERFACE};
use crate::harness::{Database, TestDaemon, start_cluster_on};
use crate::receiver::{Receiver, Reply};

/// The endpoint's last outcome and error.
async fn last(database: &Database, endpoint: &str) -> String {
    let event = database.text(&format!("outbox.send_test('{endpoint}')")).await;
    let one = format!("FROM outbox.attempts WHERE event_id = '{event}'");
    database.wait_for(&format!("SELECT count(*) > 0 {one}"), "true").await;
    database.text(&format!("SELECT concat_ws(' ', outcome, error) {one}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_and_its_database_are_refused_by_each_of_their_addresses() {
    if !world::is_inside(
        "ssrf::own::this_machine_and_its_database_are_refused_by_each_of_their_addresses",
    ) {
        return;
    }
    let cluster = start_cluster_on(55_432);
    let socket = Database::at(cluster.url("postgres")).await;
    let user = socket.text("current_user").await;
    let url = format!("postgres://{user}@127.0.0.1:55432/postgres");
    crate::harness::migrate(&cluster.url("postgres")).await;
    let tripwire = Tripwire::at(&[&format!("{INTERFACE}:55432"), "127.0.0.2:55432"]).await;
    let receiver = Receiver::start_on(format!("{INTERFACE}:8080").parse().expect("an address"));
    let daemon = TestDaemon::start_with(&url, &[("delivery.allow", "")]).await;
    let admin = daemon.admin.port();
    for (name, target) in [
        ("interface", format!("{INTERFACE}:8080")),
        ("database", format!("{INTERFACE}:55432")),
        ("beside", "127.0.0.2:55432".to_owned()),
        ("admin", format!("{INTERFACE}:{admin}")),
        ("loopback", format!("127.0.0.1:{admin}")),
    ] {
        socket.subscribe_to(name, &format!("http://{target}/"), "{none}").await;
    }
    let refusal = last(&socket, "interface").await;
    assert!(refusal.starts_with("blocked") && refusal.contains("of this machine"), "{refusal}");
    // Where the operator permits the machine, the ports of outboxd and of its database stay refused.
    let allow = format!("{INTERFACE} 127.0.0.0/8");
    daemon.reconfigure(&url, &[("delivery.allow", &allow)]).await;
    assert_eq!(last(&socket, "interface").await, "success");
    assert_eq!(receiver.connections(), 1);
    for name in ["database", "beside", "admin"] {
        let refusal = last(&socket, name).await;
        assert!(refusal.starts_with("blocked") && refusal.contains("belongs to"), "{refusal}");
    }
    let state = "SELECT state_reason FROM outbox.endpoints WHERE name = 'loopback'";
    assert!(socket.text(state).await.contains("belongs to"));
    tripwire.assert_untouched().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_holds_for_endpoints_that_were_loaded_before() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let gate = receiver.gate();
    receiver.otherwise([Reply::hold(&gate), Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    database.execute("UPDATE outbox.endpoints SET max_in_flight = 1").await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 20).await;
    receiver.wait_in_flight(1).await;
    // The others wait in memory behind the first.
    daemon.reconfigure(&database.url, &[("delivery.https_only", "true")]).await;
    let state = "SELECT state || ' ' || state_reason FROM outbox.endpoints";
    let invalid = "invalid url: delivery.https_only is set; use https";
    database.wait_for(state, invalid).await;
    gate.open();
    database.wait_for("SELECT count(*) FROM outbox.attempts", "1").await;
    assert_eq!(receiver.requests().len(), 1);
    daemon.reconfigure(&database.url, &[]).await;
    database.wait_until_idle().await;
    assert_eq!(receiver.requests().len(), 20);
    daemon.stop().await.expect("an orderly end");
}
