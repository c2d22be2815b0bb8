//! The daemons at work, and what is measured of them.

use super::BenchError;
use super::daemon::Daemon;
use super::figures::Figures;
use super::meter::{Meter, Reading, costs};
use super::place::Place;
use super::receiver::Arrival;
use super::stage::{Stage, now};

/// Daemons that share one database.
#[derive(Debug)]
pub struct Crew {
    daemons: Vec<Daemon>,
    meter: Meter,
}

/// When a measurement began, and what had been spent by then.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Microseconds since the epoch.
    pub at: u64,
    reading: Reading,
}

impl Crew {
    /// Starts so many, and returns once they deliver.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start(stage: &Stage, count: usize) -> Result<Self, BenchError> {
        let daemons = stage.daemons(count).await?;
        let pids = daemons.iter().map(|daemon| daemon.pid).collect();
        Ok(Self { daemons, meter: Meter { daemons: pids, receiver: stage.receivers.pid } })
    }

    /// From now on it counts.
    pub async fn begin(&self, place: &Place) -> Start {
        let reading = self.meter.read(place).await;
        Start { at: now(), reading }
    }

    /// Waits until so many deliveries have arrived and are recorded, and notes what they cost.
    ///
    /// # Errors
    /// When a daemon or the receiver ends.
    pub async fn deliver(
        &mut self,
        stage: &mut Stage,
        start: Start,
        deliveries: u64,
        figures: &mut Figures,
    ) -> Result<Vec<Arrival>, BenchError> {
        // A daemon that ends does not leave us waiting.
        let ends = self.daemons.iter_mut().map(|daemon| Box::pin(daemon.ended()));
        tokio::select! {
            waited = stage.receivers.wait(deliveries) => waited?,
            (error, _, _) = futures_util::future::select_all(ends) => return Err(error),
        }
        figures.set("unrecorded", stage.place.until_recorded().await?);
        self.spent(stage, start, deliveries, figures).await;
        Ok(stage.receivers.take().await?)
    }

    /// Notes what was spent on so many deliveries, and returns how many seconds went by.
    pub async fn spent(
        &self,
        stage: &Stage,
        start: Start,
        deliveries: u64,
        figures: &mut Figures,
    ) -> f64 {
        let after = self.meter.read(&stage.place).await;
        let seconds = now().saturating_sub(start.at) as f64 / 1e6;
        costs(figures, start.reading, after, deliveries, seconds);
        seconds
    }

    /// Ends them, and notes what they leave behind.
    ///
    /// # Errors
    /// When one does not end as it should.
    pub async fn stop(self, stage: &Stage, figures: &mut Figures) -> Result<(), BenchError> {
        figures.set_some("daemon_peak_bytes", self.meter.peak_resident());
        for daemon in self.daemons {
            daemon.stop().await?;
        }
        figures.set_some("dead_tuples", stage.place.dead_tuples().await);
        Ok(())
    }
}
