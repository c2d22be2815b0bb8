//! What daemons of two versions do on one database, and which changes of the schema they bear.
//!
//! `OUTBOXD_TEST_OLD_BIN` names the program of an earlier release; without it the one under test plays both.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outboxd::store::migrate::SCHEMA_VERSION;

use crate::crash::{arrivals, unrecorded};
use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::Receiver;

fn old() -> PathBuf {
    let own = || env!("CARGO_BIN_EXE_outboxd").into();
    std::env::var_os("OUTBOXD_TEST_OLD_BIN").map_or_else(own, PathBuf::from)
}

/// A migration that takes nothing away, as the rules in docs/upgrading.md have them.
fn expansion() -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout = '5s'; \
         CREATE TABLE outbox.notes (event_seq bigint PRIMARY KEY, note text); \
         ALTER TABLE outbox.events ADD COLUMN origin text; \
         ALTER TABLE outbox.queue ADD COLUMN origin text; \
         ALTER TABLE outbox.work ADD COLUMN weight int NOT NULL DEFAULT 1; \
         ALTER TABLE outbox.history ADD COLUMN trace text; \
         ALTER TABLE outbox.endpoints ADD COLUMN colour text; \
         CREATE INDEX work_weight ON outbox.work (weight) WHERE weight > 1; \
         INSERT INTO outbox.migrations (version, name) VALUES ({}, 'expansion'); COMMIT",
        SCHEMA_VERSION + 1
    )
}

/// One that takes away what the first needs.
fn contraction() -> String {
    format!(
        "INSERT INTO outbox.migrations (version, name, oldest_daemon) VALUES ({0}, 'contraction', {0})",
        SCHEMA_VERSION + 1
    )
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn migrate(program: &std::path::Path, database: &Database) -> Output {
    let output = harness::program(program, &database.url, &[]).arg("migrate").output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn one_version_after_the_other_takes_over_and_nothing_is_lost_or_repeated() {
    let (database, receiver) = (Database::empty().await, Receiver::start());
    let (old, new) = (old(), PathBuf::from(env!("CARGO_BIN_EXE_outboxd")));
    migrate(&old, &database);
    database.subscribe("one", &receiver.url("/")).await;
    let producer = Database::at(database.url.clone()).await;
    let enough = Arc::new(AtomicBool::new(false));
    let produced = enough.clone();
    let producer = tokio::spawn(async move {
        let mut count = 0;
        while !produced.load(Ordering::Relaxed) {
            producer.insert_many("a", 10).await;
            count += 10;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        count
    });
    let start = |program| Process::start_program(program, &database.url, &[], &[]);
    let seen = async |more: usize| receiver.wait_for(receiver.requests().len() + more).await.len();
    let first = start(&old);
    first.wait_until_ready().await;
    seen(100).await;
    // The new program brings the schema up while the old daemon runs; and beyond, to what neither knows.
    migrate(&new, &database);
    database.execute(&expansion()).await;
    seen(100).await;
    let second = start(&new);
    second.wait_until_ready().await;
    seen(100).await;
    assert_eq!(first.terminate().await, Some(0));
    seen(100).await;
    // And back, as long as nothing has been taken away.
    let third = start(&old);
    third.wait_until_ready().await;
    assert_eq!(second.terminate().await, Some(0));
    seen(100).await;
    enough.store(true, Ordering::Relaxed);
    let count = producer.await.expect("no panic");
    database.wait_until_idle().await;
    assert_eq!(third.terminate().await, Some(0));
    let arrived = arrivals(&receiver);
    assert_eq!((arrived.len(), receiver.requests().len()), (count, count), "each once");
    assert_eq!(unrecorded(&database, &arrived).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_daemon_needs_is_not_taken_away_under_it() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    let refused = database.try_execute(&contraction()).await.expect_err("it is refused");
    let refused = refused.as_db_error().expect("by the database").message().to_owned();
    let process = format!("process {}", std::process::id());
    assert!(refused.contains("takes away") && refused.contains(&process), "{refused}");
    daemon.stop().await.expect("an orderly end");
    database.execute(&contraction()).await;
    for command in ["run", "migrate", "stats"] {
        let output = harness::outboxd(&database.url, &[]).arg(command).output().expect("it runs");
        assert_eq!(output.status.code(), Some(69), "{command}: {}", said(&output));
        assert!(said(&output).contains("too new"), "{command}: {}", said(&output));
    }
    assert_eq!(database.text("SELECT count(*) FROM outbox.instances").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_away_when_the_schema_left_it_behind_does_not_come_back() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    // It has not been heard of for long, and is cut off.
    database
        .execute(&format!(
            "BEGIN; LOCK TABLE outbox.instances; \
             UPDATE outbox.instances SET seen_at = now() - interval '2 minutes'; {}; COMMIT; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            contraction()
        ))
        .await;
    let told = async || {
        let (status, why) = daemon.get("/readyz").await;
        status == 503 && why.contains("too new for this outboxd")
    };
    while !told().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.insert_many("a", 5).await;
    database.execute("DELETE FROM outbox.migrations WHERE name = 'contraction'").await;
    daemon.wait_until_ready().await;
    database.wait_until_idle().await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_doctor_say_which_versions_meet() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    database.execute("UPDATE outbox.instances SET made_for = made_for - 1").await;
    let new = PathBuf::from(env!("CARGO_BIN_EXE_outboxd"));
    let older = said(&migrate(&new, &database));
    let process = format!("process {}", std::process::id());
    assert!(
        older.contains("still running an older version") && older.contains(&process),
        "{older}"
    );
    database.execute(&expansion()).await;
    let expanded = said(&migrate(&new, &database));
    let newer = format!("version {}, newer than the {SCHEMA_VERSION}", SCHEMA_VERSION + 1);
    assert!(expanded.contains(&newer), "{expanded}");
    let doctor = harness::outboxd(&database.url, &[]).arg("doctor").output().expect("it runs");
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let line = format!("OK    schema: version {}", SCHEMA_VERSION + 1);
    assert!(doctor.contains(&line), "{doctor}");
    daemon.stop().await.expect("an orderly end");
}
