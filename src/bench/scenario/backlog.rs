//! A backlog that appears all at once, and is timed until the last of it has arrived.
//!
//! The daemon runs and has nothing to do when one COMMIT makes all the events visible. The clock runs
//! from just before that COMMIT to the last arrival at the receivers. So it includes the daemon's
//! noticing, and nothing of the insertion.

use crate::bench::BenchError;
use crate::bench::body;
use crate::bench::crew::Crew;
use crate::bench::figures::Figures;
use crate::bench::receiver::{Arrival, tally};
use crate::bench::stage::Stage;

/// Between which shares of the arrivals the flow is measured: neither the beginning nor the end.
const FLOW: (f64, f64) = (0.1, 0.9);

/// What waits, and for whom.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Events.
    pub events: u32,
    /// The number of the first of them.
    pub first: u32,
    /// Endpoints there are.
    pub endpoints: u32,
    /// Endpoints that each event goes to.
    pub fan_out: u32,
    /// Columns of the endpoints and their values, which may use the endpoint's number n.
    pub columns: (&'static str, &'static str),
    /// The tenant of an event, SQL that may use its number n.
    pub tenant: String,
    /// Bytes of a body; none: as planned.
    pub body_bytes: Option<usize>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            events: 0,
            first: 0,
            endpoints: 1,
            fan_out: 1,
            columns: ("", ""),
            tenant: "NULL".to_owned(),
            body_bytes: None,
        }
    }
}

impl Backlog {
    /// Empties the database, has one daemon deliver the backlog, and measures the bare client beside.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn run(&self, stage: &mut Stage) -> Result<Figures, BenchError> {
        stage.place.clear().await?;
        self.run_prepared(stage, 1).await
    }

    /// The same in a database that is prepared, with so many daemons.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn run_prepared(
        &self,
        stage: &mut Stage,
        daemons: usize,
    ) -> Result<Figures, BenchError> {
        stage.subscribe(self.endpoints, self.columns).await?;
        let mut crew = Crew::start(stage, daemons).await?;
        let mut figures = self.release(stage, &mut crew).await?;
        crew.stop(stage, &mut figures).await?;
        self.beside(stage, &mut figures).await?;
        Ok(figures)
    }

    /// Measures the bare client on as many requests.
    ///
    /// # Errors
    /// When it fails.
    pub async fn beside(&self, stage: &mut Stage, figures: &mut Figures) -> Result<(), BenchError> {
        let body_bytes = self.body_bytes(stage);
        stage.beside(figures, self.deliveries(), self.endpoints, body_bytes).await
    }

    /// Has daemons that run deliver it.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn release(&self, stage: &mut Stage, crew: &mut Crew) -> Result<Figures, BenchError> {
        stage.place.run(&self.insert(self.body_bytes(stage))).await?;
        stage.place.settle().await?;
        let start = crew.begin(&stage.place).await;
        stage.place.run("COMMIT").await?;
        let mut costs = Figures::default();
        let arrivals = crew.deliver(stage, start, self.deliveries(), &mut costs).await?;
        let mut figures = self.times(&arrivals, start.at);
        figures.append(costs);
        Ok(figures)
    }

    /// Requests that come of it.
    pub fn deliveries(&self) -> u64 {
        u64::from(self.events) * u64::from(self.fan_out)
    }

    fn body_bytes(&self, stage: &Stage) -> usize {
        self.body_bytes.unwrap_or(stage.plan.body_bytes)
    }

    /// The events, in a transaction that is left open.
    pub fn insert(&self, body_bytes: usize) -> String {
        let (payload, event_type) = (body::payload(body_bytes), body::EVENT_TYPE);
        let Self { first, events, tenant, .. } = self;
        format!(
            "BEGIN;
             INSERT INTO outbox.events (id, type, payload, tenant)
             SELECT 'evt_' || lpad(n::text, 22, '0'), '{event_type}', '{payload}', {tenant}
             FROM generate_series({first}, {first} + {events} - 1) n"
        )
    }

    fn times(&self, arrivals: &[Arrival], released: u64) -> Figures {
        let mut at: Vec<u64> = arrivals.iter().map(|arrival| arrival.at).collect();
        at.sort_unstable();
        let tally = tally(arrivals);
        let mut figures = Figures::default();
        figures.set("deliveries", self.deliveries() as f64);
        let seconds = at.last().map_or(0.0, |last| last.saturating_sub(released) as f64 / 1e6);
        figures.set("seconds", seconds);
        figures.set("rate_per_second", tally.distinct as f64 / seconds.max(1e-6));
        figures.set_some("flow_per_second", flow(&at));
        figures.set("lost", self.deliveries().saturating_sub(tally.distinct) as f64);
        figures.set("duplicates", tally.duplicates as f64);
        figures
    }
}

/// Arrivals a second between two shares of them; none if there are too few.
fn flow(sorted: &[u64]) -> Option<f64> {
    let at = |share: f64| (sorted.len() as f64 * share) as usize;
    let (from, to) = (at(FLOW.0), at(FLOW.1));
    let micros = sorted.get(to)?.checked_sub(*sorted.get(from)?)?;
    (micros > 0).then(|| (to - from) as f64 * 1e6 / micros as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_that_of_the_middle() {
        // A slow beginning, a thousand a second, a slow end.
        let mut at: Vec<u64> = (0..100).map(|n| 1_000_000 + n * 1_000).collect();
        (at[0], at[99]) = (0, 9_000_000);
        assert_eq!(flow(&at), Some(1000.0));
        assert_eq!(flow(&[]), None);
        assert_eq!(flow(&[1, 1, 1]), None);
    }

    #[test]
    fn lost_and_repeated_deliveries_are_told() {
        let backlog = Backlog { events: 3, endpoints: 2, fan_out: 2, ..Backlog::default() };
        let at = |event, endpoint, at| Arrival { event, endpoint, at };
        let arrivals = [at(0, 0, 1_500_000), at(0, 1, 2_000_000), at(0, 1, 3_000_000)];
        let figures = backlog.times(&arrivals, 1_000_000);
        let of = |name| figures.get(name).expect(name);
        assert_eq!([of("lost"), of("duplicates"), of("seconds")], [4.0, 1.0, 2.0]);
        assert_eq!(of("rate_per_second"), 1.0);
    }
}
