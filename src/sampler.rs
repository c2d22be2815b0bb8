//! The sampler: looks at the database for the metrics, apart from the scrapes, and cheaply.
//!
//! Every part is a look of its own: when one of them fails, its gauges grow old and are absent then,
//! and the others stay.

mod horizon;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::deliver::Deliverer;
use crate::endpoint::EndpointKey;
use crate::metrics::sampled::Labels;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::room::Room;
use crate::store::sample::{Counts, Oldest};
use horizon::TransactionClock;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(15);

/// What sampling works with.
pub struct Sampler {
    /// The database.
    pub store: Store,
    /// For the endpoints, the lanes and the metrics.
    pub deliverer: Arc<Deliverer>,
}

impl Sampler {
    /// Runs until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut clock = TransactionClock::default();
        let mut holder = self.deliverer.holder.clone();
        loop {
            // The first sample comes with the database, and not a period later.
            tokio::select! {
                came = holder.wait_for(Option::is_some) => if came.is_err() { return },
                () = stop.cancelled() => return,
            }
            match self.sample(&mut clock).await {
                Ok(()) => {
                    backoff.reset();
                    self.deliverer.metrics.database.sampled();
                }
                Err(error) => {
                    self.deliverer.metrics.database.failed(&error);
                    backoff.log("sampling", &error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// All parts, whatever becomes of the others; the first error is returned.
    async fn sample(&self, clock: &mut TransactionClock) -> Result<(), StoreError> {
        let labels = self.deliverer.metrics.endpoints.labels();
        let horizon = self.horizon(clock).await;
        let server = self.server().await;
        let tables = self.tables().await;
        let oldest = self.oldest(&labels).await;
        let counts = self.counts(&labels).await;
        horizon.and(server).and(tables).and(oldest).and(counts)
    }

    async fn horizon(&self, clock: &mut TransactionClock) -> Result<(), StoreError> {
        let horizon = self.store.sample_horizon().await?;
        let now = Instant::now();
        clock.note(now, horizon.next);
        let held = horizon.oldest.map(|oldest| match oldest {
            Some(number) => clock.since(now, number),
            None => Duration::ZERO,
        });
        self.deliverer.metrics.sampled.held(held);
        Ok(())
    }

    async fn server(&self) -> Result<(), StoreError> {
        self.deliverer.metrics.sampled.seen(&self.store.sample_server().await?);
        Ok(())
    }

    async fn tables(&self) -> Result<(), StoreError> {
        let tables = self.store.sample_tables().await?;
        let sampled = &self.deliverer.metrics.sampled;
        sampled.measured(&tables);
        let disk = tables.iter().map(|table| table.bytes.unsigned_abs()).sum();
        let limit = self.deliverer.config().retention.max_bytes;
        let used = match limit {
            // Only here it matters, and is worth the look.
            Some(limit) if Room::is_near(disk, limit) => self.store.sample_room().await?.used(),
            _ => disk,
        };
        sampled.limited(used, limit);
        Ok(())
    }

    async fn oldest(&self, labels: &Labels) -> Result<(), StoreError> {
        let keys: Vec<EndpointKey> = labels.keys().copied().collect();
        let oldest = self.store.sample_oldest(&keys).await?;
        let now = Instant::now();
        let held_back = self.deliverer.lanes().held_back(now);
        let for_daemon = self.waits_for_daemon(&oldest, &held_back, now);
        self.deliverer.metrics.sampled.aged(for_daemon, &oldest, labels);
        Ok(())
    }

    /// How long the oldest has waited that only the daemon keeps waiting.
    fn waits_for_daemon(
        &self,
        oldest: &Oldest,
        held_back: &HashMap<EndpointKey, Instant>,
        now: Instant,
    ) -> f64 {
        let endpoints = self.deliverer.endpoints();
        let due = oldest.by_endpoint.iter().filter_map(|(key, age)| {
            endpoints.ready(*key).filter(|endpoint| !endpoint.auto_paused)?;
            let free = held_back.get(key).map(|at| now.saturating_duration_since(*at));
            Some(free.map_or(*age, |free| free.as_secs_f64().min(*age)))
        });
        due.chain(oldest.queued).fold(0.0, f64::max)
    }

    async fn counts(&self, labels: &Labels) -> Result<(), StoreError> {
        let counts = self.store.sample_counts().await?;
        let waiting: Vec<EndpointKey> = counts.by_endpoint.keys().copied().collect();
        let rates = self.store.sample_rates(&waiting).await?;
        self.deliverer.metrics.sampled.counted(&counts, &drain(&counts, &rates), labels);
        Ok(())
    }
}

/// In how many seconds each backlog is done at these rates; infinite where nothing is delivered.
fn drain(counts: &Counts, rates: &[(EndpointKey, f64)]) -> Vec<(EndpointKey, f64)> {
    let rate = |key| rates.iter().find(|(of, _)| of == key).map_or(0.0, |(_, rate)| *rate);
    counts.by_endpoint.iter().map(|(key, pending)| (*key, *pending as f64 / rate(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_done_at_the_rate_of_its_endpoint_or_never() {
        let counts =
            Counts { by_endpoint: [(1, 600), (2, 30), (3, 1)].into(), ..Counts::default() };
        let mut drain = drain(&counts, &[(1, 2.0), (2, 0.0)]);
        drain.sort_by_key(|(key, _)| *key);
        assert_eq!(drain, [(1, 300.0), (2, f64::INFINITY), (3, f64::INFINITY)]);
    }
}
