//! Plain sessions for the benchmark: what an application does, and what an operator looks at.

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::Store;
use super::connect::Connection;
use super::error::StoreError;

/// A connection of its own, with the settings of its role, and without any of the daemon's.
pub struct Session {
    connection: Connection,
    insert: Statement,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Store {
    /// Opens a session; the schema must be there.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let connection = self.dedicated().await?;
        let sql =
            "INSERT INTO outbox.events (id, type, payload, tenant) VALUES ($1, $2, $3::json, $4)";
        let types = [Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];
        let insert = connection.prepare_typed(sql, &types).await?;
        Ok(Session { connection, insert })
    }
}

impl Session {
    /// Runs statements whose rows nobody needs.
    pub async fn run(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.connection.batch_execute(sql).await?)
    }

    /// The only value of a query that is a number, or null.
    pub async fn number(&self, sql: &str) -> Result<Option<f64>, StoreError> {
        let sql = format!("SELECT ({sql})::float8");
        Ok(self.connection.query_typed_one(&sql, &[]).await?.try_get(0)?)
    }

    /// The only value of a query as text; empty for null.
    pub async fn text(&self, sql: &str) -> Result<String, StoreError> {
        let sql = format!("SELECT coalesce(({sql})::text, '')");
        Ok(self.connection.query_typed_one(&sql, &[]).await?.try_get(0)?)
    }

    /// The values of the only column of a query, as numbers.
    pub async fn numbers(&self, sql: &str) -> Result<Vec<f64>, StoreError> {
        let sql = format!("SELECT n::float8 FROM ({sql}) AS rows (n)");
        let rows = self.connection.query_typed(&sql, &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Inserts an event as an application does, with a prepared statement; in a transaction that is
    /// open, or else in one of its own.
    pub async fn insert(
        &self,
        id: &str,
        event_type: &str,
        payload: &str,
        tenant: Option<&str>,
    ) -> Result<(), StoreError> {
        self.connection.execute(&self.insert, &[&id, &event_type, &payload, &tenant]).await?;
        Ok(())
    }
}
