//! Recording outcomes, and giving leases back.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::claim::NoEvent;
use super::error::StoreError;
use super::{Param, Store, Transaction, WORK, micros};
use crate::breaker::Heard;
use crate::decide::Verdict;
use crate::endpoint::EndpointKey;
use crate::event::Lease;
use crate::outcome::{Outcome, Reply};

/// An attempt that has been made, and what follows from it.
#[derive(Debug)]
pub struct Attempt {
    /// Whose it is.
    pub lease: Lease,
    /// When the request started.
    pub started: Instant,
    /// How long it took.
    pub duration: Duration,
    /// From when its event was wanted to its end.
    pub since_wanted: Duration,
    /// What came of it.
    pub reply: Reply,
    /// What follows.
    pub verdict: Verdict,
    /// What it says of the receiver; none where nothing was sent, or it was cut short.
    pub heard: Option<Heard>,
    /// Whether somebody subscribes to the event that reports it, should it be given up.
    pub report: bool,
}

/// The columns of a batch, as the statement takes them.
#[derive(Default)]
struct Columns<'a> {
    event_seq: Vec<i64>,
    endpoint: Vec<EndpointKey>,
    attempt: Vec<i32>,
    holder: Vec<i32>,
    age_us: Vec<i64>,
    duration_ms: Vec<i32>,
    outcome: Vec<&'static str>,
    status: Vec<Option<i16>>,
    headers: Vec<Option<&'a str>>,
    body: Vec<Option<&'a [u8]>>,
    error: Vec<Option<&'a str>>,
    remote_addr: Vec<Option<&'a str>>,
    result: Vec<Option<&'static str>>,
    retry_us: Vec<i64>,
    failed: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, attempt: &'a Attempt, now: Instant) {
        let Attempt { lease, reply, .. } = attempt;
        self.event_seq.push(lease.event_seq);
        self.endpoint.push(lease.endpoint);
        self.attempt.push(lease.attempt);
        self.holder.push(lease.holder);
        self.age_us.push(micros(now.saturating_duration_since(attempt.started)));
        self.duration_ms.push(i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX));
        self.outcome.push(reply.outcome.as_str());
        self.status.push(reply.status.and_then(|status| i16::try_from(status).ok()));
        self.headers.push(reply.headers.as_deref());
        self.body.push((!reply.body.is_empty()).then_some(&*reply.body));
        self.error.push(reply.error.as_deref());
        self.remote_addr.push(reply.remote_addr.as_deref());
        let (result, retry_us, failed) = match attempt.verdict {
            Verdict::Delivered | Verdict::Gone { delivered: true } => (Some("delivered"), 0, 0),
            Verdict::Exhausted | Verdict::Gone { delivered: false } => (Some("exhausted"), 0, 1),
            Verdict::Retry { after, counts } => (None, micros(after), i32::from(counts)),
        };
        self.result.push(result);
        self.retry_us.push(retry_us);
        self.failed.push(failed);
    }
}

impl Store {
    /// Records a batch of attempts. Returns the deliveries that were still leased to us; nothing
    /// was changed for the others.
    pub async fn record(
        &self,
        attempts: &[Attempt],
    ) -> Result<Vec<(i64, EndpointKey)>, StoreError> {
        let now = Instant::now();
        let mut columns = Columns::default();
        for attempt in attempts {
            columns.push(attempt, now);
        }
        failpoint!("record.before_statement"?);
        let mut transaction = self.begin(WORK).await?;
        let params: [Param<'_>; 15] = [
            (&columns.event_seq, Type::INT8_ARRAY),
            (&columns.endpoint, Type::INT4_ARRAY),
            (&columns.attempt, Type::INT4_ARRAY),
            (&columns.holder, Type::INT4_ARRAY),
            (&columns.age_us, Type::INT8_ARRAY),
            (&columns.duration_ms, Type::INT4_ARRAY),
            (&columns.outcome, Type::TEXT_ARRAY),
            (&columns.status, Type::INT2_ARRAY),
            (&columns.headers, Type::TEXT_ARRAY),
            (&columns.body, Type::BYTEA_ARRAY),
            (&columns.error, Type::TEXT_ARRAY),
            (&columns.remote_addr, Type::TEXT_ARRAY),
            (&columns.result, Type::TEXT_ARRAY),
            (&columns.retry_us, Type::INT8_ARRAY),
            (&columns.failed, Type::INT4_ARRAY),
        ];
        let sql = include_str!("../../sql/record.sql");
        let ours = if attempts.iter().any(Attempt::is_reported) {
            let ours = read_ours(&transaction.query(sql, &params).await?)?;
            transaction.report_exhausted(attempts, &ours).await?;
            ours
        } else {
            read_ours(&transaction.last(sql, &params).await?)?
        };
        failpoint!("record.after_commit"?);
        Ok(ours)
    }

    /// Gives leases back whose attempt was never made, due again after a pause.
    pub async fn release(&self, unsent: &[(Lease, Duration)]) -> Result<(), StoreError> {
        failpoint!("record.before_release"?);
        let column = |of: fn(&Lease) -> i32| unsent.iter().map(|(lease, _)| of(lease)).collect();
        let event_seq: Vec<i64> = unsent.iter().map(|(lease, _)| lease.event_seq).collect();
        let endpoint: Vec<EndpointKey> = column(|lease| lease.endpoint);
        let attempt: Vec<i32> = column(|lease| lease.attempt);
        let holder: Vec<i32> = column(|lease| lease.holder);
        let pause_us: Vec<i64> = unsent.iter().map(|(_, pause)| micros(*pause)).collect();
        self.chore(
            include_str!("../../sql/release.sql"),
            &[
                (&event_seq, Type::INT8_ARRAY),
                (&endpoint, Type::INT4_ARRAY),
                (&attempt, Type::INT4_ARRAY),
                (&holder, Type::INT4_ARRAY),
                (&pause_us, Type::INT8_ARRAY),
            ],
        )
        .await
        .map(drop)
    }

    /// Makes due at once what `holder` has leased, but for these leases. Returns how many.
    pub async fn release_unknown(&self, holder: i32, known: &[Lease]) -> Result<u64, StoreError> {
        let event_seq: Vec<i64> = known.iter().map(|lease| lease.event_seq).collect();
        let endpoint: Vec<EndpointKey> = known.iter().map(|lease| lease.endpoint).collect();
        let rows = self
            .admin(
                include_str!("../../sql/release_unknown.sql"),
                &[
                    (&holder, Type::INT4),
                    (&event_seq, Type::INT8_ARRAY),
                    (&endpoint, Type::INT4_ARRAY),
                ],
            )
            .await?;
        Ok(rows[0].try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// Ends a delivery that has no event.
    pub async fn cancel_without_event(
        &self,
        lease: Lease,
        why: &NoEvent,
    ) -> Result<(), StoreError> {
        let reason = match why {
            NoEvent::Gone => "the event is gone".to_owned(),
            NoEvent::Unreadable(error) => format!("the event cannot be read: {error}"),
        };
        let sql = "SELECT outbox.cancel_work($1, $2, $3)";
        let params: [Param<'_>; 3] =
            [(&lease.endpoint, Type::INT4), (&reason, Type::TEXT), (&lease.event_seq, Type::INT8)];
        self.admin(sql, &params).await.map(drop)
    }

    /// Resumes an endpoint that outboxd had paused; false when somebody else was faster.
    pub async fn resume_mended(&self, endpoint: EndpointKey) -> Result<bool, StoreError> {
        let sql = "SELECT outbox.resume_mended($1)";
        let rows = self.admin(sql, &[(&endpoint, Type::INT4)]).await?;
        Ok(rows[0].try_get(0)?)
    }

    /// Disables an endpoint whose receiver asked for it, and cancels what it was owed.
    pub async fn disable_endpoint(
        &self,
        endpoint: EndpointKey,
        reason: &str,
    ) -> Result<(), StoreError> {
        let sql = "SELECT outbox.disable_endpoint($1, $2)";
        self.admin(sql, &[(&endpoint, Type::INT4), (&reason, Type::TEXT)]).await.map(drop)
    }
}

fn read_ours(rows: &[Row]) -> Result<Vec<(i64, EndpointKey)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

impl Transaction {
    /// Emits an event for each of the deliveries that were given up, and commits.
    async fn report_exhausted(
        self,
        attempts: &[Attempt],
        ours: &[(i64, EndpointKey)],
    ) -> Result<(), StoreError> {
        let ours: HashSet<&(i64, EndpointKey)> = ours.iter().collect();
        let mut columns = Columns::default();
        let now = Instant::now();
        let reported = |attempt: &&Attempt| {
            let Lease { event_seq, endpoint, .. } = attempt.lease;
            attempt.is_reported() && ours.contains(&(event_seq, endpoint))
        };
        for attempt in attempts.iter().filter(reported) {
            columns.push(attempt, now);
        }
        let status: Vec<Option<i32>> =
            columns.status.iter().map(|status| status.map(i32::from)).collect();
        let params: [Param<'_>; 5] = [
            (&columns.event_seq, Type::INT8_ARRAY),
            (&columns.endpoint, Type::INT4_ARRAY),
            (&columns.attempt, Type::INT4_ARRAY),
            (&columns.outcome, Type::TEXT_ARRAY),
            (&status, Type::INT4_ARRAY),
        ];
        let sql = "SELECT outbox.report_exhausted($1, $2, $3, $4, $5)";
        self.last(sql, &params).await.map(drop)
    }
}

impl Attempt {
    fn is_reported(&self) -> bool {
        self.report
            && matches!(self.verdict, Verdict::Exhausted | Verdict::Gone { delivered: false })
    }

    /// The attempt without the bytes that its receiver chose, for a database that refused them.
    pub fn without_reply(mut self, why: &str) -> Self {
        let outcome: Outcome = self.reply.outcome;
        let status = self.reply.status;
        self.reply = Reply { status, ..Reply::failure(outcome, why) };
        self
    }
}
