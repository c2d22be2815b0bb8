//! Bad endpoints among many good ones, all of them written by SQL, which asks nobody.

use std::collections::HashSet;

use crate::harness::{Database, TestDaemon};
use crate::receiver::Receiver;

const GOOD: usize = 940;
/// What is wrong with an endpoint, as a change of a good row; each of it stands so many times.
const WRONG: [&str; 6] = [
    "url = 'ftp://example.com/' || name",
    "url = 'http://user:password@example.com/' || name",
    "url = 'no URL at all ' || name",
    "profile = 'nobody-has-this'",
    "headers = '{\"Transfer-Encoding\": \"chunked\"}'",
    "retry = 'now and then'",
];
const EACH: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_bad_endpoints_among_a_thousand_are_named_and_wait_until_they_are_mended() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let bad = WRONG.len() * EACH;
    let insert = format!(
        "INSERT INTO outbox.endpoints (name, url) \
         SELECT 'e' || n, '{}' || n FROM generate_series(1, {}) n",
        receiver.url("/"),
        GOOD + bad
    );
    database.execute(&insert).await;
    for (kind, wrong) in WRONG.iter().enumerate() {
        // Neither the first nor the last: spread over all.
        let which = format!(
            "endpoint % 16 = {kind} AND endpoint <= 16 * {EACH} + {kind} AND endpoint > {kind}"
        );
        database.execute(&format!("UPDATE outbox.endpoints SET {wrong} WHERE {which}")).await;
    }
    let daemon = TestDaemon::start(&database).await;
    database.emit("a", "{}").await;
    receiver.wait_for(GOOD).await;
    let invalid =
        "SELECT count(*) FROM outbox.endpoints WHERE state = 'invalid' AND state_reason <> ''";
    database.wait_for(invalid, &bad.to_string()).await;
    let kinds =
        "SELECT count(DISTINCT split_part(state_reason, ':', 1)) >= 4 FROM outbox.endpoints";
    assert_eq!(database.text(kinds).await, "true", "reasons tell them apart");
    let waiting = "SELECT count(*) FROM outbox.work WHERE attempt = 0 AND failures = 0";
    database.wait_for("SELECT count(*) FROM outbox.queue", "0").await;
    database.wait_for(waiting, &bad.to_string()).await;
    assert_eq!(receiver.requests().len(), GOOD);

    let mend = format!(
        "UPDATE outbox.endpoints SET url = '{}' || substr(name, 2), profile = 'standard', headers = '{{}}', \
         retry = NULL WHERE state = 'invalid'",
        receiver.url("/")
    );
    database.execute(&mend).await;
    database.wait_until_idle().await;
    let paths: HashSet<String> =
        receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!((paths.len(), receiver.requests().len()), (GOOD + bad, GOOD + bad));
    daemon.stop().await.expect("an orderly end");
}
