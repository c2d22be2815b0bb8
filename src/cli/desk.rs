//! The database as the commands that manage it use it: what it refuses is a [`Failure`], and times
//! are by its clock.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Global;
use crate::cli::failure::{Code, Failure};
use crate::cli::output::Row;
use crate::config::{Config, Storage, duration};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::manage::{Choice, MOMENT, Query};
use crate::store::overview::Overview;
use crate::store::secrets::{Rewrapped, Stored};

/// The SQLSTATE of a value that is there already.
const UNIQUE_VIOLATION: &str = "23505";

/// A database with the right schema, and the configuration that named it.
pub struct Desk {
    /// The configuration.
    pub config: Config,
    store: Store,
}

/// A time on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So far from now, such as `1h`.
    Away(Duration),
    /// A time as Postgres reads it, UTC where it does not say.
    At(String),
}

/// How many rows of a list are wanted.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Limit {
    /// Print at most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
}

impl Desk {
    /// Reads the configuration, and looks at the schema before anything else does.
    ///
    /// # Errors
    /// Of the configuration, of the connection, or that the schema is another one.
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        let (config, store) = global.database()?;
        let desk = Self { config, store };
        desk.store.require_schema().await.map_err(|error| desk.failure(&error))?;
        Ok(desk)
    }

    /// All rows of a statement.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn rows(&self, query: Query, params: &[Option<&str>]) -> Result<Vec<Row>, Failure> {
        self.store.rows(query, params).await.map_err(|error| self.failure(&error))
    }

    /// The first row of a statement; an empty one when there is none.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn row(&self, query: Query, params: &[Option<&str>]) -> Result<Row, Failure> {
        Ok(self.rows(query, params).await?.into_iter().next().unwrap_or_default())
    }

    /// The only value of a statement.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn value(&self, query: Query, params: &[Option<&str>]) -> Result<Value, Failure> {
        Ok(only_value(self.row(query, params).await?))
    }

    /// The only value that a statement would give, without what it would do.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn rehearse(&self, query: Query, params: &[Option<&str>]) -> Result<Value, Failure> {
        let rows = self.rehearse_rows(query, params).await?;
        Ok(rows.into_iter().next().map(only_value).unwrap_or_default())
    }

    /// All rows that a statement would give, without what it would do.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn rehearse_rows(
        &self,
        query: Query,
        params: &[Option<&str>],
    ) -> Result<Vec<Row>, Failure> {
        self.store.rehearse(query, params).await.map_err(|error| self.failure(&error))
    }

    /// See [`Store::overview`].
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn overview(&self) -> Result<Overview, Failure> {
        self.store.overview().await.map_err(|error| self.failure(&error))
    }

    /// Which database it is, for people.
    pub fn target(&self) -> String {
        self.store.target()
    }

    /// The first rows of a list; when there are more, stderr says so. The statements' last
    /// parameter, which is added here, is how many. Of several statements, those before the last
    /// may look at the newest rows only, and count when they fill the list.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn list(
        &self,
        queries: &[Query],
        params: &[Option<&str>],
        Limit { limit }: Limit,
    ) -> Result<Vec<Row>, Failure> {
        let one_more = (u64::from(limit) + 1).to_string();
        let params: Vec<Option<&str>> = params.iter().copied().chain([Some(&*one_more)]).collect();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        for query in queries {
            rows = self.rows(*query, &params).await?;
            if rows.len() > limit {
                rows.truncate(limit);
                eprintln!("only the first {limit} are shown; see more with --limit");
                break;
            }
        }
        Ok(rows)
    }

    /// See [`Store::subscribe`].
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn subscribe(&self, columns: &str, choice: Choice<'_>) -> Result<Row, Failure> {
        self.store.subscribe(columns, choice).await.map_err(|error| self.failure(&error))
    }

    /// See [`Store::replace_secret`].
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn replace_secret(
        &self,
        query: Query,
        owner: &str,
        secret: &Stored,
        overlap: Duration,
    ) -> Result<(), Failure> {
        let overlap = format!("{} milliseconds", overlap.as_millis());
        let replaced = self.store.replace_secret(query, owner, secret, &overlap).await;
        replaced.map_err(|error| self.failure(&error))
    }

    /// See [`Store::rewrap`].
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn rewrap(&self, rehearse: bool) -> Result<Rewrapped, Failure> {
        let rewrapped = self.store.rewrap(&self.config.secrets.keyring, rehearse).await;
        rewrapped.map_err(|error| self.failure(&error))
    }

    /// A secret in the form that the configuration stores it in. Without a master key here, in a
    /// database where others are sealed, stderr says that it is written plain.
    ///
    /// # Errors
    /// It cannot be sealed; or what the database refuses.
    pub async fn stored(&self, plain: &str) -> Result<Stored, Failure> {
        let secrets = &self.config.secrets;
        let stored = Stored::new(plain, secrets);
        let stored = stored.map_err(|error| Failure {
            code: Code::Configuration,
            message: format!("the secret cannot be encrypted: {error}"),
        })?;
        if secrets.storage == Storage::PlainByDefault {
            let at_rest = self.store.secrets_at_rest().await;
            let at_rest = at_rest.map_err(|error| self.failure(&error))?;
            if at_rest.iter().any(|row| row.get("key").is_some_and(Value::is_string)) {
                eprintln!(
                    "other secrets are encrypted here, and this configuration has no \
                     secrets.master_key_file: this one is written in plain text, until a daemon \
                     that has the key encrypts it"
                );
            }
        }
        Ok(stored)
    }

    /// The time that was, for an option such as `--since`.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn past(&self, when: Option<&When>) -> Result<Option<String>, Failure> {
        self.moment(when, "-").await
    }

    /// The time that will be, for an option such as `--deliver-after`.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn future(&self, when: Option<&When>) -> Result<Option<String>, Failure> {
        self.moment(when, "").await
    }

    async fn moment(&self, when: Option<&When>, sign: &str) -> Result<Option<String>, Failure> {
        match when {
            None => Ok(None),
            Some(When::At(text)) => Ok(Some(text.clone())),
            Some(When::Away(duration)) => {
                let interval = format!("{sign}{} milliseconds", duration.as_millis());
                let moment = self.value(MOMENT, &[Some(&interval)]).await?;
                Ok(moment.as_str().map(str::to_owned))
            }
        }
    }

    fn failure(&self, error: &StoreError) -> Failure {
        let is_taken = error.code().is_some_and(|code| code.code() == UNIQUE_VIOLATION);
        // The only unique value that people choose.
        if is_taken && error.to_string().contains("endpoints_name_key") {
            return Failure::failed("another endpoint has that name; choose another with --name");
        }
        Failure::database(&self.store.target(), error)
    }
}

impl FromStr for When {
    type Err = Infallible;

    /// What is no duration is for the database to judge.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(duration::parse(text).map_or_else(|_| Self::At(text.to_owned()), Self::Away))
    }
}

fn only_value(row: Row) -> Value {
    row.into_iter().next().map(|(_, value)| value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_duration_or_left_to_the_database() {
        let hour = Duration::from_secs(3_600);
        assert_eq!("1h".parse(), Ok(When::Away(hour)));
        assert_eq!("2025-11-22".parse(), Ok(When::At("2025-11-22".to_owned())));
    }
}
