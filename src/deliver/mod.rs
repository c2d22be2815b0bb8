//! Delivering: leased deliveries become requests, and requests become records.

mod attempt;
pub mod lanes;
mod order;
mod payloads;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, RwLock as AsyncRwLock, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::Change;
use crate::config::Config;
use crate::endpoint::{EndpointKey, Endpoints};
use crate::event::{Job, Lease};
use crate::metrics::Metrics;
use crate::send::Sender;
use crate::store::Store;
use crate::store::claim::NoEvent;
use crate::store::error::StoreError;
use crate::store::record::Attempt;
use lanes::Lanes;
use payloads::Payloads;

/// Before a delivery that could not be sent is tried again, so that a reason that stays does not
/// make a busy loop.
const UNSENT_PAUSE: Duration = Duration::from_secs(1);
/// Requests at once to endpoints that answer at once which keep a thread busy.
const PROMPT_PER_THREAD: usize = 64;

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
        self.metrics.pipeline.limit(limits.max_in_flight);
        let most = self.config().metrics.max_endpoints;
        self.metrics.endpoints.show(endpoints.states(), most);
        let ready = endpoints.all_ready().map(|endpoint| &**endpoint);
        self.lanes().adapt(limits, ready, Instant::now());
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    /// Queues leased deliveries, and starts what may be started.
    pub async fn submit(self: &Arc<Self>, jobs: Vec<Job>) {
        let now = Instant::now();
        let refused: Vec<Job> = {
            let mut lanes = self.lanes();
            jobs.into_iter().filter_map(|job| lanes.push(job, now).err()).collect()
        };
        self.pump();
        self.give_back(refused).await;
    }

    /// Time has passed; to be called several times a second while requests are under way.
    pub async fn age(&self) {
        let back = self.lanes().age(Instant::now());
        self.give_back(back).await;
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
            self.metrics.pipeline.in_flight.inc();
            let ended = self.attempt(&job).await;
            self.metrics.pipeline.in_flight.dec();
            let heard = match &ended {
                Ended::Attempted(attempt) => attempt.heard,
                _ => None,
            };
            // A record that finds no room holds the slot: what cannot be recorded is not sent.
            self.end(ended).await;
            let finished = {
                let (mut lanes, now) = (self.lanes(), Instant::now());
                let finished = lanes.finished(lease, heard, now);
                next = lanes.start(now);
                finished
            };
            if finished.has_room {
                self.room.notify_one();
            }
            if let Some(change) = finished.change {
                self.tell(lease.endpoint, change);
            }
            self.give_back(finished.back).await;
        }
    }

    fn tell(&self, key: EndpointKey, change: Change) {
        let Some(endpoint) = self.endpoints().ready(key).cloned() else { return };
        let endpoint = &endpoint.name;
        if change == Change::Opened {
            tracing::warn!(
                endpoint,
                "circuit opened: nothing but failures; probed until it is well"
            );
        } else {
            tracing::info!(endpoint, "circuit closed: a probe succeeded");
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
}

fn unsent(job: &Job) -> Ended {
    Ended::Unsent(job.lease(), UNSENT_PAUSE)
}

fn limits(config: &Config, instances: usize) -> lanes::Limits {
    let threads = Handle::current().metrics().num_workers();
    lanes::Limits {
        max_in_flight: config.delivery.max_in_flight,
        prompt_in_flight: PROMPT_PER_THREAD * threads,
        max_per_endpoint: config.delivery.max_in_flight_per_endpoint,
        instances,
        lease: config.delivery.lease,
        pause_scale: config.delivery.retry_scale,
    }
}
