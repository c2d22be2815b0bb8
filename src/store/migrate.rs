//! Applying the schema, and telling whether a database has the right one.

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::Store;
use super::error::StoreError;

/// One file of `sql/schema`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number.
    pub version: i32,
    /// Its name, without number and ending.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal $file:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../sql/schema/", $file)),
        }),*]
    };
}

/// Every migration, in order.
pub const MIGRATIONS: &[Migration] = migrations![
    1 "schema_and_roles" "0001_schema_and_roles.sql",
    2 "events" "0002_events.sql",
    3 "endpoints" "0003_endpoints.sql",
    4 "deliveries" "0004_deliveries.sql",
    5 "functions" "0005_functions.sql",
    6 "views" "0006_views.sql",
    7 "event_types" "0007_event_types.sql",
];

/// The schema version that this binary works with.
pub const SCHEMA_VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// The advisory lock under which schemas are changed; any constant of ours will do.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('outboxd'), hashtext('migrate'))";
/// How a migration begins: it gives up rather than hold up the application behind its locks, and
/// what it creates is not bound to functions of the same name in `public`.
const OPENING: &str = begin!("statement_timeout = 0", "lock_timeout = '5s'");

impl Migration {
    /// SHA-256 of the text, in hex.
    pub fn checksum(&self) -> String {
        Sha256::digest(self.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The whole schema as one script for psql, each migration a transaction, checksums included.
pub fn script() -> String {
    let mut script = format!(
        "-- The schema of outboxd {}; run it with: psql -v ON_ERROR_STOP=1 -f THIS_FILE\n",
        env!("CARGO_PKG_VERSION")
    );
    for migration in MIGRATIONS {
        script.push_str(&format!(
            "\n{OPENING};\n\n{}\n{};\nCOMMIT;\n",
            migration.sql,
            checksum_update(migration)
        ));
    }
    script
}

fn checksum_update(migration: &Migration) -> String {
    format!(
        "UPDATE outbox.migrations SET checksum = '{}' WHERE version = {}",
        migration.checksum(),
        migration.version
    )
}

/// How the schema of a database relates to this binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// There is none.
    Missing,
    /// It is older.
    Older(i32),
    /// It is the one.
    Current,
    /// It is newer, and nothing was taken away that this binary needs.
    Expanded(i32),
    /// It is newer, and this binary does not work with it.
    Newer(i32),
}

impl SchemaState {
    /// What to tell, and the command that mends it; `None` when all is well.
    pub fn problem(self) -> Option<String> {
        match self {
            Self::Current | Self::Expanded(_) => None,
            Self::Missing => Some(
                "the database has no outbox schema; create it with: outboxd migrate".to_owned(),
            ),
            Self::Older(version) => Some(format!(
                "the schema of the database is version {version}, older than the \
                 {SCHEMA_VERSION} this outboxd works with; bring it up with: outboxd migrate"
            )),
            Self::Newer(version) => Some(format!(
                "the schema of the database is version {version}, too new for \
                 this outboxd, which was made for {SCHEMA_VERSION}; install the newer outboxd, for example \
                 with: apt-get install --only-upgrade outboxd"
            )),
        }
    }
}

impl Store {
    /// How the schema of the database relates to this binary.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let sql = "SELECT to_regclass('outbox.migrations') IS NOT NULL";
        if !self.admin(sql, &[]).await?[0].try_get::<_, bool>(0)? {
            return Ok(SchemaState::Missing);
        }
        let sql = "SELECT coalesce(max(version), 0), coalesce(max(oldest_daemon), 0) \
                   FROM outbox.migrations";
        let rows = self.admin(sql, &[]).await?;
        let (version, oldest_daemon): (i32, i32) = (rows[0].try_get(0)?, rows[0].try_get(1)?);
        Ok(match version {
            0 => SchemaState::Missing,
            v if v < SCHEMA_VERSION => SchemaState::Older(v),
            v if oldest_daemon > SCHEMA_VERSION => SchemaState::Newer(v),
            v if v > SCHEMA_VERSION => SchemaState::Expanded(v),
            _ => SchemaState::Current,
        })
    }

    /// The daemons that run and were made for an earlier version of the schema, for people.
    pub async fn older_daemons(&self) -> Result<Vec<String>, StoreError> {
        let sql = include_str!("../../sql/older_daemons.sql");
        let rows = self.admin(sql, &[(&SCHEMA_VERSION, Type::INT4)]).await?;
        let named = |row: &Row| {
            let (host, pid): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
            let version: String = row.try_get(2)?;
            Ok(format!("outboxd {version} on {host}, process {pid}"))
        };
        rows.iter().map(named).collect()
    }

    /// Applies the migrations that are missing, each in a transaction of its own and all under one
    /// lock. Returns those it applied.
    ///
    /// # Errors
    /// Besides those of the database: an applied migration whose text has changed since, and a
    /// schema too new for this binary.
    pub async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let client = self.dedicated().await?;
        let mut applied = Vec::new();
        for migration in MIGRATIONS {
            if apply(&client, migration).await? {
                applied.push(*migration);
            }
        }
        match self.schema_state().await?.problem() {
            Some(problem) => Err(StoreError::Unfit(problem)),
            None => Ok(applied),
        }
    }
}

/// Applies one migration unless it is there. Another daemon may be migrating too: the lock is
/// taken first, and held to the end of the transaction.
async fn apply(client: &Client, migration: &Migration) -> Result<bool, StoreError> {
    client.batch_execute(&format!("{OPENING}; {LOCK}")).await?;
    let outcome = apply_locked(client, migration).await;
    failpoint!("migrate.before_commit"?);
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    failpoint!("migrate.after_commit"?);
    outcome
}

async fn apply_locked(client: &Client, migration: &Migration) -> Result<bool, StoreError> {
    let sql = "SELECT to_regclass('outbox.migrations') IS NOT NULL";
    let known = if client.query_typed_one(sql, &[]).await?.try_get(0)? {
        let sql = "SELECT checksum FROM outbox.migrations WHERE version = $1";
        client.query_typed_opt(sql, &[(&migration.version, Type::INT4)]).await?
    } else {
        None
    };
    let Some(row) = known else {
        client.batch_execute(migration.sql).await?;
        client.batch_execute(&checksum_update(migration)).await?;
        return Ok(true);
    };
    match row.try_get::<_, Option<String>>(0)? {
        None => client.batch_execute(&checksum_update(migration)).await?,
        Some(checksum) if checksum == migration.checksum() => {}
        Some(checksum) => {
            return Err(StoreError::Unfit(format!(
                "migration {:04}_{} was applied with another text (checksum {}..., now {}...): \
                 this database was migrated by a different build of outboxd",
                migration.version,
                migration.name,
                checksum.get(..8).unwrap_or_default(),
                &migration.checksum()[..8]
            )));
        }
    }
    Ok(false)
}
