//! SIGSTOP of one of two daemons for longer than its leases, and SIGCONT: a process that comes back
//! to life changes nothing that is another's by now. Many pairs at once, each in its own database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use outboxd::throwaway::Cluster;
use tokio::time::sleep;

use crate::checker::{Rules, Verdict, judge};
use crate::history::Death;
use crate::place::{Place, cluster};
use crate::producer::Plan;
use crate::receivers::Behaviour;
use crate::report::{Report, Run};

/// A lease has to be 15 s longer than a request may take.
const SETTINGS: &[(&str, &str)] =
    &[("delivery.timeout", "2s"), ("delivery.lease", "18s"), ("database.pool_size", "3")];
/// Receivers take their time, so that a frozen daemon has requests under way.
const PAUSE: Duration = Duration::from_millis(400);
/// Statements that a frozen daemon had sent are done by then.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a daemon that woke up may work before it is judged.
const AWAKE: Duration = Duration::from_secs(6);

/// Notes whose session changes which row of another's. Names are those of connections.
const AUDIT: &str = "
    CREATE TABLE trust_holders (holder int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE trust_changes (name text, holder int, was_leased boolean, at timestamptz);
    CREATE FUNCTION public.trust_registered() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.trust_holders VALUES (NEW.id, current_setting('application_name'));
        RETURN NEW;
    END $$;
    CREATE TRIGGER trust_registered BEFORE INSERT ON outbox.instances
        FOR EACH ROW EXECUTE FUNCTION public.trust_registered();
    CREATE FUNCTION public.trust_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.trust_changes VALUES (current_setting('application_name'), OLD.holder,
                                          OLD.due_at > clock_timestamp(), clock_timestamp());
        RETURN NULL;
    END $$;
    CREATE TRIGGER trust_changed AFTER UPDATE OR DELETE ON outbox.work
        FOR EACH ROW WHEN (OLD.holder IS NOT NULL) EXECUTE FUNCTION public.trust_changed();";
/// Changes of rows that somebody else had leased at that moment.
const STALE: &str = "SELECT count(*) FROM trust_changes c JOIN trust_holders h USING (holder) \
    WHERE c.was_leased AND c.name <> h.name";
/// Attempts with two outcomes: that of the one who took over, and that of the one who was late.
const TWICE: &str = "SELECT count(*) FROM (SELECT FROM outbox.history WHERE is_attempt \
    GROUP BY event_seq, endpoint, attempt HAVING count(*) > 1) AS twice";
/// Leases that were taken over.
const TAKEN_OVER: &str = "SELECT count(*) FROM outbox.history WHERE outcome = 'interrupted'";

/// What became of a pair.
struct Outcome {
    verdict: Verdict,
    stale: i64,
    taken_over: i64,
    lost_leases: f64,
    faults: Vec<String>,
}

async fn freeze_one_of_two(
    cluster: Arc<Cluster>,
    number: u64,
    rounds: u32,
    long: Duration,
    run: Run,
) -> Outcome {
    let behaviours = vec![Behaviour::Slow(PAUSE); 2];
    let name = format!("pair{number}");
    let place = Place::within(cluster, &name, behaviours, vec![vec![0, 1]]).await;
    place.client.batch_execute(AUDIT).await.expect("an audit");
    let mut frozen = place.daemon(&format!("frozen{number}"), SETTINGS);
    let mut awake = place.daemon(&format!("awake{number}"), SETTINGS);
    assert!(frozen.ready().await && awake.ready().await, "no daemon: {}", awake.log());
    let plan = Plan { rate: 15.0, connections: 1, kinds: 1, seed: run.seed + number, undone: 0.1 };
    let producer = place.produce(plan);
    let (mut deaths, mut faults) = (Vec::new(), Vec::new());
    let pid = frozen.pid();
    let leased = format!(
        "SELECT count(*) > 0 AND NOT EXISTS (SELECT FROM outbox.queue) FROM outbox.work \
         WHERE holder IN (SELECT id FROM outbox.instances WHERE pid = {pid})"
    );
    for round in 0..rounds {
        sleep(AWAKE).await;
        let leased = format!("CASE WHEN ({leased}) THEN 1 ELSE 0 END");
        if !place.becomes(&leased, 1, 5 * AWAKE).await {
            faults.push(format!("round {round}: it leased nothing"));
        }
        frozen.signal("STOP");
        sleep(SETTLE).await;
        let leased = place.leased_by(frozen.pid()).await;
        deaths.push(Death { at: crate::clock::now(), leased });
        sleep(long).await;
        frozen.signal("CONT");
    }
    sleep(AWAKE).await;
    let produced = producer.stop().await;
    if !place.rests_within(Duration::from_secs(60)).await {
        faults.push("deliveries are left after a minute of peace".to_owned());
    }
    let lost_leases = frozen.metric("outboxd_lost_leases_total").await.unwrap_or(f64::NAN);
    let (stale, twice) = (place.number(STALE).await, place.number(TWICE).await);
    let taken_over = place.number(TAKEN_OVER).await;
    for daemon in [&mut frozen, &mut awake] {
        if daemon.drain().await != Some(0) {
            faults.push(format!("{} did not end in order: {}", daemon.name, daemon.log()));
        }
    }
    let histories = place.histories(produced, deaths).await;
    let rules = Rules { subscribers: place.subscribers.clone(), ..Rules::default() };
    Outcome {
        verdict: judge(&histories, &rules),
        stale: stale + twice,
        taken_over,
        lost_leases,
        faults,
    }
}

pub async fn run(run: Run) -> Report {
    let (pairs, rounds) = run.size((10, 5), (2, 1));
    let long = Duration::from_secs(run.size(120, 25));
    let cluster = cluster();
    let all = (0..pairs).map(|pair| freeze_one_of_two(cluster.clone(), pair, rounds, long, run));
    let all = join_all(all).await;
    let freezes = pairs * u64::from(rounds);
    let mut report = Report::new(format!(
        "{freezes} times SIGSTOP for {} s and SIGCONT, in {pairs} pairs of daemons, leases of 18 s",
        long.as_secs()
    ));
    let sum = |of: fn(&Outcome) -> i64| all.iter().map(of).sum::<i64>();
    let stale = sum(|one| one.stale);
    let taken_over = sum(|one| one.taken_over);
    let lost_leases = sum(|one| one.lost_leases as i64);
    report.figure("stale writes", stale);
    report.figure("leases taken over", taken_over);
    report.figure("late outcomes refused", lost_leases);
    report.figure("deliveries", sum(|one| one.verdict.expected as i64));
    report.figure("duplicates", sum(|one| one.verdict.duplicates as i64));
    report.figure("leased when frozen", sum(|one| one.verdict.leased as i64));
    report.expect(stale == 0, format!("{stale} stale writes"));
    report.expect(taken_over > 0, "nothing was taken over: the test tests nothing");
    report.expect(lost_leases > 0, "no late outcome came to the fence: the test tests nothing");
    for one in &all {
        report.faults.extend(one.faults.iter().cloned());
        for (fault, found) in &one.verdict.faults {
            report.faults.push(format!(
                "{} {fault}, such as {}",
                found.count,
                found.examples.join("; ")
            ));
        }
    }
    report
}
