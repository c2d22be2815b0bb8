//! One attempt: from a leased delivery to its outcome, and what follows from it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;

use super::payloads::Unloaded;
use super::{Deliverer, Ended, unsent};
use crate::breaker::{Heard, Sign};
use crate::config::{Config, LEASE_MARGIN};
use crate::decide::{Pacing, Progress, Verdict, decide};
use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::{Event, Job};
use crate::outcome::{Directive, Outcome, Reply};
use crate::profile::{Rendered, Unsatisfied};
use crate::send::Request;
use crate::store::claim::NoEvent;
use crate::store::record::Attempt;

/// Left of a lease when its request is due to be over: time to record the outcome.
const RECORDING: Duration = Duration::from_secs(5);
/// A first attempt that comes so soon has not waited for its endpoint.
const PROMPT: Duration = Duration::from_secs(1);
/// The type of the event that reports a delivery as given up.
const EXHAUSTED: &str = "outboxd.delivery.exhausted";

/// An attempt that is over.
struct Made {
    started: Instant,
    /// From when its event was wanted to its start.
    waited: Duration,
    /// Whether a request was made.
    sent: bool,
    reply: Reply,
}

impl Deliverer {
    /// Makes it. One that panics has failed, and no other with it.
    pub(super) async fn attempt(&self, job: &Job) -> Ended {
        let started = Instant::now();
        let made = AssertUnwindSafe(self.make(job)).catch_unwind().await;
        made.unwrap_or_else(|_| self.panicked(job, started))
    }

    async fn make(&self, job: &Job) -> Ended {
        let config = self.config();
        let endpoint = self.endpoints().ready(job.endpoint).cloned();
        let Some(endpoint) = endpoint else { return unsent(job) };
        // An endpoint's own deadline must leave time to record within the lease, as the
        // configuration's does.
        let longest = config.delivery.lease.saturating_sub(LEASE_MARGIN);
        let timeout = endpoint.timeout.unwrap_or(config.delivery.timeout).min(longest);
        if !self.still_holds(job, timeout) {
            return unsent(job);
        }
        let Some(payload) = &job.event.payload else {
            return self.attempt_large(job, &endpoint, timeout, &config).await;
        };
        self.request(job, &endpoint, Ok(payload), timeout, &config).await
    }

    /// What the log says of a panic is not for those who may read attempts.
    fn panicked(&self, job: &Job, started: Instant) -> Ended {
        let Some(endpoint) = self.endpoints().ready(job.endpoint).cloned() else {
            return unsent(job);
        };
        let why = "outboxd itself failed; its log says where";
        let reply = Reply::failure(Outcome::Protocol, why.to_owned());
        let made = Made { started, waited: Duration::ZERO, sent: false, reply };
        self.conclude(job, &endpoint, made, &self.config())
    }

    /// Whether a request may be made under the lease, and can be recorded before it ends.
    fn still_holds(&self, job: &Job, timeout: Duration) -> bool {
        let ours = *self.holder.borrow() == Some(job.holder);
        ours && Instant::now() + timeout + RECORDING < job.lease_ends
    }

    /// Loads the payload first.
    async fn attempt_large(
        &self,
        job: &Job,
        endpoint: &Endpoint,
        timeout: Duration,
        config: &Config,
    ) -> Ended {
        match self.payloads.load(job.event.seq).await {
            // Waiting and loading took time.
            Ok(_) if !self.still_holds(job, timeout) => unsent(job),
            Ok((payload, _room)) => {
                self.request(job, endpoint, Ok(&payload), timeout, config).await
            }
            Err(Unloaded::Gone) => Ended::NoEvent(job.lease(), NoEvent::Gone),
            Err(Unloaded::Hopeless(why)) => {
                self.request(job, endpoint, Err(why), timeout, config).await
            }
            Err(Unloaded::Failed(error)) => {
                self.metrics.database.failed(&error);
                let (event_id, endpoint) = (&job.event.id, &endpoint.name);
                tracing::warn!(event_id, endpoint, %error, "cannot load the payload");
                unsent(job)
            }
        }
    }

    async fn request(
        &self,
        job: &Job,
        endpoint: &Endpoint,
        payload: Result<&[u8], String>,
        timeout: Duration,
        config: &Config,
    ) -> Ended {
        let Job { event, .. } = job;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let started = Instant::now();
        let rendered = match &payload {
            Ok(payload) => endpoint.render(event, payload, started, wall_ms),
            Err(why) => Err(Unsatisfied::Payload(why.clone())),
        };
        let sent = rendered.is_ok();
        let wanted = Duration::from_micros(event.wanted_us.max(0).unsigned_abs());
        let waited = wall.saturating_sub(wanted);
        if job.attempt == 1 {
            self.count_first(job.endpoint, waited, payload.map_or(0, <[u8]>::len), started);
        }
        let reply = match rendered {
            Ok(rendered) => self.send(endpoint, rendered, timeout).await,
            // Which secret signs from now on is being looked up.
            Err(Unsatisfied::NoSecret(_)) if endpoint.has_expired_secret(started) => {
                return unsent(job);
            }
            // A request that a receiver could not verify is not made; it is recorded as if it were.
            Err(unsatisfied) => Reply {
                hopeless: unsatisfied.is_permanent(),
                ..Reply::failure(Outcome::Protocol, unsatisfied.to_string())
            },
        };
        if reply.unmade {
            let (event_id, endpoint, error) = (&event.id, &endpoint.name, reply.error);
            tracing::warn!(event_id, endpoint, error, "no connection can be made from here");
            return unsent(job);
        }
        self.conclude(job, endpoint, Made { started, waited, sent, reply }, config)
    }

    /// What follows.
    fn conclude(&self, job: &Job, endpoint: &Endpoint, made: Made, config: &Config) -> Ended {
        let Made { started, waited, sent, reply } = made;
        let duration = started.elapsed();
        if let Some(counters) = self.metrics.endpoint(job.endpoint) {
            counters.attempt(reply.outcome);
        }
        self.metrics.attempts.ended(reply.outcome, duration, reply.truncated);
        let schedule = endpoint.retry.as_ref().unwrap_or(&config.delivery.retry);
        let pacing = Pacing {
            schedule,
            scale: config.delivery.retry_scale,
            jitter: endpoint.profile.jitter,
            may_disable: self.may_disable(&reply),
        };
        let verdict = verdict(&reply, job, pacing);
        let heard = Sign::of(&reply).filter(|_| sent).map(|sign| Heard {
            sign,
            took: duration,
            hold: reply.retry_after.map(|asked| asked.min(schedule.longest())),
        });
        self.note(job, endpoint, &reply, verdict);
        let (lease, report) = (job.lease(), self.is_reported(&job.event, verdict));
        let since_wanted = waited + duration;
        let attempt =
            Attempt { lease, started, duration, since_wanted, reply, verdict, heard, report };
        Ended::Attempted(Box::new(attempt))
    }

    /// Counts a first attempt: its delay, unless the delivery waited for its endpoint.
    fn count_first(&self, key: EndpointKey, waited: Duration, bytes: usize, now: Instant) {
        let attempts = &self.metrics.attempts;
        attempts.payload_bytes.observe(bytes as f64);
        // A short wait is nobody's fault, and the common case needs no look at the lanes.
        let is_held_back = waited > PROMPT && {
            let since = now.checked_sub(waited).unwrap_or(now);
            self.lanes().was_held_back(key, since) || self.endpoints().is_ordered(key)
        };
        if is_held_back {
            attempts.first_held.inc();
        } else {
            attempts.first_delay.observe(waited.as_secs_f64());
        }
    }

    /// Whether somebody wants to know that a delivery of the event was given up.
    fn is_reported(&self, event: &Event, verdict: Verdict) -> bool {
        if !matches!(verdict, Verdict::Exhausted | Verdict::Gone { delivered: false }) {
            return false;
        }
        let mut found = Vec::new();
        self.endpoints().matching(EXHAUSTED, event.tenant.as_deref(), event.live, &mut found);
        !found.is_empty()
    }

    async fn send(&self, endpoint: &Endpoint, rendered: Rendered<'_>, timeout: Duration) -> Reply {
        let Rendered { body, headers, signatures } = rendered;
        let sender = self.sender();
        let request =
            Request { endpoint, headers: &headers, signatures: &signatures, body, timeout };
        tokio::select! {
            reply = sender.send(request) => reply,
            () = self.abort.cancelled() => {
                Reply::failure(Outcome::Interrupted, "the daemon stopped before a reply came")
            }
        }
    }

    /// Not while most endpoints fail together. Who does not ask for it needs no look at the others.
    fn may_disable(&self, reply: &Reply) -> bool {
        let asks_to_end =
            reply.outcome == Outcome::Http410 || reply.directive == Some(Directive::Disable);
        !asks_to_end || !self.lanes().fleet(Instant::now()).is_outage()
    }

    fn note(&self, job: &Job, endpoint: &Endpoint, reply: &Reply, verdict: Verdict) {
        let error = reply.error.as_deref().unwrap_or_default();
        match verdict {
            Verdict::Delivered | Verdict::Gone { delivered: true } => {}
            Verdict::Retry { after, .. } => tracing::debug!(
                event_id = job.event.id,
                endpoint = endpoint.name,
                attempt = job.attempt,
                outcome = reply.outcome.as_str(),
                error,
                retry_in_ms = after.as_millis(),
                "attempt failed"
            ),
            Verdict::Exhausted | Verdict::Gone { delivered: false } => tracing::warn!(
                event_id = job.event.id,
                endpoint = endpoint.name,
                attempt = job.attempt,
                outcome = reply.outcome.as_str(),
                error,
                "delivery given up"
            ),
        }
    }
}

fn verdict(reply: &Reply, job: &Job, pacing: Pacing<'_>) -> Verdict {
    if reply.outcome == Outcome::Interrupted {
        return Verdict::Retry { after: Duration::ZERO, counts: false };
    }
    let progress = Progress { attempt: job.attempt, failures: job.failures };
    decide(reply, progress, pacing, fastrand::f64())
}
