//! Every way in which a URL gets to a daemon, with every vector.

use std::net::SocketAddr;

use super::dns::{Dns, Say};
use super::tripwire::Tripwire;
use super::{vectors, world};
use crate::harness::{self, Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// What the name server says of every name but one.
const FORBIDDEN: [&str; 5] = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:7f00:1"];
/// Nothing is excepted; a failure is final.
const STRICT: [(&str, &str); 2] = [("delivery.allow", ""), ("delivery.retry", "none")];
/// Commands at once.
const COMMANDS: usize = 4;

struct Field {
    database: Database,
    receiver: Receiver,
    /// Refused for what they are.
    refused: Vec<String>,
    /// Refused for what they resolve to.
    names: Vec<String>,
}

impl Field {
    async fn new() -> Self {
        let (refused, names) = (vectors::refused(), vectors::names());
        assert!(refused.len() + names.len() >= 150, "{} vectors", refused.len() + names.len());
        let receiver = Receiver::start_on(SocketAddr::from(([44, 0, 0, 1], 8080)));
        Self { database: Database::new().await, receiver, refused, names }
    }

    fn all(&self) -> impl Iterator<Item = (usize, &String)> {
        self.refused.iter().chain(&self.names).enumerate()
    }

    /// Endpoints that received something while they led to the receiver.
    async fn subscribe_good_ones(&self) {
        for (n, _) in self.all() {
            let url = self.receiver.url(&format!("/{n}"));
            self.database.subscribe_to(&format!("r{n}"), &url, "{first,any}").await;
        }
        self.database.subscribe_to("good", &self.receiver.url("/good"), "{redirect}").await;
    }

    /// Into the table, through the function, and in place of a good URL.
    async fn plant(&self) {
        for (n, url) in self.all() {
            let url = url.replace('\'', "''");
            for sql in [
                format!("INSERT INTO outbox.endpoints (name, url) VALUES ('i{n}', '{url}')"),
                format!("SELECT outbox.subscribe('{url}', name => 's{n}', tenant => 't{n}')"),
                format!("UPDATE outbox.endpoints SET url = '{url}' WHERE name = 'r{n}'"),
            ] {
                // A database that refuses one is a gate too.
                self.database.try_execute(&sql).await.ok();
            }
        }
        let planted = "SELECT count(*) >= 450 FROM outbox.endpoints WHERE name <> 'good'";
        assert_eq!(self.database.text(planted).await, "true");
    }

    /// An event for all, a test event for each, and the first event again.
    async fn send_everything(&self, first: &str) {
        self.database.emit("any", "{}").await;
        let others = "FROM outbox.endpoints WHERE name <> 'good'";
        self.database.execute(&format!("SELECT outbox.send_test(name) {others}")).await;
        let again = format!("SELECT outbox.replay('{first}', name) {others} AND name LIKE 'r%'");
        self.database.execute(&again).await;
    }

    /// Waits until nothing can be sent any more, and looks at what became of each.
    async fn settle(&self) {
        let queued = "SELECT count(*) FROM outbox.queue";
        self.database.wait_for(queued, "0").await;
        let open = "SELECT count(*) FROM outbox.work w JOIN outbox.endpoints e USING (endpoint) \
                    WHERE e.state = 'active'";
        self.database.wait_for(open, "0").await;
        for (n, url) in self.refused.iter().enumerate() {
            let states = format!(
                "SELECT string_agg(DISTINCT state, ' ') FROM outbox.endpoints \
                 WHERE name IN ('i{n}', 's{n}', 'r{n}')"
            );
            assert_eq!(self.database.text(&states).await, "invalid", "{url:?}");
        }
        let outcomes = "SELECT string_agg(DISTINCT outcome, ' ' ORDER BY outcome) \
                        FROM outbox.attempts";
        assert_eq!(self.database.text(outcomes).await, "blocked success");
        let blocked = "SELECT count(DISTINCT endpoint_id) FROM outbox.attempts \
                       WHERE outcome = 'blocked'";
        let expected = (3 * self.names.len()).to_string();
        assert_eq!(self.database.text(blocked).await, expected);
    }

    async fn commands(&self) {
        let count = "SELECT md5(string_agg(url, ' ' ORDER BY endpoint)) FROM outbox.endpoints";
        let before = self.database.text(count).await;
        for urls in self.refused.chunks(COMMANDS) {
            let asked: Vec<_> = urls
                .iter()
                .map(|url| {
                    let (database, url) = (self.database.url.clone(), url.clone());
                    tokio::task::spawn_blocking(move || refuses(&database, &url))
                })
                .collect();
            for one in asked {
                one.await.expect("refused");
            }
        }
        assert_eq!(self.database.text(count).await, before, "something was written");
    }

    /// A receiver that may be reached points to all others.
    async fn redirects(&self) {
        let statuses = [301, 302, 303, 307, 308];
        let clean = |url: &&String| !url.contains(char::is_control) && url.len() < 4_000;
        let elsewhere = [self.receiver.url("/second"), "/second".to_owned(), "file:///x".into()];
        let targets = self.all().map(|(_, url)| url).chain(&elsewhere).filter(clean);
        let answers: Vec<Reply> = targets
            .zip(statuses.into_iter().cycle())
            .map(|(url, status)| Reply::status(status).header("location", url))
            .collect();
        let count = answers.len();
        self.receiver.on("/good", answers);
        self.database.insert_many("redirect", count).await;
        let followed = "SELECT count(*) FROM outbox.attempts WHERE outcome = 'http_3xx'";
        self.database.wait_for(followed, &count.to_string()).await;
        let paths = self.receiver.requests();
        assert_eq!(paths.iter().filter(|request| request.path == "/good").count(), count);
        assert!(!paths.iter().any(|request| request.path == "/second"));
    }
}

/// Whether neither `add` nor `update` takes it.
fn refuses(database: &str, url: &str) {
    for arguments in
        [&["endpoints", "add", url][..], &["endpoints", "update", "good", "--url", url]]
    {
        let said = harness::outboxd(database, &STRICT).args(arguments).output().expect("it runs");
        let error = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{url:?}: {error}");
        assert!(error.contains("url: "), "{url:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vector_reaches_anything_through_any_gate() {
    if !world::is_inside("ssrf::gates::no_vector_reaches_anything_through_any_gate") {
        return;
    }
    let _dns = Dns::start(|_, before| Say::these(&[FORBIDDEN[before % FORBIDDEN.len()]]));
    let tripwire = Tripwire::at(&[
        "[::]:80",
        "[::]:443",
        "[::]:8443",
        "[::]:22",
        "[::]:25",
        "[::]:6379",
        "[::]:11211",
        "[::]:5432",
    ])
    .await;
    let field = Field::new().await;
    field.subscribe_good_ones().await;
    let daemon = TestDaemon::start_with(&field.database.url, &STRICT).await;
    let first = field.database.emit("first", "{}").await;
    field.receiver.wait_for(field.all().count()).await;
    field.database.wait_until_idle().await;
    field.plant().await;
    field.send_everything(&first).await;
    field.settle().await;
    assert_eq!(field.receiver.requests().len(), field.all().count());
    field.commands().await;
    field.redirects().await;
    tripwire.assert_untouched().await;
    eprintln!("{} vectors", field.all().count());
    daemon.stop().await.expect("an orderly end");
}
