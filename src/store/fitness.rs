//! Whether a database can be worked on: the facts, and what is wrong with them.

use super::error::StoreError;
use super::{Param, Store};
use tokio_postgres::types::Type;

/// The oldest server that is supported, as `server_version_num` writes it.
const OLDEST_SERVER: i32 = 140_000;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `server_version_num`.
    pub version_num: i32,
    /// `server_version`.
    pub version: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether transactions can write.
    pub read_only: bool,
    /// `server_encoding`.
    pub encoding: String,
    /// The user that we are.
    pub user: String,
    /// The database's clock against ours, in seconds; positive: the database is ahead.
    pub clock_ahead_seconds: f64,
    /// Whether the connection is encrypted; `None` when the server does not tell.
    pub tls: Option<String>,
    /// Settings that put committed events at risk.
    pub unsafe_settings: Vec<String>,
}

/// The connections of a server.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Those that ordinary users may have.
    pub usable: i64,
    /// Those in use.
    pub used: i64,
}

/// An endpoint that gets nothing: its name, its state and the reason.
pub type Resting = (String, String, Option<String>);

impl Facts {
    /// Why outboxd cannot work here; `None` when it can.
    pub fn problem(&self) -> Option<String> {
        if self.version_num < OLDEST_SERVER {
            return Some(format!("PostgreSQL {} is too old; 14 or newer is needed", self.version));
        }
        if self.encoding != "UTF8" {
            return Some(format!(
                "the database is encoded in {}; create one with ENCODING 'UTF8'",
                self.encoding
            ));
        }
        None
    }

    /// Why outboxd cannot work here now, although it may later: a standby may be promoted.
    pub fn not_yet(&self) -> Option<&'static str> {
        if self.in_recovery {
            Some(
                "this server is a standby; waiting for its promotion (or list all hosts in the \
                 connection string with target_session_attrs=read-write)",
            )
        } else if self.read_only {
            Some("transactions are read-only here (default_transaction_read_only)")
        } else {
            None
        }
    }
}

impl Store {
    /// Asks the server for its facts.
    pub async fn facts(&self) -> Result<Facts, StoreError> {
        let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                   pg_is_in_recovery(), current_setting('transaction_read_only')::bool, \
                   current_setting('server_encoding'), current_user::text, \
                   extract(epoch FROM clock_timestamp())::float8, \
                   (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), \
                   ARRAY(SELECT name || ' = ' || setting FROM pg_settings \
                         WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY 1)";
        let asked = std::time::SystemTime::now();
        let rows = self.admin(sql, &[]).await?;
        let answered = std::time::SystemTime::now();
        // The server looked at its clock at some moment between; the middle is the best guess.
        let epoch = std::time::UNIX_EPOCH;
        let seconds = |time: std::time::SystemTime| {
            time.duration_since(epoch).map(|d| d.as_secs_f64()).unwrap_or_default()
        };
        let row = &rows[0];
        Ok(Facts {
            version_num: row.try_get(0)?,
            version: row.try_get(1)?,
            in_recovery: row.try_get(2)?,
            read_only: row.try_get(3)?,
            encoding: row.try_get(4)?,
            user: row.try_get(5)?,
            clock_ahead_seconds: row.try_get::<_, f64>(6)?
                - (seconds(asked) + seconds(answered)) / 2.0,
            tls: row.try_get(7)?,
            unsafe_settings: row.try_get(8)?,
        })
    }

    /// The rights that `run` needs and the current user lacks, each as the GRANT that mends it.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        let sql = include_str!("../../sql/missing_rights.sql");
        let params: [Param<'_>; 0] = [];
        let rows = self.admin(sql, &params).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// How many connections the server has, and how many of them are taken.
    pub async fn room(&self) -> Result<Room, StoreError> {
        let rows = self.admin(include_str!("../../sql/connection_room.sql"), &[]).await?;
        Ok(Room { usable: rows[0].try_get(0)?, used: rows[0].try_get(1)? })
    }

    /// The first endpoints, by name, that are not active, and how many there are of them.
    pub async fn resting_endpoints(&self, most: i64) -> Result<(Vec<Resting>, i64), StoreError> {
        let sql = "SELECT name, state, state_reason, count(*) OVER () FROM outbox.endpoints \
                   WHERE state <> 'active' ORDER BY name LIMIT $1";
        let rows = self.admin(sql, &[(&most, Type::INT8)]).await?;
        let total = rows.first().map_or(Ok(0), |row| row.try_get(3))?;
        let resting =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        Ok((resting.collect::<Result<_, StoreError>>()?, total))
    }

    /// The URL of the oldest active endpoint with TLS.
    pub async fn first_https_endpoint(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT url FROM outbox.endpoints WHERE url ILIKE 'https://%' \
                   AND state = 'active' ORDER BY endpoint LIMIT 1";
        let rows = self.admin(sql, &[]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }
}
