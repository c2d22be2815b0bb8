//! Transactions: their opening travels with the first statement, their commit with the last.

use deadpool_postgres::Object;
use futures_util::TryStreamExt;
use futures_util::future::join;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::connect::answered;
use super::error::StoreError;
use super::opening::{Opening, PLAIN};

/// A parameter with its type, as unnamed statements need it.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A transaction whose opening travels with its first statement, and whose commit with its last.
///
/// Dropped before its end, it closes the connection rather than hand an open transaction to the
/// next user of the pool.
pub(super) struct Transaction {
    client: Option<Object>,
    /// Until it has begun.
    opening: Option<&'static str>,
    prepares: bool,
    limit: std::time::Duration,
}

impl Transaction {
    /// On this connection, which is in a session of ours alone or not.
    pub fn new(client: Object, settled: bool, opening: Opening) -> Self {
        Self {
            client: Some(client),
            opening: Some(if settled { opening.settled } else { opening.sql }),
            prepares: settled && opening.prepares,
            limit: opening.limit,
        }
    }

    /// For statements around which no settings are needed.
    pub fn client(&self) -> &Client {
        self.connection()
    }

    fn connection(&self) -> &Object {
        self.client.as_ref().expect("taken only when the transaction ends or is dropped")
    }

    /// One of several statements.
    pub async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let opening = self.opening.take();
        let prepared = self.prepared(sql, params).await?;
        self.send(opening, prepared, sql, params).await
    }

    /// One of several statements, which is planned anew.
    pub async fn query_once(&mut self, sql: &str) -> Result<Vec<Row>, StoreError> {
        let opening = self.opening.take();
        self.send(opening, None, sql, &[]).await
    }

    async fn send(
        &self,
        opening: Option<&'static str>,
        prepared: Option<Statement>,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client();
        let rows = rows(client, prepared.as_ref(), sql, params);
        let Some(opening) = opening else {
            return answered(self.limit, rows).await;
        };
        // Both are written before either answer is awaited: `join` polls in order.
        let both = join(client.batch_execute(opening), rows);
        let both = async {
            let (opened, rows) = both.await;
            opened.and(rows)
        };
        answered(self.limit, both).await
    }

    /// The last statement, and the commit.
    pub async fn last(mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let opening = self.opening.take();
        let prepared = self.prepared(sql, params).await?;
        let client = self.client();
        let rows = rows(client, prepared.as_ref(), sql, params);
        // Polled once all is on its way, and before an answer is looked at.
        let passed = async {
            failpoint!("store.committing");
        };
        // A statement alone is a transaction by itself.
        let alone = opening == Some(PLAIN);
        let open = async {
            match opening {
                Some(opening) if !alone => client.batch_execute(opening).await,
                _ => Ok(()),
            }
        };
        let commit = async { if alone { Ok(()) } else { client.batch_execute("COMMIT").await } };
        let all = join(open, join(rows, join(commit, passed)));
        let answers = answered(self.limit, async { Ok(all.await) });
        let (opened, (rows, (committed, ()))) = answers.await?;
        opened?;
        // After a failed statement the commit has rolled back, without an error of its own.
        let rows = match (rows, committed) {
            (Ok(rows), committed) => committed.map(|()| rows)?,
            (Err(error), Ok(())) => {
                if !is_of_session(&error) {
                    self.client = None;
                }
                return Err(error.into());
            }
            (Err(error), Err(_)) => return Err(error.into()),
        };
        self.client = None;
        Ok(rows)
    }

    /// A statement that is a transaction by itself, under whatever settings the session has.
    pub async fn alone(mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.opening = Some(PLAIN);
        self.last(sql, params).await
    }

    pub async fn commit(self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    pub async fn rollback(self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), StoreError> {
        answered(self.limit, self.client().batch_execute(how)).await?;
        self.client = None;
        Ok(())
    }

    /// The statement as this session has it prepared. The first time it costs a round trip.
    async fn prepared(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Statement>, StoreError> {
        if !self.prepares {
            return Ok(None);
        }
        let types: Vec<Type> = params.iter().map(|(_, of)| of.clone()).collect();
        let prepare = self.connection().prepare_typed_cached(sql, &types);
        answered(self.limit, prepare).await.map(Some)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Where nothing has been sent yet, there is nothing open.
        if let Some(client) = self.client.take()
            && self.opening.is_none()
        {
            drop(Object::take(client));
        }
    }
}

/// Runs a statement, prepared or not.
async fn rows(
    client: &Client,
    prepared: Option<&Statement>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, Error> {
    match prepared {
        Some(statement) => {
            let params = params.iter().map(|(value, _)| *value);
            client.query_raw(statement, params).await?.try_collect().await
        }
        None => client.query_typed(sql, params).await,
    }
}

/// Whether an error comes of what the session has prepared: it is gone, or means something else
/// since a column changed. A new session knows better.
fn is_of_session(error: &Error) -> bool {
    let kinds = [&SqlState::INVALID_SQL_STATEMENT_NAME, &SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|code| kinds.contains(&code))
}
