//! Breaks one thing at a time in a live stack, and sees the right alert fire and no other, neither
//! then nor while it mends. Minutes long: `scripts/drill`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outboxd::throwaway::Cluster;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::prometheus::{Prometheus, rules};
use crate::harness::{self, Database, Process, connect, free_port, start_cluster_on};
use crate::proxy::Proxy;
use crate::receiver::Receiver;

/// Windows and waits of the rules are so many times shorter: what they say of a scrape every 15 s
/// they say here of one a second.
const FASTER: u64 = 15;
/// Longest wait for an alert, or for quiet.
const PATIENCE: Duration = Duration::from_secs(240);
/// So long nothing else may fire beside an alert, or after one.
const SETTLE: Duration = Duration::from_secs(20);
/// Thresholds that cannot be had sooner: the age of a sample, which is taken every 15 s, and of a
/// transaction.
const THRESHOLDS: [(&str, &str); 2] =
    [("sample_age_seconds:min > 120", "sample_age_seconds:min > 40"), ("> 3600\n", "> 20\n")];

/// Rules with their durations divided: in brackets, after `for:` and `interval:`.
fn hurried(text: &str) -> String {
    let text = THRESHOLDS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let whole = trimmed.strip_prefix("for: ").or(trimmed.strip_prefix("interval: "));
        match whole.and_then(seconds) {
            Some(long) => out += &line.replace(whole.unwrap_or_default(), &shorter(long)),
            None => out += &brackets(line),
        }
    }
    out
}

/// A line with the ranges in it divided.
fn brackets(line: &str) -> String {
    let mut parts = line.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('[');
        match part.split_once(']').and_then(|(range, rest)| Some((seconds(range)?, rest))) {
            Some((long, rest)) => out += &format!("{}]{rest}", shorter(long)),
            None => out += part,
        }
    }
    out
}

fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}

fn shorter(seconds: u64) -> String {
    format!("{}s", (seconds / FASTER).max(1))
}

#[test]
fn durations_are_divided_and_nothing_else() {
    let rule = "  interval: 30s\n  expr: rate(a{b=~\"[5m]x\"}[5m]) > 60 and b[1h]\n  for: 2m\n";
    let expected =
        "  interval: 2s\n  expr: rate(a{b=~\"[20s]x\"}[20s]) > 60 and b[240s]\n  for: 8s\n";
    assert_eq!(hurried(rule), expected);
}

/// Three receivers, a daemon behind a proxy to its database, events all the time.
struct Stack {
    cluster: Arc<Cluster>,
    proxy: Proxy,
    receivers: Vec<Receiver>,
    admin: SocketAddr,
    daemon: Option<Process>,
    prometheus: Prometheus,
    database: Database,
    _events: DropGuard,
}

impl Stack {
    async fn start() -> Option<Self> {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let prometheus = Prometheus::start(&[admin], &rules(hurried))?;
        let cluster = Arc::new(start_cluster_on(free_port()));
        let url = cluster.url("postgres");
        harness::migrate(&url).await;
        let database = Database::at(url.clone()).await;
        let receivers: Vec<Receiver> = (0..3).map(|_| Receiver::start()).collect();
        for (n, receiver) in receivers.iter().enumerate() {
            database.subscribe(&format!("endpoint{n}"), &receiver.url("/")).await;
        }
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], cluster.port())));
        let stop = CancellationToken::new();
        tokio::spawn(insert(url, stop.clone()));
        let mut stack = Self {
            cluster,
            proxy,
            receivers,
            admin,
            daemon: None,
            prometheus,
            database,
            _events: stop.drop_guard(),
        };
        stack.run();
        Some(stack)
    }

    fn run(&mut self) {
        let (url, listen) = (
            format!("postgresql://postgres@{}/postgres", self.proxy.addr()),
            self.admin.to_string(),
        );
        // Circuits are probed as much more often as the rules look.
        let settings = [
            ("admin.listen", listen.as_str()),
            ("database.pool_size", "1"),
            ("delivery.retry_scale", "0.0667"),
        ];
        self.daemon = Some(Process::start(&url, &settings));
    }

    /// Waits until just this fires, and a little longer; returns all that fired until then.
    async fn until(&self, wanted: &[&str]) -> BTreeSet<String> {
        let wanted: BTreeSet<String> = wanted.iter().map(|it| (*it).to_owned()).collect();
        let (started, mut seen, mut since) = (Instant::now(), BTreeSet::new(), None);
        loop {
            let firing = self.prometheus.firing().await;
            since = (firing == wanted).then(|| since.unwrap_or_else(Instant::now));
            seen.extend(firing.iter().cloned());
            if since.is_some_and(|since| since.elapsed() > SETTLE) {
                return seen;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "wanted {wanted:?}, fires {firing:?}, fired {seen:?}"
            );
            // Rules are evaluated every two seconds.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn fires_alone(&self, alert: &str) {
        let begun = Instant::now();
        let seen = self.until(&[alert]).await;
        assert_eq!(seen, BTreeSet::from([alert.to_owned()]));
        eprintln!("{alert}: fired alone, after {} s", (begun.elapsed() - SETTLE).as_secs());
    }

    /// It resolves, and nothing comes after it.
    async fn mends(&self, alert: &str) {
        let seen = self.until(&[]).await;
        assert!(seen.iter().all(|it| it == alert), "after {alert}: {seen:?}");
    }
}

/// Ten events a second.
async fn insert(url: String, stop: CancellationToken) {
    let producer = connect(&url).await;
    let mut every = tokio::time::interval(Duration::from_millis(100));
    while !stop.is_cancelled() {
        every.tick().await;
        // The end of the test ends the cluster too.
        producer.batch_execute("SELECT outbox.emit('a', '{}')").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: scripts/drill"]
async fn each_thing_that_breaks_fires_its_alert_and_no_other() {
    let Some(mut stack) = Stack::start().await else { return };
    assert_eq!(stack.until(&[]).await, BTreeSet::new(), "all is well");

    let daemon = stack.daemon.take().expect("it runs");
    daemon.kill();
    stack.fires_alone("OutboxdDown").await;
    stack.run();
    stack.mends("OutboxdDown").await;

    let blocked = stack.receivers.pop().expect("three");
    let address = blocked.addr();
    blocked.stop().await;
    stack.fires_alone("OutboxdEndpointFailing").await;
    stack.receivers.push(Receiver::start_on(address));
    stack.mends("OutboxdEndpointFailing").await;

    let holder = connect(&stack.cluster.url("postgres")).await;
    let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()";
    holder.batch_execute(hold).await.expect("a transaction");
    stack.fires_alone("OutboxdXminHeld").await;
    holder.batch_execute("ROLLBACK").await.expect("its end");
    stack.mends("OutboxdXminHeld").await;

    // The size of a table cannot be had while it is locked; nothing else asks for this one.
    holder.batch_execute("BEGIN; LOCK TABLE outbox.event_types").await.expect("a lock");
    stack.fires_alone("OutboxdSamplerStale").await;
    holder.batch_execute("ROLLBACK").await.expect("its end");
    stack.mends("OutboxdSamplerStale").await;

    // One connection, and a slow way to the database: the loops wait for one another.
    stack.proxy.change(|weather| weather.up.delay = Duration::from_millis(300));
    stack.fires_alone("OutboxdPoolExhausted").await;
    stack.proxy.heal();
    stack.mends("OutboxdPoolExhausted").await;

    assert_ne!(stack.database.text("SELECT count(*) FROM outbox.attempts").await, "0");
}
