//! The presence loop: this daemon's place among others, and the leases of those that died.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::deliver::Deliverer;
use crate::health::Health;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::home::Held;
use crate::store::instance::{ANSWER, Beat, Identity, Place, Presence};

/// Between two signs of life; also how soon the death of another daemon is noticed.
const BEAT: Duration = Duration::from_secs(1);
/// How long this daemon must have been here before it declares others dead: after an outage of the
/// database all of them have been silent, and need time to come back.
const SETTLED: Duration = Duration::from_secs(5);
/// Longest wait for the recorder when leases are compared.
const RECONCILE: Duration = Duration::from_secs(10);
/// When leases that were in doubt are compared again: the server may have gone on with a statement
/// whose answer nobody waited for, until its own time limit.
const AFTERMATH: Duration = Duration::from_secs(35);

/// What presence works with.
pub struct PresenceLoop {
    /// The database.
    pub store: Store,
    /// Whose leases depend on it.
    pub deliverer: Arc<Deliverer>,
    /// Shares endpoints' limits among daemons.
    pub catalogue: Arc<Catalogue>,
    /// Who this is.
    pub identity: Identity,
    /// Where the others learn the holder of their leases.
    pub holder: watch::Sender<Option<i32>>,
    /// Told of the database.
    pub health: Arc<Health>,
}

impl PresenceLoop {
    /// Runs until it is stopped; then the caller, when all leases have been given back, leaves
    /// with what is returned.
    pub async fn run(self, stop: CancellationToken) -> Option<Presence> {
        let mut backoff = Backoff::default();
        let mut before = None;
        let beats = watch::channel(None).0;
        loop {
            let left = beats.borrow().map(|beat: Beat| beat.at_us);
            let error = match self.join(before, left).await {
                Ok(presence) => {
                    backoff.reset();
                    before = Some(presence.place);
                    match self.stay(&presence, &beats, &stop).await {
                        Ok(()) => return Some(presence),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if matches!(error, StoreError::Silent(_)) {
                // What went with it is lost as well: each would have to find out by itself.
                self.store.give_up();
            }
            // What is found in its place may be a pooler.
            self.store.own_sessions(false);
            // Until the lock is held again, nobody knows whose the leases are.
            self.deliverer.lanes().suspend(true);
            self.holder.send_replace(None);
            self.health.not_ready(format!("the database is away: {error}"));
            backoff.log("presence", &error);
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    /// `left` is when the last sign of life was given, by the clock of the database.
    async fn join(&self, before: Option<Place>, left: Option<i64>) -> Result<Presence, StoreError> {
        failpoint!("presence.before_join"?);
        let facts = in_time(ANSWER, self.store.facts()).await?;
        if let Some(why) = facts.not_yet() {
            return Err(StoreError::Unfit(why.to_owned()));
        }
        self.require_schema().await?;
        // Before anything is sent, or another daemon could take this one for a sign of life.
        self.hold_restored(left).await?;
        let pooled = self.store.is_pooled().await?;
        let presence = self.store.join(&self.identity, before, pooled).await?;
        // Now no migration overlooks this daemon; one may have been faster.
        if let Err(error) = self.require_schema().await {
            presence.leave(&self.store).await?;
            return Err(error);
        }
        let id = presence.place.id;
        if before.is_some_and(|before| before.id == id) {
            self.reconcile(&presence).await?;
        } else {
            tracing::info!(instance = id, pooled, "registered");
            let others = self.deliverer.lanes().take_other_holders(id);
            self.deliverer.give_back(others).await;
        }
        if before.is_some() {
            self.deliverer.metrics.database.reconnects.inc();
            tracing::info!(instance = id, "the database is back");
        }
        failpoint!("presence.joined"?);
        self.store.own_sessions(!pooled);
        // The database may be another than before, with fewer changes than were seen.
        in_time(RECONCILE, self.catalogue.reload()).await?;
        self.holder.send_replace(Some(id));
        self.deliverer.lanes().suspend(false);
        self.deliverer.pump();
        self.health.ready();
        Ok(presence)
    }

    /// What waits in a backup that was restored is not sent again unasked.
    async fn hold_restored(&self, left: Option<i64>) -> Result<(), StoreError> {
        let after = self.deliverer.config().delivery.hold_after_restore;
        if let Some(held) = self.store.recognise(after, left).await? {
            let Held { reason, deliveries, events } = held;
            tracing::error!(
                deliveries,
                events,
                "{reason}; what was due and is older than delivery.hold_after_restore is held: \
                 'outboxd hold release' delivers it, 'outboxd hold cancel' does not"
            );
        }
        Ok(())
    }

    /// The database may have been upgraded while this daemon was away.
    async fn require_schema(&self) -> Result<(), StoreError> {
        in_time(ANSWER, self.store.require_schema()).await
    }

    /// Until told to stop, or the database fails, or somebody declares this daemon dead.
    async fn stay(
        &self,
        presence: &Presence,
        beats: &watch::Sender<Option<Beat>>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        // What a sign of life is followed by can take long; the next one does not wait for it.
        let failed: Result<Infallible, StoreError> = tokio::select! {
            failed = self.live(presence, beats) => failed,
            failed = self.look_after(presence, beats.subscribe()) => failed,
            () = stop.cancelled() => return Ok(()),
        };
        match failed {
            Err(error) => Err(error),
        }
    }

    /// Signs of life.
    async fn live(
        &self,
        presence: &Presence,
        beats: &watch::Sender<Option<Beat>>,
    ) -> Result<Infallible, StoreError> {
        loop {
            tokio::time::sleep(BEAT).await;
            let beat = presence.beat(&self.store).await?;
            if beat.is_none() {
                let why = "another daemon declared this one dead, and has its leases";
                return Err(StoreError::Unfit(why.to_owned()));
            }
            beats.send_replace(beat);
        }
    }

    /// What follows from being alive.
    async fn look_after(
        &self,
        presence: &Presence,
        mut beats: watch::Receiver<Option<Beat>>,
    ) -> Result<Infallible, StoreError> {
        let joined = Instant::now();
        let mut doubted = Some(joined);
        loop {
            // Without one the other half ends, and this with it.
            beats.changed().await.ok();
            let alive = beats.borrow_and_update().map_or(1, |beat| beat.alive);
            self.deliverer.metrics.process.daemons(alive);
            self.catalogue.share_among(usize::try_from(alive).unwrap_or(1)).await?;
            if joined.elapsed() >= SETTLED {
                self.bury(presence).await?;
            }
            if self.deliverer.in_doubt.swap(false, Ordering::Relaxed) {
                doubted = Some(Instant::now());
                self.reconcile(presence).await?;
            }
            if doubted.is_some_and(|at| at.elapsed() >= AFTERMATH) {
                doubted = None;
                self.reconcile(presence).await?;
            }
        }
    }

    async fn reconcile(&self, presence: &Presence) -> Result<(), StoreError> {
        failpoint!("presence.before_reconcile"?);
        let reconciled =
            tokio::time::timeout(RECONCILE, self.deliverer.reconcile(presence.place.id));
        let Ok(released) = reconciled.await else {
            return Err(StoreError::Pool("the last outcomes are not recorded yet".to_owned()));
        };
        let released = released?;
        if released > 0 {
            tracing::warn!(released, "released leases of transactions that were in doubt");
            self.deliverer.metrics.attempts.released_leases.inc_by(released);
            self.deliverer.room.notify_one();
        }
        Ok(())
    }

    async fn bury(&self, presence: &Presence) -> Result<(), StoreError> {
        failpoint!("presence.before_bury"?);
        let buried = self.store.bury(presence.place.id).await?;
        failpoint!("presence.after_bury"?);
        if buried.dead > 0 {
            tracing::warn!(released = buried.released, "took over the leases of a dead daemon");
            let released = u64::try_from(buried.released).unwrap_or(0);
            self.deliverer.metrics.attempts.released_leases.inc_by(released);
        }
        Ok(())
    }
}

/// Waits for an answer, but not for ever.
async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(StoreError::Silent(limit)))
}
