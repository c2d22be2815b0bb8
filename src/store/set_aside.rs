//! Events that cannot be read or delivered: found one by one, and put into quarantine.

use tokio_postgres::types::Type;

use super::claim::read_event;
use super::error::StoreError;
use super::fan_out::LARGEST_PAYLOAD_BYTES;
use super::opening::CHORE;
use super::{Param, Store, Transaction};

/// Where more events wait than this and none can be read, the database is at fault.
const MOST_ALONE: i64 = 10;

/// An event that cannot be read or delivered, and why.
#[derive(Debug)]
pub struct Unusable {
    /// Its number.
    pub seq: i64,
    /// What the database says.
    pub reason: String,
}

impl Store {
    /// Reads each event that a batch would take off the queue, apart from the others, and puts those
    /// into quarantine that cannot be read. Returns them.
    ///
    /// # Errors
    /// Besides those of the database: when it reads none of many.
    pub async fn set_aside_unreadable(
        &self,
        limit: i64,
        from: i64,
    ) -> Result<Vec<Unusable>, StoreError> {
        let mut transaction = self.begin(CHORE).await?;
        let sql = include_str!("../../sql/fan_out_lock.sql");
        // Enough to tell one that is bad from a database that is.
        let limit = limit.max(MOST_ALONE + 1);
        let rows = transaction.query(sql, &[(&limit, Type::INT8), (&from, Type::INT8)]).await?;
        // Others may hold some of them, the batch that has just failed for one.
        let waiting: i64 = rows.first().map_or(Ok(0), |row| row.try_get(1))?;
        let mut unusable = Vec::new();
        for row in &rows {
            let seq = row.try_get(0)?;
            if let Some(error) = transaction.is_unreadable(seq).await? {
                let reason = format!("the event cannot be read: {error}");
                unusable.push(Unusable { seq, reason });
            }
        }
        if unusable.is_empty() {
            transaction.rollback().await?;
            return Ok(unusable);
        }
        if unusable.len() == rows.len() && waiting > MOST_ALONE {
            transaction.rollback().await?;
            let (count, first) = (rows.len(), &unusable[0].reason);
            return Err(StoreError::Unfit(format!("none of {count} events can be read; {first}")));
        }
        transaction.set_aside(&unusable).await?;
        Ok(unusable)
    }

    /// Puts an event into quarantine that is on the queue.
    pub async fn set_aside(&self, unusable: &Unusable) -> Result<(), StoreError> {
        self.begin(CHORE).await?.set_aside(std::slice::from_ref(unusable)).await
    }
}

impl Transaction {
    /// Why an event cannot be read, if so. The transaction goes on.
    async fn is_unreadable(&mut self, seq: i64) -> Result<Option<StoreError>, StoreError> {
        self.client().batch_execute("SAVEPOINT one").await?;
        let params: [Param<'_>; 2] = [(&seq, Type::INT8), (&LARGEST_PAYLOAD_BYTES, Type::INT4)];
        let rows = self.query(include_str!("../../sql/event_read.sql"), &params).await;
        let read = rows.and_then(|rows| match rows.first() {
            Some(row) => {
                row.try_get::<_, Option<i32>>(7)?;
                row.try_get::<_, Option<i64>>(8)?;
                Ok(read_event(row, seq, 0).map(drop)?)
            }
            // Gone: there is nothing to read, and a batch leaves it out.
            None => Ok(()),
        });
        let error = match read {
            Err(error) if !error.is_of_a_row() => return Err(error),
            read => read.err(),
        };
        self.client().batch_execute("ROLLBACK TO SAVEPOINT one").await?;
        Ok(error)
    }

    async fn set_aside(self, unusable: &[Unusable]) -> Result<(), StoreError> {
        let seqs: Vec<i64> = unusable.iter().map(|one| one.seq).collect();
        let reasons: Vec<&str> = unusable.iter().map(|one| one.reason.as_str()).collect();
        let sql = include_str!("../../sql/fan_out_set_aside.sql");
        self.last(sql, &[(&seqs, Type::INT8_ARRAY), (&reasons, Type::TEXT_ARRAY)]).await.map(drop)
    }
}
