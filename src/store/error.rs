//! What can go wrong with the database, and what a person is told about it.

use std::error::Error as _;
use std::fmt;
use std::str::Utf8Error;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::WasNull;

/// A database operation that failed.
#[derive(Debug)]
pub enum StoreError {
    /// The server answered with an error, or the connection broke.
    Database(tokio_postgres::Error),
    /// No connection came free, or none could be made, in time.
    Pool(String),
    /// No answer came in time.
    Silent(Duration),
    /// The TLS material of the connection string cannot be used.
    Tls(String),
    /// The database is not one that outboxd can run on as it is: what, and the mend.
    Unfit(String),
}

/// Kinds of failures, as the metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection was lost or refused.
    Connection,
    /// It took too long.
    Timeout,
    /// No connection of the pool came free, or none could be made in time.
    Pool,
    /// Somebody else had a lock, or a deadlock was broken.
    Conflict,
    /// The server takes no writes.
    ReadOnly,
    /// Disk, memory or connections of the server are used up.
    Resources,
    /// A right is missing, or the password is wrong.
    Privilege,
    /// A value, or something stored, is at fault.
    Data,
    /// Anything else.
    Other,
}

impl Kind {
    /// Their names, in order.
    pub const NAMES: [&'static str; 9] = [
        "connection",
        "timeout",
        "pool",
        "conflict",
        "read_only",
        "resources",
        "privilege",
        "data",
        "other",
    ];

    /// By SQLSTATE, class first (PostgreSQL manual, appendix A).
    fn of_code(code: &str) -> Self {
        match code {
            "57014" => Self::Timeout,
            "55P03" => Self::Conflict,
            "25006" => Self::ReadOnly,
            "42501" => Self::Privilege,
            "57P01" | "57P02" | "57P03" => Self::Connection,
            _ => match &code[..2.min(code.len())] {
                "08" => Self::Connection,
                "40" => Self::Conflict,
                "53" | "54" | "58" => Self::Resources,
                "28" => Self::Privilege,
                "22" | "23" | "XX" => Self::Data,
                _ => Self::Other,
            },
        }
    }
}

impl StoreError {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pool(_) => Kind::Pool,
            Self::Silent(_) => Kind::Timeout,
            Self::Tls(_) | Self::Unfit(_) => Kind::Other,
            Self::Database(error) => match error.code() {
                Some(code) => Kind::of_code(code.code()),
                None if self.is_of_a_row() => Kind::Data,
                None => Kind::Connection,
            },
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) => error.code(),
            _ => None,
        }
    }

    /// Whether waiting cannot help: somebody has to change something first.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Unfit(_) => true,
            Self::Pool(_) | Self::Silent(_) => false,
            Self::Database(_) => self.code().is_some_and(|code| {
                [
                    SqlState::INVALID_PASSWORD,
                    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                    SqlState::INVALID_CATALOG_NAME,
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    SqlState::UNDEFINED_TABLE,
                    SqlState::INVALID_SCHEMA_NAME,
                ]
                .contains(code)
            }),
        }
    }

    /// Whether a value in the batch, not the server, is at fault: class 22 (data) or 23
    /// (constraints).
    pub fn is_bad_value(&self) -> bool {
        self.code()
            .is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
    }

    /// Whether something that is stored, not the server, is at fault, so that trying the same again
    /// fails again: a bad value, data that are damaged, or a value that cannot be had as what it
    /// should be.
    pub fn is_of_a_row(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let damaged = [
            SqlState::DATA_CORRUPTED,
            SqlState::INDEX_CORRUPTED,
            // An infinite number where a finite one is wanted.
            SqlState::FEATURE_NOT_SUPPORTED,
        ];
        self.is_bad_value()
            || error.code().is_some_and(|code| damaged.contains(code))
            || error.source().is_some_and(|cause| cause.is::<WasNull>() || cause.is::<Utf8Error>())
    }

    /// What to do next, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        let code = self.code()?;
        Some(match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "check user and password of the connection string, and pg_hba.conf of the server"
            }
            SqlState::INVALID_CATALOG_NAME => {
                "create the database, or correct its name in the connection string"
            }
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "grant the user the role it needs: outbox_daemon for 'run', outbox_admin for the \
                 other commands; 'outboxd doctor' lists what is missing"
            }
            SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => "run 'outboxd migrate'",
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "this server is read-only, perhaps a standby: connect to the primary, or list all \
                 hosts with target_session_attrs=read-write"
            }
            SqlState::TOO_MANY_CONNECTIONS => {
                "raise max_connections of the server or lower database.pool_size"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(text) | Self::Tls(text) | Self::Unfit(text) => f.write_str(text)?,
            Self::Silent(limit) => write!(f, "no answer within {limit:?}")?,
            Self::Database(error) => {
                if let Some(db) = error.as_db_error() {
                    write!(f, "{} (SQLSTATE {})", db.message(), db.code().code())?;
                    if let Some(hint) = db.hint() {
                        write!(f, "; {hint}")?;
                    }
                } else {
                    // Its own text omits the cause.
                    write!(f, "{error}")?;
                    let mut cause = error.source();
                    while let Some(inner) = cause {
                        write!(f, ": {inner}")?;
                        cause = inner.source();
                    }
                }
            }
        }
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Database(error),
            PoolError::Timeout(TimeoutType::Create) => {
                Self::Pool("no database server answered in time".to_owned())
            }
            PoolError::Timeout(_) => Self::Pool(
                "no database connection came free in time; raise database.pool_size if this stays"
                    .to_owned(),
            ),
            other => Self::Pool(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_their_code() {
        for (code, kind) in [
            ("57014", "timeout"),
            ("57P01", "connection"),
            ("08006", "connection"),
            ("40P01", "conflict"),
            ("55P03", "conflict"),
            ("25006", "read_only"),
            ("53100", "resources"),
            ("42501", "privilege"),
            ("28P01", "privilege"),
            ("22P05", "data"),
            ("42P01", "other"),
        ] {
            assert_eq!(Kind::NAMES[Kind::of_code(code) as usize], kind, "{code}");
        }
        assert_eq!(StoreError::Silent(Duration::ZERO).kind(), Kind::Timeout);
        assert_eq!(Kind::NAMES[Kind::Other as usize], "other");
    }
}
