//! What comes back from a receiver, and who may read it.

use crate::harness::{self, Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

const BODY: &str = "what-an-internal-service-said";

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tells_the_status_and_the_body_is_for_those_who_may_read_it() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500).body(BODY));
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    for format in [&["--json"][..], &[]] {
        let mut command = harness::outboxd(&database.url, &[]);
        command.args(["endpoints", "test", "one"]).args(format);
        let said = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
        let said = said.await.expect("no panic");
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("http_5xx") && !text.contains(BODY), "{text}");
    }
    let kept = "SELECT count(*) FROM outbox.attempts WHERE response_body IS NOT NULL";
    assert_eq!(database.text(kept).await, "2");
    // Neither from the view nor from what is below it, neither whole nor in a condition.
    for sql in [
        "SELECT response_body FROM outbox.attempts",
        "SELECT a FROM outbox.attempts a",
        "SELECT count(*) FROM outbox.attempts WHERE response_body IS NOT NULL",
        "SELECT response_body FROM outbox.history",
    ] {
        let as_reader = format!("BEGIN; SET LOCAL ROLE outbox_reader; {sql}");
        let refused = database.try_execute(&as_reader).await.expect_err(sql);
        database.execute("ROLLBACK").await;
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{sql}: {refused:?}");
    }
    daemon.stop().await.expect("an orderly end");
}
