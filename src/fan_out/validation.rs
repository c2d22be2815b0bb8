//! Holding events against the schemas of their types, while their batch is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::FanOut;
use crate::config::Validate;
use crate::event_types::Schema;
use crate::health::Beat;
use crate::metrics::pipeline::Pipeline;
use crate::store::error::StoreError;
use crate::store::fan_out::{Batch, Taken};

/// The log hears of events that do not match at most this often.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// An event that does not match.
struct Invalid {
    seq: i64,
    id: String,
    event_type: String,
    reason: String,
}

/// What the schemas said of a batch.
#[derive(Default)]
pub(super) struct Findings {
    invalid: Vec<Invalid>,
    held_back: bool,
}

/// What the log has heard so far.
#[derive(Default)]
pub(super) struct Reports {
    last: Option<Instant>,
    untold: usize,
}

impl FanOut {
    /// Checks the events of a batch whose type has a schema. Those that do not match stay in it, or
    /// leave it for the quarantine, as `events.validate` says.
    pub(super) async fn validate(
        &self,
        batch: &mut Batch,
        beat: Beat,
    ) -> Result<Findings, StoreError> {
        let validate = self.deliverer.config().events.validate;
        if validate == Validate::Off {
            return Ok(Findings::default());
        }
        let mut findings = Findings { invalid: self.check(batch, beat).await?, held_back: false };
        if findings.invalid.is_empty() {
            return Ok(findings);
        }
        if validate == Validate::Warn {
            let seqs: Vec<i64> = findings.invalid.iter().map(|event| event.seq).collect();
            let released = batch.released(&seqs).await?;
            // They were counted when they were held back.
            findings.invalid.retain(|event| !released.contains(&event.seq));
        } else {
            let invalid = &findings.invalid;
            let seqs: Vec<i64> = invalid.iter().map(|event| event.seq).collect();
            let reasons: Vec<&str> = invalid.iter().map(|event| event.reason.as_str()).collect();
            let held = batch.quarantine(&seqs, &reasons).await?;
            batch.taken.retain(|taken| !held.contains(&taken.event.seq));
            // Somebody has seen the others, and wants them delivered.
            findings.invalid.retain(|event| held.contains(&event.seq));
            findings.held_back = true;
        }
        Ok(findings)
    }

    async fn check(&self, batch: &mut Batch, beat: Beat) -> Result<Vec<Invalid>, StoreError> {
        let mut invalid = Vec::new();
        let mut event_types = self.catalogue.event_types();
        if !event_types.is_loaded() {
            // A moment ago nothing was to be checked.
            self.catalogue.at_least_of(batch).await?;
            event_types = self.catalogue.event_types();
        }
        if event_types.is_empty() {
            return Ok(invalid);
        }
        for index in 0..batch.taken.len() {
            let Taken { event, target, .. } = &batch.taken[index];
            // A test is for its receiver to judge.
            let Some(schema) = event_types.schema(&event.event_type).filter(|_| target.is_none())
            else {
                continue;
            };
            let event = event.clone();
            let loaded = match &event.payload {
                Some(_) => None,
                None => batch.payload(event.seq).await?,
            };
            let Some(payload) = event.payload.as_ref().or(loaded.as_ref()) else { continue };
            if let Err(reason) = check_apart(schema, payload).await {
                let (id, event_type) = (event.id.clone(), event.event_type.clone());
                invalid.push(Invalid { seq: event.seq, id, event_type, reason });
            }
            // A batch of large payloads takes its time, and others want the thread too.
            self.health.beat(beat);
            tokio::task::yield_now().await;
        }
        Ok(invalid)
    }
}

/// Checks a payload; on a thread of its own what could keep this one busy.
async fn check_apart(schema: &Arc<Schema>, payload: &Bytes) -> Result<(), String> {
    if schema.is_quick(payload.len()) {
        return schema.check(payload);
    }
    let (schema, payload) = (Arc::clone(schema), payload.clone());
    let checked = tokio::task::spawn_blocking(move || schema.check(&payload)).await;
    checked.unwrap_or_else(|_| Err("the payload cannot be checked: the check failed".to_owned()))
}

impl Reports {
    /// Counts what was found in a batch that is committed, and logs an example of it.
    pub(super) fn note(&mut self, findings: &Findings, metrics: &Pipeline) {
        let Some(first) = findings.invalid.first() else { return };
        let (counter, what) = if findings.held_back {
            (&metrics.invalid_rejected, "event does not match its schema; it is in quarantine")
        } else {
            (&metrics.invalid_warned, "event does not match its schema; delivered all the same")
        };
        let count = findings.invalid.len();
        counter.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        if self.last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            self.untold += count;
            return;
        }
        let others = std::mem::take(&mut self.untold) + count - 1;
        self.last = Some(Instant::now());
        let (event_id, event_type, reason) = (&first.id, &first.event_type, &first.reason);
        tracing::warn!(event_id, event_type, reason, others, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn findings(count: i64, held_back: bool) -> Findings {
        let invalid = |seq| Invalid {
            seq,
            id: format!("evt_{seq}"),
            event_type: "order".to_owned(),
            reason: "the payload: required \"id\" is missing".to_owned(),
        };
        Findings { invalid: (0..count).map(invalid).collect(), held_back }
    }

    #[test]
    fn everything_is_counted_and_the_log_hears_of_it_now_and_then() {
        let (metrics, mut reports) = (Metrics::new(), Reports::default());
        let metrics = &metrics.pipeline;
        reports.note(&Findings::default(), metrics);
        assert!(reports.last.is_none());
        reports.note(&findings(3, false), metrics);
        let first = reports.last;
        assert!(first.is_some());
        reports.note(&findings(2, true), metrics);
        reports.note(&findings(4, true), metrics);
        assert_eq!((metrics.invalid_warned.get(), metrics.invalid_rejected.get()), (3, 6));
        assert_eq!((reports.last, reports.untold), (first, 6), "the log has heard once");
        reports.last = reports.last.and_then(|last| last.checked_sub(LOG_EVERY));
        reports.note(&findings(1, true), metrics);
        assert_eq!(reports.untold, 0);
    }
}
