//! Delivering: leased deliveries become requests, and requests become records.

pub mod lanes;
mod order;
mod payloads;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, RwLock as AsyncRwLock, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, LEASE_MARGIN};
use crate::decide::{Pacing, Progress, Verdict, decide};
use crate::endpoint::{Endpoint, Endpoints};
use crate::event::{Job, Lease};
use crate::metrics::Metrics;
use crate::outcome::{Outcome, Reply};
use crate::profile::{Rendered, Unsatisfied};
use crate::send::{Request, Sender};
use crate::store::Store;
use crate::store::claim::NoEvent;
use crate::store::error::StoreError;
use crate::store::record::Attempt;
use lanes::Lanes;
use payloads::{Payloads, Unloaded};

/// Left of a lease when its request is due to be over: time to record the outcome.
const RECORDING: Duration = Duration::from_secs(5);
/// Before a delivery that could not be sent is tried again, so that a reason that stays does not
/// make a busy loop.
const UNSENT_PAUSE: Duration = Duration::from_secs(1);

/// What becomes of a leased delivery, on its way to the database.
#[derive(Debug)]
pub enum Ended {
    /// A request was made.
    Attempted(Box<Attempt>),
    /// No request was made; somebody may make it after this pause.
    Unsent(Lease, Duration),
    /// There is no event to deliver.
    NoEvent(Lease, NoEvent),
    /// Nothing ended; whoever sent this hears when all before it is in the database.
    Flushed(oneshot::Sender<()>),
}

/// What every delivery needs, shared by all.
pub struct Deliverer {
    /// The queues.
    lanes: Mutex<Lanes>,
    /// Wakes the claim loop: room, or work noted in the database.
    pub room: Notify,
    /// The endpoints as they are now.
    pub endpoints: RwLock<Arc<Endpoints>>,
    /// The HTTP client; replaced when its settings are.
    pub sender: RwLock<Arc<Sender>>,
    /// The configuration as it is now.
    pub config: watch::Receiver<Arc<Config>>,
    /// The instance that holds the leases; `None` while the database is away.
    pub holder: watch::Receiver<Option<i32>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Read while leases are being taken and queued; written while they are compared with those of
    /// the database.
    pub leasing: AsyncRwLock<()>,
    /// Set when a transaction that takes leases failed: it may have been committed all the same.
    pub in_doubt: AtomicBool,
    payloads: Payloads,
    store: Store,
    ended: mpsc::Sender<Ended>,
    /// The requests under way.
    pub requests: TaskTracker,
    /// Ends them.
    pub abort: CancellationToken,
}

/// The parts of a [`Deliverer`] that come from outside.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The HTTP client.
    pub sender: Sender,
    /// The configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The holder of the leases.
    pub holder: watch::Receiver<Option<i32>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Where what ended goes.
    pub ended: mpsc::Sender<Ended>,
}

impl Deliverer {
    /// Nothing under way, no endpoints yet.
    pub fn new(parts: Parts) -> Self {
        let limits = limits(&parts.config.borrow(), 1);
        Self {
            lanes: Mutex::new(Lanes::new(limits)),
            room: Notify::new(),
            endpoints: RwLock::default(),
            sender: RwLock::new(Arc::new(parts.sender)),
            config: parts.config,
            holder: parts.holder,
            metrics: parts.metrics,
            leasing: AsyncRwLock::new(()),
            in_doubt: AtomicBool::new(false),
            payloads: Payloads::new(parts.store.clone()),
            store: parts.store,
            ended: parts.ended,
            requests: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// The queues. Held for moments, never across an await.
    pub fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoints as they are now.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The HTTP client as it is now.
    pub fn sender(&self) -> Arc<Sender> {
        self.sender.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Takes over endpoints and limits, and tells the metrics.
    pub fn adapt(&self, endpoints: Arc<Endpoints>, instances: usize) {
        let limits = limits(&self.config(), instances);
        self.metrics.limit(limits.max_in_flight);
        self.metrics.endpoints(endpoints.states());
        self.lanes().adapt(limits, endpoints.all_ready().map(|endpoint| &**endpoint));
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    /// Queues leased deliveries, and starts what may be started.
    pub async fn submit(self: &Arc<Self>, jobs: Vec<Job>) {
        let refused: Vec<Job> = {
            let mut lanes = self.lanes();
            jobs.into_iter().filter_map(|job| lanes.push(job).err()).collect()
        };
        self.pump();
        self.give_back(refused).await;
    }

    /// Gives up leases under which nothing was sent.
    pub async fn give_back(&self, jobs: Vec<Job>) {
        for job in jobs {
            self.end(unsent(&job)).await;
        }
    }

    /// Starts what may be started.
    pub fn pump(self: &Arc<Self>) {
        let now = Instant::now();
        loop {
            let Some(job) = self.lanes().start(now) else { return };
            let deliverer = self.clone();
            self.requests.spawn(async move { deliverer.work(job).await });
        }
    }

    /// Makes an attempt, and then others while there are any: a slot is handed on, not given back.
    async fn work(self: Arc<Self>, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            let lease = job.lease();
            self.metrics.in_flight.inc();
            let ended = self.attempt(job).await;
            self.metrics.in_flight.dec();
            let took = match &ended {
                Ended::Attempted(attempt) => Some(attempt.duration),
                _ => None,
            };
            // A record that finds no room holds the slot: what cannot be recorded is not sent.
            self.end(ended).await;
            let mut lanes = self.lanes();
            let has_room = lanes.finished(lease, took);
            next = lanes.start(Instant::now());
            drop(lanes);
            if has_room {
                self.room.notify_one();
            }
        }
    }

    /// Releases leases that the database has for `holder` and this process does not: taken in a
    /// transaction whose commit was never confirmed, or ended in one that the database forgot.
    ///
    /// # Errors
    /// Of the database.
    pub async fn reconcile(&self, holder: i32) -> Result<u64, StoreError> {
        let _nobody_leases = self.leasing.write().await;
        // In this order: what is no longer held by then is on its way to the recorder.
        let held = self.lanes().held();
        let (flushed, done) = oneshot::channel();
        self.end(Ended::Flushed(flushed)).await;
        if done.await.is_err() {
            // Without a recorder the daemon is ending, and what it still writes is not known here.
            return Ok(0);
        }
        self.store.release_unknown(holder, &held).await
    }

    async fn end(&self, ended: Ended) {
        // The receiver lives as long as there are requests.
        self.ended.send(ended).await.ok();
    }

    async fn attempt(&self, job: Job) -> Ended {
        let config = self.config();
        let endpoint = self.endpoints().ready(job.endpoint).cloned();
        let Some(endpoint) = endpoint else { return unsent(&job) };
        // An endpoint's own deadline must leave time to record within the lease, as the
        // configuration's does.
        let longest = config.delivery.lease.saturating_sub(LEASE_MARGIN);
        let timeout = endpoint.timeout.unwrap_or(config.delivery.timeout).min(longest);
        if !self.still_holds(&job, timeout) {
            return unsent(&job);
        }
        let Some(payload) = &job.event.payload else {
            return self.attempt_large(&job, &endpoint, timeout, &config).await;
        };
        self.request(&job, &endpoint, Ok(payload), timeout, &config).await
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
                self.metrics.db_errors.inc();
                tracing::warn!(event_id = job.event.id, %error, "cannot load the payload");
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
        let rendered = match payload {
            Ok(payload) => endpoint.render(event, payload, started, wall_ms),
            Err(why) => Err(Unsatisfied::Payload(why)),
        };
        if job.attempt == 1 {
            let since_created = wall.as_micros() as f64 - event.created_us as f64;
            self.metrics.first_attempt_delay.observe((since_created / 1e6).max(0.0));
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
        let duration = started.elapsed();
        self.metrics.endpoint(&endpoint.name).attempt(reply.outcome);
        self.metrics.attempt_took(reply.outcome, duration);
        let verdict = self.verdict(&reply, job, endpoint, config);
        self.note(job, endpoint, &reply, verdict);
        let lease = job.lease();
        Ended::Attempted(Box::new(Attempt { lease, started, duration, reply, verdict }))
    }

    async fn send(&self, endpoint: &Endpoint, rendered: Rendered<'_>, timeout: Duration) -> Reply {
        let Rendered { body, headers } = rendered;
        let sender = self.sender();
        let request = Request { endpoint, headers: &headers, body, timeout };
        tokio::select! {
            reply = sender.send(request) => reply,
            () = self.abort.cancelled() => {
                Reply::failure(Outcome::Interrupted, "the daemon stopped before a reply came")
            }
        }
    }

    fn verdict(&self, reply: &Reply, job: &Job, endpoint: &Endpoint, config: &Config) -> Verdict {
        if reply.outcome == Outcome::Interrupted {
            return Verdict::Retry { after: Duration::ZERO, counts: false };
        }
        let schedule = endpoint.retry.as_ref().unwrap_or(&config.delivery.retry);
        let progress = Progress { attempt: job.attempt, failures: job.failures };
        let (scale, jitter) = (config.delivery.retry_scale, endpoint.profile.jitter);
        decide(reply, progress, Pacing { schedule, scale, jitter }, fastrand::f64())
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

fn unsent(job: &Job) -> Ended {
    Ended::Unsent(job.lease(), UNSENT_PAUSE)
}

fn limits(config: &Config, instances: usize) -> lanes::Limits {
    lanes::Limits {
        max_in_flight: config.delivery.max_in_flight,
        max_per_endpoint: config.delivery.max_in_flight_per_endpoint,
        instances,
    }
}
