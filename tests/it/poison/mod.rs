//! What bad rows, bad defaults and vandals come to: a state with a name, and the rest flows.
//!
//! | # | the fault | where it is tested |
//! |---|---|---|
//! | 1 | invalid JSON | `poison::rows::what_is_no_json_and_what_is_too_deep_is_refused_at_the_insert` |
//! | 2 | `\u0000`, lone surrogates | `poison::rows::payloads_that_choke_parsers_arrive_byte_for_byte` |
//! | 3 | JSON of depth 6,000 and 50,000 | `poison::rows::payloads_that_choke_parsers_arrive_byte_for_byte`, `poison::rows::what_is_no_json_and_what_is_too_deep_is_refused_at_the_insert` |
//! | 4 | numbers that no number type holds | `poison::rows::payloads_that_choke_parsers_arrive_byte_for_byte` |
//! | 5 | payloads too large | `schema::bad_events_are_refused_at_the_insert`, `poison::rows::payloads_beyond_the_check_are_sent_up_to_16_mib_and_ended_by_name_above` |
//! | 6 | odd event types | `schema::bad_events_are_refused_at_the_insert`, `poison::rows::types_tenants_and_ids_that_no_check_looked_at_are_delivered_or_ended_by_name` |
//! | 7 | an id again | `schema::emitting_an_id_again_changes_nothing`, `poison::vandals::a_hundred_writers_of_one_id_make_one_event` |
//! | 8 | times that no clock shows | `poison::rows::times_that_no_clock_shows_end_in_quarantine_or_are_delivered` |
//! | 9 | `deliver_after` past, future, far | `fan_out::deliver_after_is_waited_for`, `poison::rows::times_that_no_clock_shows_end_in_quarantine_or_are_delivered` |
//! | 10 | a million events in one transaction | `fan_out::a_large_transaction_does_not_hold_up_the_others`; the scenario bulk of the load tests |
//! | 11 | low numbers that commit late | `fan_out::an_early_number_that_commits_late_does_not_wait` |
//! | 12 | rollbacks | `fan_out::what_was_rolled_back_is_never_sent` |
//! | 13 | a prepared transaction | `poison::open::a_prepared_transaction_is_invisible_shows_as_a_holder_and_is_delivered_once_committed` |
//! | 14 | foreign snapshots, stuck slots | `poison::open::a_foreign_snapshot_and_a_stuck_slot_show_as_holders_and_deliveries_flow_on` |
//! | 15 | one event for 10,000 endpoints | `poison::vandals::one_event_for_ten_thousand_endpoints_is_complete_after_a_kill_in_the_middle` |
//! | 16 | endpoints edited meanwhile | `catalogue::endpoints_that_change_all_the_time_do_not_starve_events`, `catalogue::an_open_transaction_that_changes_endpoints_holds_up_nobody` |
//! | 17 | endpoints that go meanwhile | `manage::removing_an_endpoint_cancels_what_it_is_owed_and_keeps_its_history`, `retry::gone_disables_the_endpoint_and_what_it_was_owed_can_be_replayed`, `manage::cancelling_ends_a_pending_delivery_and_one_in_flight` |
//! | 18 | bad endpoints by SQL | `poison::crowd::sixty_bad_endpoints_among_a_thousand_are_named_and_wait_until_they_are_mended`, `send::static_headers_go_along_and_bad_ones_make_the_endpoint_invalid` |
//! | 19 | patterns | the unit tests of `src/matching.rs`; the fuzz target `fuzz/targets/patterns.rs` |
//! | 20 | TRUNCATE, DELETE, UPDATE by people | `poison::vandals::a_vandal_costs_what_is_destroyed_and_the_daemons_go_on` |
//! | 21 | a restored backup | `poison::restored::what_waited_in_a_restored_backup_is_held_until_somebody_decides`, `poison::restored::a_daemon_that_ran_all_the_while_knows_an_older_state_of_its_database`, `poison::restored::only_an_old_trace_somewhere_else_makes_a_restored_backup` |
//! | 22 | missing rights | `rights::each_right_the_daemon_lacks_is_named_with_the_grant_that_mends_it`, `rights::a_daemon_that_lacks_a_right_ends_with_the_grant_and_tries_nothing` |
//! | 23 | another schema | `schema::run_refuses_another_schema_with_the_command_to_run` |
//! | 24 | read-only, a standby | `poison::defaults::a_role_that_may_only_read_is_waited_for_and_says_so`, `standby::a_promotion_is_followed_and_loses_nothing` |
//! | 25 | a restart, a crash | `crash::a_restart_of_the_database_is_waited_out`; the scenario crashes of the load tests |
//! | 26 | a failover | `standby::a_promotion_is_followed_and_loses_nothing`; the scenario promotions of the load tests |
//! | 27 | a full disk | `disk::a_full_disk_stops_the_requests_and_room_lets_them_go_on` |
//! | 28 | no free connection | `poison::limits::a_server_without_a_free_connection_is_waited_for_and_named`, `outage::a_server_without_a_free_connection_is_waited_for` |
//! | 29 | time limits of others | `poison::defaults::a_daemon_whose_role_has_hostile_defaults_delivers_all_the_same`, `outage::statements_that_are_cancelled_are_made_again` |
//! | 30 | deadlocks, `serializable` | `poison::vandals::a_vandal_costs_what_is_destroyed_and_the_daemons_go_on`, `poison::defaults::a_daemon_whose_role_has_hostile_defaults_delivers_all_the_same` |
//! | 31 | clocks that differ | `poison::limits::the_clock_of_this_host_schedules_nothing` |
//! | 32 | a pooler in transaction mode | `pooler::events_go_from_the_command_line_to_verified_deliveries`, `pooler::two_daemons_share_the_work_and_nothing_arrives_twice`, `pooler::a_pooler_that_dies_and_comes_back_is_waited_for` |
//! | 33 | another encoding, traps in `public` | `poison::defaults::a_database_in_another_encoding_is_refused_by_name`, `poison::defaults::a_schema_that_is_created_among_traps_is_bound_to_none_of_them` |

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Database, TestDaemon};
use crate::receiver::Receiver;

/// Bad endpoints among many good ones.
mod crowd;
/// Stored data that cannot be read, or that the database refuses to work with.
mod damage;
/// Roles and databases whose settings are hostile, and what can be looked up in `public`.
mod defaults;
/// What a server has no room for, and whose clock decides.
mod limits;
/// What others leave open: transactions that nobody ends, snapshots, replication slots.
mod open;
/// Replies with every byte there is.
mod replies;
/// A backup that was restored: what waited in it is not sent again unasked.
mod restored;
/// Rows with values that no schema of ours would have let in, and those it lets in.
mod rows;
/// People and processes that change what the daemon works on.
mod vandals;

/// How long a good event beside bad ones takes at most; mostly it takes milliseconds.
const PROMPT: Duration = Duration::from_secs(5);

/// How an event stands, whatever became of it: its status or `quarantined`, and what was said of it.
async fn state(database: &Database, event: &str) -> String {
    database.text(&state_sql(event)).await
}

fn state_sql(event: &str) -> String {
    format!(
        "SELECT coalesce(
            (SELECT 'quarantined: ' || reason FROM outbox.quarantined_events WHERE event_id = '{event}'),
            (SELECT string_agg(d.status || coalesce(': ' || (
                 SELECT a.error FROM outbox.attempts a
                 WHERE a.event_id = d.event_id AND a.endpoint_id = d.endpoint_id AND a.error IS NOT NULL
                 ORDER BY a.attempt DESC LIMIT 1), ''), ', ' ORDER BY d.endpoint_name)
             FROM outbox.deliveries d WHERE d.event_id = '{event}'),
            'nothing')"
    )
}

/// Waits until the state of an event begins so, and returns all of it.
async fn wait_for_state(database: &Database, event: &str, beginning: &str) -> String {
    let sql = format!("SELECT left(({}), {})", state_sql(event), beginning.len());
    database.wait_for(&sql, beginning).await;
    state(database, event).await
}

/// That the rest flows: a good event arrives at once, everywhere.
async fn flows(database: &Database, receiver: &Receiver, at: &[&str]) {
    let started = Instant::now();
    let event = database.emit("good", "{\"good\":true}").await;
    receiver
        .wait_until(|requests| {
            at.iter().all(|path| {
                requests.iter().any(|request| {
                    request.path == *path && request.header("webhook-id") == Some(&event)
                })
            })
        })
        .await;
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

/// A database with an endpoint for everything, its receiver and a daemon.
async fn scene(settings: &[(&str, &str)]) -> (Database, Receiver, TestDaemon) {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, settings).await;
    flows(&database, &receiver, &["/"]).await;
    (database, receiver, daemon)
}

#[test]
fn the_table_has_all_rows_and_names_tests_that_there_are() {
    let table: Vec<&str> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1)
        .collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for (row, number) in table.iter().zip(1..) {
        assert!(row.starts_with(&format!("{number} | ")), "row {number}: {row}");
        let named = row.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        for name in named {
            let (module, test) = name.rsplit_once("::").expect("a module and a test");
            let file = tests.join(module.replace("::", "/"));
            let text = [file.with_extension("rs"), file.join("mod.rs")]
                .iter()
                .find_map(|file| std::fs::read_to_string(file).ok());
            let found = text.is_some_and(|text| text.contains(&format!("fn {test}(")));
            assert!(found, "row {number} names {name}");
        }
    }
    assert_eq!(table.len(), 33);
}
