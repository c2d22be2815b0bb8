//! A backlog that appears all at once, and is timed until the last of it has arrived.
//!
//! The daemon runs and has nothing to do when one COMMIT makes all the events visible. The clock runs
//! from just before that COMMIT to the last arrival at the receivers. So it includes the daemon's
//! noticing, and nothing of the insertion.

use crate::bench::BenchError;
use crate::bench::body;
use crate::bench::daemon::Daemon;
use crate::bench::figures::Figures;
use crate::bench::meter::{Meter, costs};
use crate::bench::receiver::{Arrival, tally};
use crate::bench::stage::{Stage, now};

/// Between which shares of the arrivals the flow is measured: neither the beginning nor the end.
const FLOW: (f64, f64) = (0.1, 0.9);

/// What waits, and for whom.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Events.
    pub events: u32,
    /// Endpoints there are.
    pub endpoints: u32,
    /// Endpoints that each event goes to.
    pub fan_out: u32,
    /// Columns of the endpoints and their values, which may use the endpoint's number n.
    pub columns: (&'static str, &'static str),
    /// Type and tenant of an event, SQL that may use its number n.
    pub event: (&'static str, &'static str),
    /// Daemons that work on it together.
    pub daemons: usize,
    /// Bytes of a body; none: as planned.
    pub body_bytes: Option<usize>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            events: 0,
            endpoints: 1,
            fan_out: 1,
            columns: ("", ""),
            event: ("'conversion.created'", "NULL"),
            daemons: 1,
            body_bytes: None,
        }
    }
}

impl Backlog {
    /// Empties the database, delivers the backlog, and measures the bare client beside.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn run(&self, stage: &mut Stage) -> Result<Figures, BenchError> {
        stage.place.clear().await?;
        let mut figures = self.deliver(stage).await?;
        let body_bytes = self.body_bytes(stage);
        let deliveries = self.deliveries();
        stage.beside(&mut figures, deliveries, self.endpoints, body_bytes).await?;
        Ok(figures)
    }

    /// Delivers it in a database that is prepared.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn deliver(&self, stage: &mut Stage) -> Result<Figures, BenchError> {
        stage.subscribe(self.endpoints, self.columns).await?;
        let mut daemons = stage.daemons(self.daemons).await?;
        stage.place.run(&self.insert(self.body_bytes(stage))).await?;
        let pids = daemons.iter().map(|daemon| daemon.pid).collect();
        let meter = Meter { daemons: pids, receiver: stage.receivers.pid };
        let before = meter.read(&stage.place).await;
        let released = now();
        stage.place.run("COMMIT").await?;
        wait(stage, self.deliveries(), &mut daemons).await?;
        let unrecorded = stage.place.until_recorded().await?;
        let recorded = now();
        let after = meter.read(&stage.place).await;
        let arrivals = stage.receivers.take().await?;
        let mut figures = self.times(&arrivals, released);
        let seconds = recorded.saturating_sub(released) as f64 / 1e6;
        figures.set("unrecorded", unrecorded);
        costs(&mut figures, before, after, self.deliveries(), seconds);
        figures.set_some("daemon_peak_bytes", meter.peak_resident());
        for daemon in daemons {
            daemon.stop().await?;
        }
        figures.set_some("dead_tuples", stage.place.dead_tuples().await);
        Ok(figures)
    }

    fn deliveries(&self) -> u64 {
        u64::from(self.events) * u64::from(self.fan_out)
    }

    fn body_bytes(&self, stage: &Stage) -> usize {
        self.body_bytes.unwrap_or(stage.plan.body_bytes)
    }

    /// The events, in a transaction that is left open.
    fn insert(&self, body_bytes: usize) -> String {
        let (payload, (event_type, tenant), last) =
            (body::payload(body_bytes), self.event, self.events.saturating_sub(1));
        format!(
            "BEGIN;
             INSERT INTO outbox.events (id, type, payload, tenant)
             SELECT 'evt_' || lpad(n::text, 22, '0'), {event_type}, '{payload}', {tenant}
             FROM generate_series(0, {last}) n"
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

/// Waits until all have arrived; a daemon that ends does not leave us waiting.
async fn wait(stage: &mut Stage, wanted: u64, daemons: &mut [Daemon]) -> Result<(), BenchError> {
    let ends = daemons.iter_mut().map(|daemon| Box::pin(daemon.ended()));
    tokio::select! {
        waited = stage.receivers.wait(wanted) => Ok(waited?),
        (error, _, _) = futures_util::future::select_all(ends) => Err(error),
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
