//! How deliveries stand at this moment, at a cost that no backlog changes: what `stats` and `top` show.

use tokio_postgres::Row;

use super::Store;
use super::error::StoreError;
use super::sample::{Counts, Oldest};
use crate::endpoint::EndpointKey;

/// The periods that are looked at: their names, and their seconds.
pub const PERIODS: [(&str, f64); 3] = [("1m", 60.0), ("5m", 300.0), ("1h", 3600.0)];

/// Attempts of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attempts {
    /// Those that succeeded.
    pub delivered: f64,
    /// Those that did not.
    pub failed: f64,
}

impl Attempts {
    /// The part of them that succeeded, 0 to 1; none without attempts.
    pub fn success_ratio(self) -> Option<f64> {
        let all = self.delivered + self.failed;
        (all > 0.0).then(|| self.delivered / all)
    }
}

/// How one endpoint stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its number.
    pub key: EndpointKey,
    /// Its public id.
    pub id: String,
    /// Its slug.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Its attempts, in the order of [`PERIODS`].
    pub attempts: [Attempts; 3],
    /// Its deliveries that have not ended.
    pub pending: i64,
    /// For how many seconds its oldest delivery has been due; none: none is.
    pub oldest_due: Option<f64>,
    /// When it last took something, as JSON has times.
    pub last_success_at: Option<String>,
    /// When it last failed.
    pub last_failure_at: Option<String>,
}

impl Standing {
    /// Seconds until its backlog is delivered at the rate of the last five minutes; infinite where
    /// nothing is.
    pub fn drain_seconds(&self) -> f64 {
        if self.pending == 0 {
            return 0.0;
        }
        self.pending as f64 * PERIODS[1].1 / self.attempts[1].delivered
    }
}

/// How all of them stand.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What waits.
    pub counts: Counts,
    /// For how many seconds the oldest event has been in the queue; none: it is empty.
    pub oldest_queued: Option<f64>,
    /// Deliveries and events that are held since a backup was restored.
    pub held: i64,
    /// The endpoints, by name.
    pub endpoints: Vec<Standing>,
}

impl Overview {
    /// Attempts of all endpoints in one of [`PERIODS`].
    pub fn attempts(&self, period: usize) -> Attempts {
        self.endpoints.iter().fold(Attempts::default(), |sum, endpoint| {
            let Attempts { delivered, failed } = endpoint.attempts[period];
            Attempts { delivered: sum.delivered + delivered, failed: sum.failed + failed }
        })
    }

    /// How long the oldest event or delivery has waited though it might have been sent, as far as
    /// the database knows; 0: nothing waits.
    pub fn lag(&self) -> f64 {
        let active = self.endpoints.iter().filter(|endpoint| endpoint.state == "active");
        active
            .filter_map(|endpoint| endpoint.oldest_due)
            .chain(self.oldest_queued)
            .fold(0.0, f64::max)
    }

    /// The endpoints, those first that most needs looking after: by failures of the last five
    /// minutes, by age of what is due, by what is pending.
    pub fn worst_first(&self) -> Vec<&Standing> {
        let mut endpoints: Vec<&Standing> = self.endpoints.iter().collect();
        let key = |it: &Standing| {
            (it.attempts[1].failed, it.oldest_due.unwrap_or(0.0), it.pending as f64)
        };
        endpoints.sort_by(|one, other| {
            let ((a, b, c), (x, y, z)) = (key(one), key(other));
            x.total_cmp(&a)
                .then(y.total_cmp(&b))
                .then(z.total_cmp(&c))
                .then(one.name.cmp(&other.name))
        });
        endpoints
    }
}

impl Store {
    /// Looks at everything.
    ///
    /// # Errors
    /// Of the database; each look has 2 s.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let rows = self.look(include_str!("../../sql/rates.sql"), &[]).await?;
        let mut endpoints = rows.iter().map(standing).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<EndpointKey> = endpoints.iter().map(|endpoint| endpoint.key).collect();
        let Oldest { queued, by_endpoint } = self.sample_oldest(&keys).await?;
        let counts = self.sample_counts().await?;
        let held = self.held().await?.map_or(0, |held| held.deliveries + held.events);
        let due: std::collections::HashMap<EndpointKey, f64> = by_endpoint.into_iter().collect();
        for endpoint in &mut endpoints {
            endpoint.pending = counts.by_endpoint.get(&endpoint.key).copied().unwrap_or(0);
            endpoint.oldest_due = due.get(&endpoint.key).copied();
        }
        Ok(Overview { counts, oldest_queued: queued, held, endpoints })
    }
}

fn standing(row: &Row) -> Result<Standing, StoreError> {
    let period = |first| {
        let delivered = row.try_get(first)?;
        Ok::<_, StoreError>(Attempts { delivered, failed: row.try_get(first + 1)? })
    };
    Ok(Standing {
        key: row.try_get(0)?,
        name: row.try_get(1)?,
        state: row.try_get(2)?,
        reason: row.try_get(3)?,
        attempts: [period(4)?, period(6)?, period(8)?],
        pending: 0,
        oldest_due: None,
        id: row.try_get(10)?,
        last_success_at: row.try_get(11)?,
        last_failure_at: row.try_get(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, delivered: f64, failed: f64, pending: i64) -> Standing {
        Standing {
            key: 1,
            id: format!("ep_{name}"),
            name: name.to_owned(),
            state: "active".to_owned(),
            reason: None,
            attempts: [Attempts { delivered, failed }; 3],
            pending,
            oldest_due: (pending > 5).then_some(60.0),
            last_success_at: None,
            last_failure_at: None,
        }
    }

    #[test]
    fn the_worst_come_first_and_the_sums_are_of_all() {
        let endpoints = vec![
            endpoint("well", 100.0, 0.0, 0),
            endpoint("behind", 10.0, 0.0, 9),
            endpoint("failing", 0.0, 50.0, 3),
        ];
        let overview =
            Overview { counts: Counts::default(), oldest_queued: Some(2.0), held: 0, endpoints };
        let names: Vec<&str> =
            overview.worst_first().iter().map(|endpoint| endpoint.name.as_str()).collect();
        assert_eq!(names, ["failing", "behind", "well"]);
        assert_eq!(overview.attempts(1), Attempts { delivered: 110.0, failed: 50.0 });
        assert_eq!(overview.attempts(1).success_ratio(), Some(0.6875));
        assert_eq!(Attempts::default().success_ratio(), None);
        assert_eq!(overview.lag(), 60.0);
    }

    #[test]
    fn a_backlog_drains_at_the_rate_of_five_minutes() {
        assert_eq!(endpoint("a", 600.0, 0.0, 10).drain_seconds(), 5.0);
        assert_eq!(endpoint("a", 0.0, 9.0, 10).drain_seconds(), f64::INFINITY);
        assert_eq!(endpoint("a", 0.0, 0.0, 0).drain_seconds(), 0.0);
    }
}
