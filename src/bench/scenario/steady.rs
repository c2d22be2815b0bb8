//! Events one by one, at a rate: how long each takes from its commit to its receiver.

use std::collections::HashMap;

use super::{Bound, Target, Variants};
use crate::bench::BenchError;
use crate::bench::crew::Crew;
use crate::bench::figures::{Delays, Figures};
use crate::bench::producer::{Commit, Pace, Producers};
use crate::bench::receiver::{Arrival, tally};
use crate::bench::stage::Stage;

/// Of `steady`.
pub const TARGETS: [Target; 5] = [
    Target { variant: "steady-200", figure: "p50_ms", bound: Bound::AtMost(3.0) },
    Target { variant: "steady-200", figure: "p99_ms", bound: Bound::AtMost(10.0) },
    Target {
        variant: "steady-200",
        figure: "daemon_and_postgres_cores",
        bound: Bound::AtMost(0.35),
    },
    Target { variant: "steady-1000", figure: "p50_ms", bound: Bound::AtMost(3.0) },
    Target { variant: "steady-1000", figure: "p99_ms", bound: Bound::AtMost(10.0) },
];
/// Of `late-commits`.
pub const LATE_TARGETS: [Target; 4] = [
    Target { variant: "late-200", figure: "p99_ms", bound: Bound::AtMost(20.0) },
    Target { variant: "late-200", figure: "late_p99_ms", bound: Bound::AtMost(20.0) },
    Target { variant: "late-1000", figure: "p99_ms", bound: Bound::AtMost(20.0) },
    Target { variant: "late-1000", figure: "late_p99_ms", bound: Bound::AtMost(20.0) },
];

/// One endpoint, 200 and 1,000 events a second.
pub async fn run(stage: &mut Stage) -> Result<Variants, BenchError> {
    let mut variants = Vec::new();
    for (name, rate) in [("steady-200", 200), ("steady-1000", 1000)] {
        variants.push((name.to_owned(), alone(stage, pace(stage, rate)).await?));
    }
    Ok(variants)
}

/// The same with transactions that stay open.
pub async fn late_commits(stage: &mut Stage) -> Result<Variants, BenchError> {
    let mut variants = Vec::new();
    for (name, rate) in [("late-200", 200), ("late-1000", 1000)] {
        let pace = Pace { late: true, ..pace(stage, rate) };
        variants.push((name.to_owned(), alone(stage, pace).await?));
    }
    Ok(variants)
}

/// So many events a second, for as long as the plan wants.
pub fn pace(stage: &Stage, rate: u32) -> Pace {
    let seconds = if stage.plan.quick { 2 } else { 30 };
    let body_bytes = stage.plan.body_bytes;
    Pace { rate, seconds, first: 0, tenants: None, late: false, body_bytes }
}

async fn alone(stage: &mut Stage, pace: Pace) -> Result<Figures, BenchError> {
    stage.place.clear().await?;
    stage.subscribe(1, ("", "")).await?;
    let mut crew = Crew::start(stage, 1).await?;
    let mut figures = flow(stage, &mut crew, pace).await?;
    crew.stop(stage, &mut figures).await?;
    let deliveries = figures.get("deliveries").unwrap_or(0.0) as u64;
    stage.beside(&mut figures, deliveries, 1, pace.body_bytes).await?;
    // The rate is what was asked for, and no measure of what could be.
    figures.remove("ratio");
    Ok(figures)
}

/// Has daemons that run deliver it; every event goes to one endpoint.
///
/// # Errors
/// When it cannot be measured.
pub async fn flow(stage: &mut Stage, crew: &mut Crew, pace: Pace) -> Result<Figures, BenchError> {
    let producers = Producers::connect(&stage.place, pace.late).await?;
    let start = crew.begin(&stage.place).await;
    let commits = producers.produce(pace).await?;
    let mut costs = Figures::default();
    let arrivals = crew.deliver(stage, start, commits.len() as u64, &mut costs).await?;
    let mut figures = latencies(&commits, &arrivals);
    let cores = costs.get("daemon_cores").zip(costs.get("postgres_cores"));
    figures.append(costs);
    figures.set_some("daemon_and_postgres_cores", cores.map(|(one, other)| one + other));
    Ok(figures)
}

/// From commits to first arrivals.
pub fn latencies(commits: &[Commit], arrivals: &[Arrival]) -> Figures {
    let mut first: HashMap<u32, u64> = HashMap::new();
    for arrival in arrivals {
        let at = first.entry(arrival.event).or_insert(arrival.at);
        *at = arrival.at.min(*at);
    }
    let delays = |from: fn(&Commit) -> u64, wanted: fn(&Commit) -> bool| {
        let arrived = commits.iter().filter(|commit| wanted(commit));
        let delay = |one: &Commit| Some(first.get(&one.event)?.saturating_sub(from(one)));
        Delays::new(arrived.filter_map(delay).collect())
    };
    let all = delays(|commit| commit.sent, |_| true);
    let (tally, committed) = (tally(arrivals), commits.len() as u64);
    let mut figures = Figures::default();
    figures.set("deliveries", committed as f64);
    let ends = arrivals.iter().map(|one| one.at).max();
    let begins = commits.iter().map(|one| one.sent).min();
    figures.set_some(
        "rate_per_second",
        ends.zip(begins).map(|(end, begin)| {
            tally.distinct as f64 * 1e6 / end.saturating_sub(begin).max(1) as f64
        }),
    );
    for (name, percent) in [("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0), ("max_ms", 100.0)]
    {
        figures.set_some(name, all.percentile_ms(percent));
    }
    let late = delays(|commit| commit.sent, |commit| commit.late);
    figures.set_some("late_p50_ms", late.percentile_ms(50.0));
    figures.set_some("late_p99_ms", late.percentile_ms(99.0));
    let answered = delays(|commit| commit.answered, |_| true);
    figures.set_some("from_answer_p50_ms", answered.percentile_ms(50.0));
    figures.set_some("from_answer_p99_ms", answered.percentile_ms(99.0));
    figures.set("lost", committed.saturating_sub(tally.distinct) as f64);
    figures.set("duplicates", tally.duplicates as f64);
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_run_from_the_commit_to_the_first_arrival() {
        let commit = |event, sent, late| Commit { event, sent, answered: sent + 500, late };
        let commits = [commit(1, 1_000, false), commit(2, 2_000, true), commit(3, 3_000, false)];
        let at = |event, at| Arrival { event, endpoint: 0, at };
        let figures = latencies(&commits, &[at(1, 2_000), at(2, 6_000), at(1, 9_000)]);
        let of = |name| figures.get(name).expect(name);
        assert_eq!([of("p50_ms"), of("max_ms"), of("late_p99_ms")], [1.0, 4.0, 4.0]);
        assert_eq!(of("from_answer_p50_ms"), 0.5);
        assert_eq!([of("lost"), of("duplicates")], [1.0, 1.0]);
    }
}
