//! The zoo: every receiver of `docs/hostile-receivers.md` that one event can be sent to, all at once
//! on one daemon, beside a healthy one.

mod body;
mod connection;
mod den;
mod document;
mod echo;
mod head;
mod memory;
mod row;
mod status;
mod tls;
mod vanished;
mod wire;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::harness::{Database, PATIENCE, TestDaemon};
use crate::receiver::Receiver;
use crate::tls::Authority;
use row::{Animal, Row};

/// The deadline of requests that are to miss it.
const SHORT: Duration = Duration::from_millis(1500);
/// The deadline of those that something else is to end.
const LONG: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(3);
/// How much later than its deadline an attempt may be over, on a machine that is busy with other
/// tests.
const GRACE: Duration = Duration::from_secs(5);
/// Between two events for the healthy receiver.
const TRICKLE: Duration = Duration::from_millis(20);
/// What the slowest hundredth of them may take from the emit to the arrival, on such a machine.
const HEALTHY: Duration = Duration::from_secs(3);

async fn all_rows(authority: &Authority) -> Vec<Row> {
    let mut rows = connection::rows().await;
    rows.extend(head::rows());
    rows.extend(body::rows());
    rows.extend(tls::rows(authority));
    rows
}

/// What became of the event for one receiver.
#[derive(Debug, Default)]
struct Fate {
    /// `outcome status`, attempt by attempt.
    attempts: Vec<String>,
    errors: Vec<String>,
    slowest_ms: i32,
    end: String,
}

async fn fates(database: &Database) -> HashMap<String, Fate> {
    let sql = "SELECT d.endpoint_name, d.status, a.outcome || ' ' || coalesce(a.http_status::text, '-'), \
                      coalesce(a.error, ''), a.duration_ms \
               FROM outbox.deliveries d JOIN outbox.attempts a USING (event_id, endpoint_id) \
               WHERE d.event_type LIKE 'zoo%' ORDER BY a.attempt";
    let mut fates: HashMap<String, Fate> = HashMap::new();
    for row in database.rows(sql, &[]).await {
        let fate = fates.entry(row.get(0)).or_default();
        fate.end = row.get(1);
        fate.attempts.push(row.get(2));
        fate.errors.push(row.get(3));
        fate.slowest_ms = fate.slowest_ms.max(row.get(4));
    }
    fates
}

/// What is wrong with a fate, if anything is.
fn judge(row: &Row, fate: &Fate) -> Option<String> {
    let limit = if row.expected == "timeout_response -" { SHORT } else { CONNECT };
    let limit = (limit + GRACE).as_millis();
    let told = |error: &String| match row.error {
        "" => error.is_empty(),
        part => error.contains(part),
    };
    let as_expected = fate.end == row.end()
        && fate.attempts == vec![row.expected; row.attempts]
        && fate.errors.iter().all(told)
        && u128::try_from(fate.slowest_ms).is_ok_and(|ms| ms <= limit);
    let Row { number, name, expected, error, attempts, .. } = row;
    (!as_expected)
        .then(|| format!("{number} {name}: {attempts} x {expected:?} with {error:?}, not {fate:?}"))
}

async fn open(database: &Database, authority: &Authority) -> Vec<Animal> {
    let mut animals = Vec::new();
    for row in all_rows(authority).await {
        let animal = Animal::of(row).await;
        let Row { name, expected, .. } = animal.row;
        let events = format!("{{{}}}", animal.row.events());
        database.subscribe_to(name, &animal.url, &events).await;
        let timeout = if expected == "timeout_response -" { SHORT } else { LONG }.as_millis();
        let sql =
            format!("UPDATE outbox.endpoints SET timeout = '{timeout} ms' WHERE name = '{name}'");
        database.execute(&sql).await;
        animals.push(animal);
    }
    animals
}

/// Sends events to the healthy receiver until all deliveries to the zoo have ended, and returns how
/// long each took.
async fn trickle(database: &Database, healthy: &Receiver, zoo: usize) -> Vec<Duration> {
    let ended = "SELECT count(*) FROM outbox.deliveries \
                 WHERE event_type LIKE 'zoo%' AND finished_at IS NOT NULL";
    let mut sent: Vec<(String, Instant)> = Vec::new();
    let started = Instant::now();
    while database.text(ended).await != zoo.to_string() {
        assert!(started.elapsed() < PATIENCE, "the zoo has no end");
        let at = Instant::now();
        sent.push((database.emit("healthy", "{}").await, at));
        tokio::time::sleep(TRICKLE).await;
    }
    let requests = healthy.wait_for(sent.len()).await;
    let arrived: HashMap<&str, Instant> =
        requests.iter().map(|it| (it.header("webhook-id").expect("an id"), it.at)).collect();
    sent.iter().map(|(id, at)| arrived[id.as_str()].saturating_duration_since(*at)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_receiver_has_its_outcome_and_harms_nobody_else() {
    let (database, healthy) = (Database::new().await, Receiver::start());
    let authority = Authority::new();
    let animals = open(&database, &authority).await;
    database.subscribe_to("healthy", &healthy.url("/"), "{healthy}").await;
    let connect = format!("{}ms", CONNECT.as_millis());
    let settings = [
        ("delivery.connect_timeout", connect.as_str()),
        ("delivery.retry", "50ms"),
        ("delivery.ca_file", authority.path()),
        ("delivery.allow", "127.0.0.0/8 [::1]/128"),
    ];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    daemon.wait_until_ready().await;
    let large = "SELECT outbox.emit('zoo.large', json_build_object('x', repeat('x', 1048000)))";
    database.execute(large).await;
    database.emit("zoo.small", "{}").await;
    let mut latencies = trickle(&database, &healthy, animals.len()).await;
    database.wait_until_idle().await;

    let mut fates = fates(&database).await;
    let judged = animals.iter().filter_map(|it| {
        let fate = fates.remove(it.row.name).unwrap_or_default();
        judge(&it.row, &fate)
    });
    let wrong: Vec<String> = judged.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    latencies.sort();
    assert!(latencies.len() > 20, "{} events are no trickle", latencies.len());
    let p99 = latencies[latencies.len() * 99 / 100];
    assert!(p99 < HEALTHY, "the healthy receiver waited {p99:?} of {} events", latencies.len());
    let failed = "SELECT count(*) FROM outbox.attempts a JOIN outbox.events e ON e.id = a.event_id \
                  WHERE e.type = 'healthy' AND a.outcome <> 'success'";
    assert_eq!(database.text(failed).await, "0");
    assert_eq!(healthy.requests().len(), latencies.len());

    for animal in &animals {
        if let Some(den) = &animal.den {
            den.wait_until_empty(animal.row.name).await;
        }
    }
    daemon.stop().await.expect("an orderly end");
}
