//! What people ask of the database: reading for lists and tables, and the functions of the schema.
//!
//! Every statement takes texts, which it casts itself, and gives rows as JSON objects with their
//! columns in order: whoever prints or serves them need not know the columns. To add one, add a
//! file to `sql/` and a [`Query`] here.

use serde_json::{Map, Value};
use tokio_postgres::types::{ToSql, Type};

use super::error::StoreError;
use super::secrets::Stored;
use super::{Opening, Param, Store, Transaction};

/// How transactions begin that people wait for: durable, planned freely, with times in UTC. The
/// time limit leaves room for replaying some hundred thousand deliveries.
const MANAGE: Opening = opening!(
    305,
    "statement_timeout = '5min'",
    "lock_timeout = '10s'",
    "jit = off",
    "timezone = 'UTC'"
);

/// One row: names and values, in the order of the columns.
pub type Record = Map<String, Value>;

/// A statement of `sql/`; its file says what it does and what its parameters are.
#[derive(Clone, Copy, Debug)]
pub struct Query(&'static str);

macro_rules! queries {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* pub const $name: Query = Query(include_str!(concat!("../../sql/", $file)));)*

        #[cfg(test)]
        const ALL: &[(&str, Query)] = &[$(($file, $name)),*];
    };
}

queries! {
    /// Endpoints: `state`, `tenant`, `limit`.
    ENDPOINT_LIST = "endpoint_list.sql";
    /// One endpoint with its health: `endpoint`.
    ENDPOINT_SHOW = "endpoint_show.sql";
    /// What decides whether an endpoint is valid: `endpoint`.
    ENDPOINT_DEFINITION = "endpoint_definition.sql";
    /// Changes columns of an endpoint: `endpoint`, `columns`.
    ENDPOINT_CHANGE = "endpoint_change.sql";
    /// Removes an endpoint: `endpoint`.
    ENDPOINT_REMOVE = "endpoint_remove.sql";
    /// Pauses an endpoint: `endpoint`, `reason`.
    ENDPOINT_PAUSE = "endpoint_pause.sql";
    /// Resumes an endpoint: `endpoint`.
    ENDPOINT_RESUME = "endpoint_resume.sql";
    /// Gives an endpoint a new secret: `endpoint`, `secret`, `overlap`.
    ENDPOINT_ROTATE_SECRET = "endpoint_rotate_secret.sql";
    /// Gives a tenant a new secret: `tenant`, `secret`, `overlap`.
    TENANT_SET_SECRET = "tenant_set_secret.sql";
    /// All secrets, without what is secret: `limit`.
    SECRET_LIST = "secret_list.sql";
    /// Sends a test event: `endpoint`, `sample`.
    ENDPOINT_TEST = "endpoint_test.sql";
    /// How many daemons run: one row.
    DAEMONS_ALIVE = "daemons_alive.sql";
    /// Events: `type`, `tenant`, `since`, `limit`.
    EVENT_LIST = "event_list.sql";
    /// One event: `event`.
    EVENT_SHOW = "event_show.sql";
    /// The payload of an event: `event`.
    EVENT_PAYLOAD = "event_payload.sql";
    /// Events in quarantine: `type`, `tenant`, `since`, `limit`.
    EVENT_LIST_QUARANTINED = "event_list_quarantined.sql";
    /// Delivers an event in quarantine: `event`.
    EVENT_RELEASE = "event_release.sql";
    /// Ends a quarantine without delivering: `event`.
    EVENT_DISCARD = "event_discard.sql";
    /// The catalogue of event types: `limit`.
    EVENT_TYPE_LIST = "event_type_list.sql";
    /// One event type: `type`.
    EVENT_TYPE_SHOW = "event_type_show.sql";
    /// Adds and replaces event types: a JSON array.
    EVENT_TYPE_IMPORT = "event_type_import.sql";
    /// Inserts an event: `type`, `payload`, `id`, `tenant`, `live`, `key`, `deliver_after`.
    EVENT_EMIT = "event_emit.sql";
    /// Deliveries: `status`, `endpoint`, `event`, `limit`.
    DELIVERY_LIST = "delivery_list.sql";
    /// The same of the newest events only, without a scan of history.
    DELIVERY_LIST_RECENT = "delivery_list_recent.sql";
    /// One delivery: `event`, `endpoint`.
    DELIVERY_SHOW = "delivery_show.sql";
    /// Attempts: `event`, `endpoint id`.
    ATTEMPT_LIST = "attempt_list.sql";
    /// Replays a delivery: `event`, `endpoint`.
    DELIVERY_REPLAY = "delivery_replay.sql";
    /// Replays what failed for good: `endpoint`, `since`, `until`.
    DELIVERY_REPLAY_FAILED = "delivery_replay_failed.sql";
    /// Cancels a delivery: `event`, `endpoint`.
    DELIVERY_CANCEL = "delivery_cancel.sql";
    /// What is held since a backup was restored.
    HOLD_SHOW = "hold_show.sql";
    /// Holds what is due and older: `interval`.
    HOLD_START = "hold_start.sql";
    /// Delivers what is held.
    HOLD_RELEASE = "hold_release.sql";
    /// Cancels what is held.
    HOLD_CANCEL = "hold_cancel.sql";
    /// A time by the clock of the database: `interval`.
    MOMENT = "moment.sql";
}

/// What somebody who subscribes knows of the endpoint's secret.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// It is this one, which takes the place of those that there are.
    Given(&'a Stored),
    /// It may be this generated one: used for a new endpoint whose tenant has none.
    Generated(&'a Stored),
    /// It is this generated one, for a new endpoint, whatever its tenant has.
    Own(&'a Stored),
}

const ENDPOINT_SUBSCRIBE: Query = Query(include_str!("../../sql/endpoint_subscribe.sql"));
const ENDPOINT_OWN_SECRET: Query = Query(include_str!("../../sql/endpoint_own_secret.sql"));
const ENDPOINT_UNSEEN_SECRET: Query = Query(include_str!("../../sql/endpoint_unseen_secret.sql"));
const SECRET_PUBLIC_KEY: Query = Query(include_str!("../../sql/secret_public_key.sql"));
const ENDPOINT_SUBSCRIBED: Query = Query(include_str!("../../sql/endpoint_subscribed.sql"));

impl Store {
    /// Refuses a database whose schema is not the one this binary works with.
    ///
    /// # Errors
    /// What is wrong, with the command that mends it; or that the database cannot be asked.
    pub async fn require_schema(&self) -> Result<(), StoreError> {
        self.schema_state()
            .await?
            .problem()
            .map_or(Ok(()), |problem| Err(StoreError::Unfit(problem)))
    }

    /// Executes a statement in a transaction of its own.
    ///
    /// # Errors
    /// What the database refuses, in its words.
    pub async fn rows(
        &self,
        query: Query,
        params: &[Option<&str>],
    ) -> Result<Vec<Record>, StoreError> {
        let rows = self.begin(MANAGE).await?.last(&query.as_json(), &typed(params)).await?;
        records(&rows)
    }

    /// Executes a statement as [`Store::rows`] does and undoes it: what would come of it.
    ///
    /// # Errors
    /// What the database refuses, in its words.
    pub async fn rehearse(
        &self,
        query: Query,
        params: &[Option<&str>],
    ) -> Result<Vec<Record>, StoreError> {
        let mut transaction = self.begin(MANAGE).await?;
        let rows = transaction.query(&query.as_json(), &typed(params)).await?;
        transaction.rollback().await?;
        records(&rows)
    }

    /// Creates an endpoint, or updates the one that the tenant has for the URL: a JSON object with
    /// columns of `outbox.endpoints`, and its secret. Gives `id`, `name`, `created`, and
    /// `secret_used`: whether the secret became one of the endpoint's.
    ///
    /// # Errors
    /// What the database refuses, in its words.
    pub async fn subscribe(&self, columns: &str, choice: Choice<'_>) -> Result<Record, StoreError> {
        let mut transaction = self.begin(MANAGE).await?;
        let (given, stored) = match choice {
            Choice::Given(stored) => (Some(&*stored.text), stored),
            Choice::Generated(stored) | Choice::Own(stored) => (None, stored),
        };
        let subscribed = transaction.records(ENDPOINT_SUBSCRIBE, &[Some(columns), given]).await?;
        let id = subscribed.first().and_then(|row| row.get("id")).and_then(Value::as_str);
        // The function knows the columns of the simplest subscription only.
        transaction.records(ENDPOINT_CHANGE, &[id, Some(columns)]).await?;
        let subscribed = transaction.records(ENDPOINT_SUBSCRIBED, &[id]).await?;
        let mut subscribed = subscribed.into_iter().next().unwrap_or_default();
        let mut used = given.is_some();
        if given.is_none() && subscribed.get("created") == Some(&Value::Bool(true)) {
            let unseen = transaction.records(ENDPOINT_UNSEEN_SECRET, &[id]).await?;
            used = !unseen.is_empty() || matches!(choice, Choice::Own(_));
            if used {
                let params = [id, Some(&*stored.text)];
                transaction.records(ENDPOINT_OWN_SECRET, &params).await?;
            }
        }
        if used {
            transaction.note_public_key(stored).await?;
        }
        transaction.commit().await?;
        subscribed.insert("secret_used".to_owned(), used.into());
        Ok(subscribed)
    }

    /// Makes a secret the newest of an endpoint ([`ENDPOINT_ROTATE_SECRET`]) or of a tenant
    /// ([`TENANT_SET_SECRET`]); the others sign too until the overlap, an interval, ends.
    ///
    /// # Errors
    /// What the database refuses, in its words.
    pub async fn replace_secret(
        &self,
        query: Query,
        owner: &str,
        secret: &Stored,
        overlap: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin(MANAGE).await?;
        transaction.records(query, &[Some(owner), Some(&secret.text), Some(overlap)]).await?;
        transaction.note_public_key(secret).await?;
        transaction.commit().await
    }
}

impl Transaction {
    async fn note_public_key(&mut self, secret: &Stored) -> Result<(), StoreError> {
        if let Some(public) = &secret.public_key {
            self.records(SECRET_PUBLIC_KEY, &[Some(&secret.text), Some(public)]).await?;
        }
        Ok(())
    }

    async fn records(
        &mut self,
        query: Query,
        params: &[Option<&str>],
    ) -> Result<Vec<Record>, StoreError> {
        records(&self.query(&query.as_json(), &typed(params)).await?)
    }
}

impl Query {
    /// A statement of another file of the store.
    pub(super) const fn new(sql: &'static str) -> Self {
        Self(sql)
    }

    /// A `WITH`, because unlike a subquery it may also change something.
    fn as_json(self) -> String {
        format!("WITH t AS (\n{}\n) SELECT to_json(t)::text FROM t", self.0.trim_end())
    }
}

fn typed<'a>(params: &'a [Option<&'a str>]) -> Vec<Param<'a>> {
    params.iter().map(|param| (param as &(dyn ToSql + Sync), Type::TEXT)).collect()
}

fn records(rows: &[tokio_postgres::Row]) -> Result<Vec<Record>, StoreError> {
    let record = |row: &tokio_postgres::Row| {
        let unreadable = |error| StoreError::Unfit(format!("a row cannot be read: {error}"));
        serde_json::from_str(row.try_get(0)?).map_err(unreadable)
    };
    rows.iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{ConnectionString, Secrets};
    use crate::throwaway::{Cluster, Options};

    fn store(url: &str) -> Store {
        let connection = ConnectionString::parse(url, &BTreeMap::new()).expect("a URL");
        Store::new(&connection, 2).expect("a pool")
    }

    /// A cluster with the schema, and its database as somebody who has only `outbox_admin`.
    async fn administered() -> (Cluster, Store) {
        let cluster = Cluster::start(Options::default()).expect("a cluster");
        let owner = store(&cluster.url("postgres"));
        let missing = owner.require_schema().await.expect_err("no schema yet");
        assert!(missing.to_string().contains("outboxd migrate"), "{missing}");
        owner.migrate().await.expect("a schema");
        let role = "CREATE ROLE boss LOGIN IN ROLE outbox_admin";
        owner.begin(MANAGE).await.expect("a connection").last(role, &[]).await.expect("a role");
        let boss = store(&cluster.url("postgres").replace("postgres@", "boss@"));
        boss.require_schema().await.expect("the schema");
        (cluster, boss)
    }

    #[tokio::test]
    async fn every_statement_is_one_and_an_administrator_may_execute_it() {
        let (_cluster, boss) = administered().await;
        for (file, query) in ALL {
            let count = (1..9).filter(|n| query.0.contains(&format!("${n}"))).count();
            assert!(
                query.0.starts_with(&format!("-- {}: ", file.trim_end_matches(".sql"))),
                "{file}"
            );
            if let Err(error) = boss.rehearse(*query, &vec![None; count]).await {
                // What is null here is refused where it has to be there.
                let code = error.code().map_or("", |code| code.code());
                assert!(["P0002", "23502", "42P13"].contains(&code), "{file}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn a_subscription_takes_every_column_and_a_new_endpoint_the_secret() {
        let (_cluster, boss) = administered().await;
        let columns = r#"{"url":"https://example.com/","name":"acme","timeout":"90000ms",
            "headers":{"X-B":"1","X-A":"2"},"events":["a.b","c.*"],"live":false}"#;
        let stored = Stored::new("whsec_x", &Secrets::default()).expect("a plain secret");
        let choice = Choice::Generated(&stored);
        let added = boss.subscribe(columns, choice).await.expect("an endpoint");
        assert_eq!((&added["created"], &added["secret_used"]), (&true.into(), &true.into()));

        let again = boss.subscribe(columns, choice).await.expect("the same endpoint");
        assert_eq!((&again["id"], &again["created"]), (&added["id"], &Value::Bool(false)));
        assert_eq!(again["secret_used"], false);

        let change = Some(r#"{"retry":"1m","live":null}"#);
        boss.rows(ENDPOINT_CHANGE, &[Some("acme"), change]).await.expect("a change");
        let shown = boss.rows(ENDPOINT_SHOW, &[Some("acme")]).await.expect("the endpoint");
        let show = |column: &str| shown[0][column].to_string();
        assert_eq!(show("timeout_ms"), "90000");
        assert_eq!(show("headers"), r#"["X-B","X-A"]"#);
        assert_eq!(show("events"), r#"["a.b","c.*"]"#);
        assert_eq!((show("retry"), show("live")), (r#""1m""#.to_owned(), "null".to_owned()));
        assert!(show("created_at").ends_with("+00:00\""));
    }
}
