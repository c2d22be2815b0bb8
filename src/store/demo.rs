//! What the demonstration does with a database, besides what every daemon does.

use tokio_postgres::types::Type;

use super::error::StoreError;
use super::{ADMIN, Param, Store};

/// Who else uses the schema.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Endpoints of other tenants, or of none.
    pub endpoints: i64,
    /// The names of those that take the events of every tenant.
    pub catch_all: Option<String>,
    /// Daemons that showed a sign of life within the last minute.
    pub daemons: i64,
}

/// An endpoint to create.
#[derive(Clone, Copy, Debug)]
pub struct NewEndpoint<'a> {
    /// Its unique name.
    pub name: &'a str,
    /// Where requests go.
    pub url: &'a str,
    /// Whose events it takes.
    pub tenant: &'a str,
    /// Its signing secret.
    pub secret: &'a str,
    /// Its retry schedule.
    pub retry: &'a str,
    /// Its deadline, as an interval.
    pub timeout: &'a str,
}

/// An event to insert.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// Its payload, JSON.
    pub payload: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
}

impl Store {
    /// Who else uses the schema, which must be there.
    pub async fn neighbours(&self, tenant: &str) -> Result<Neighbours, StoreError> {
        let sql = "SELECT count(*), string_agg(name, ', ' ORDER BY name)
                              FILTER (WHERE tenant IS NULL AND active AND state <> 'disabled'),
                          (SELECT count(*) FROM outbox.instances
                           WHERE dead_at IS NULL AND seen_at > now() - interval '1 minute')
                   FROM outbox.endpoints WHERE tenant IS DISTINCT FROM $1";
        let rows = self.admin(sql, &[(&tenant, Type::TEXT)]).await?;
        let row = &rows[0];
        Ok(Neighbours {
            endpoints: row.try_get(0)?,
            catch_all: row.try_get(1)?,
            daemons: row.try_get(2)?,
        })
    }

    /// Creates a user without a password that has one role; the names are constants of ours.
    pub async fn add_login(&self, user: &str, role: &str) -> Result<(), StoreError> {
        self.admin(&format!("CREATE ROLE {user} LOGIN IN ROLE {role}"), &[]).await.map(drop)
    }

    /// Creates an endpoint.
    pub async fn add_endpoint(&self, new: NewEndpoint<'_>) -> Result<(), StoreError> {
        let mut transaction = self.begin(ADMIN).await?;
        let params: [Param<'_>; 4] = [
            (&new.url, Type::TEXT),
            (&new.tenant, Type::TEXT),
            (&new.secret, Type::TEXT),
            (&new.name, Type::TEXT),
        ];
        let sql = "SELECT outbox.subscribe(url => $1, tenant => $2, secret => $3, name => $4)";
        transaction.query(sql, &params).await?;
        let params: [Param<'_>; 3] =
            [(&new.name, Type::TEXT), (&new.retry, Type::TEXT), (&new.timeout, Type::TEXT)];
        let sql = "UPDATE outbox.endpoints SET retry = $2, timeout = $3::interval WHERE name = $1";
        transaction.last(sql, &params).await.map(drop)
    }

    /// Removes the endpoints of a tenant; what they were owed is cancelled.
    pub async fn remove_endpoints(&self, tenant: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM outbox.endpoints WHERE tenant = $1";
        self.admin(sql, &[(&tenant, Type::TEXT)]).await.map(drop)
    }

    /// Inserts an event as an application does; it is committed when this returns.
    pub async fn insert_event(&self, new: NewEvent<'_>) -> Result<(), StoreError> {
        let params: [Param<'_>; 4] = [
            (&new.id, Type::TEXT),
            (&new.event_type, Type::TEXT),
            (&new.payload, Type::TEXT),
            (&new.tenant, Type::TEXT),
        ];
        let sql = "INSERT INTO outbox.events (id, type, payload, tenant)
                   VALUES ($1, $2, $3::json, $4)";
        self.admin(sql, &params).await.map(drop)
    }
}
