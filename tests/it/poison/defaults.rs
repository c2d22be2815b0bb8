//! Roles and databases whose settings are hostile, and names that are looked up in the wrong place.

use crate::harness::{self, Database, TestDaemon};
use crate::receiver::{Receiver, Reply};

/// Settings that a role or a database can have, and that change what a careless statement means,
/// how long it may take or what it looks like.
const HOSTILE: &[(&str, &str)] = &[
    ("search_path", "public, pg_catalog"),
    ("statement_timeout", "'100ms'"),
    ("lock_timeout", "'1ms'"),
    ("idle_in_transaction_session_timeout", "'1ms'"),
    ("idle_session_timeout", "'300ms'"),
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_deferrable", "on"),
    ("TimeZone", "'Asia/Kolkata'"),
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "'sql_standard'"),
    ("bytea_output", "'escape'"),
    ("extra_float_digits", "-15"),
    ("client_encoding", "'LATIN1'"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("row_security", "off"),
    ("work_mem", "'64kB'"),
    ("enable_indexscan", "off"),
    ("enable_nestloop", "off"),
    ("jit_above_cost", "0"),
    ("min_parallel_table_scan_size", "0"),
];

/// In `public`: functions and operators of the names that statements use, which raise an error.
const TRAPS: &str = "
DO $$
DECLARE
    one record;
    made int := 0;
BEGIN
    CREATE FUNCTION public.trapped() RETURNS void LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''looked up in public''; END';
    FOR one IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments,
                      format_type(p.prorettype, NULL) AS returns
               FROM pg_proc p
               WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provariadic = 0
                 AND NOT p.proretset AND p.prorettype <> ALL ('{anyelement,anyarray,internal}'::regtype[])
                 AND p.proname IN ('now', 'clock_timestamp', 'statement_timestamp', 'octet_length', 'hashtext',
                                   'pg_try_advisory_lock', 'pg_try_advisory_xact_lock', 'pg_is_in_recovery',
                                   'current_setting', 'has_table_privilege', 'has_column_privilege', 'to_regclass',
                                   'has_function_privilege', 'date_trunc', 'length', 'split_part', 'pg_backend_pid')
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS '
                       '''BEGIN PERFORM public.trapped(); RETURN NULL; END''',
                       one.proname, one.arguments, one.returns);
        made := made + 1;
    END LOOP;
    FOR one IN SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r,
                      format_type(oprresult, NULL) AS returns
               FROM pg_operator
               WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
                 AND oprname IN ('=', '<>', '<', '<=', '>', '>=', '+', '-', '*', '/', '||')
                 AND ARRAY[oprleft, oprright] <@
                     '{integer,bigint,text,boolean,timestamptz,interval,numeric}'::regtype[]::oid[]
    LOOP
        made := made + 1;
        EXECUTE format('CREATE FUNCTION public.trap_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS '
                       '''BEGIN PERFORM public.trapped(); RETURN NULL; END''', made, one.l, one.r, one.returns);
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap_%s)',
                       one.oprname, one.l, one.r, made);
    END LOOP;
    ASSERT made > 80, made;
END
$$";

/// A user with these roles, and the URL to connect as that user.
async fn user(database: &Database, roles: &str) -> (String, String) {
    let name = format!("user_{:012x}", fastrand::u64(..) >> 16);
    database.execute(&format!("CREATE ROLE {name} LOGIN IN ROLE {roles}")).await;
    let url = database.url.replace("postgres@", &format!("{name}@"));
    (name, url)
}

/// The binary as this user, which has to succeed; what it prints.
fn command(url: &str, args: &[&str]) -> String {
    let output = harness::outboxd(url, &[]).args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_role_has_hostile_defaults_delivers_all_the_same() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let (daemon_role, url) = user(&database, "outbox_daemon").await;
    let (admin_role, admin) = user(&database, "outbox_admin").await;
    for (name, value) in HOSTILE {
        for role in [&daemon_role, &admin_role] {
            database.execute(&format!("ALTER ROLE {role} SET {name} = {value}")).await;
        }
    }
    database.execute(TRAPS).await;
    // It is a trap for whoever asks without care.
    let careless = harness::connect(&url).await;
    let caught = careless.batch_execute("SET statement_timeout = 0; SELECT 1 = 1").await;
    assert!(format!("{caught:?}").contains("looked up in public"), "{caught:?}");

    receiver.on("/flaky", [Reply::status(500), Reply::status(200)]);
    receiver.on("/gone", Reply::status(410));
    for name in ["fine", "flaky", "gone"] {
        database
            .subscribe_to(name, &receiver.url(&format!("/{name}")), &format!("{{{name}.*}}"))
            .await;
    }
    // By plain SQL: one that gets its secret from the daemon, and one that cannot work.
    let plain = format!(
        "INSERT INTO outbox.endpoints (name, url, events) \
         VALUES ('plain', '{}', '{{plain.*}}'), ('bad', 'ftp://nowhere', '{{bad}}')",
        receiver.url("/plain")
    );
    database.execute(&plain).await;
    let settings = [("delivery.retry", "50ms 50ms")];
    let daemon = TestDaemon::start_with(&url, &settings).await;
    daemon.wait_until_ready().await;
    database.wait_for("SELECT state FROM outbox.endpoints WHERE name = 'bad'", "invalid").await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    command(&admin, &["events", "emit", "fine.a", "--deliver-after", "100ms"]);
    for (event_type, payload) in
        [("flaky.a", "1"), ("gone.a", "2"), ("plain.a", "3"), ("fine.b", &large)]
    {
        database.emit(event_type, payload).await;
    }
    database
        .execute("SELECT outbox.emit('fine.late', '4', deliver_after => now() + interval '200 ms')")
        .await;
    let states = "SELECT string_agg(n.status || coalesce(n.last_outcome, ''), ' ' ORDER BY event_type) \
                  FROM outbox.deliveries n";
    let ended = "deliveredsuccess deliveredsuccess deliveredsuccess deliveredsuccess exhaustedhttp_410 \
                 deliveredsuccess";
    database.wait_for(states, ended).await;
    database.wait_for("SELECT state FROM outbox.endpoints WHERE name = 'gone'", "disabled").await;
    assert!(command(&admin, &["deliveries", "list", "--json"]).contains("\"delivered\""));
    assert!(
        command(&admin, &["endpoints", "show", "flaky", "--json"]).contains("\"delivered_1h\"")
    );
    command(&admin, &["endpoints", "rotate-secret", "fine", "--overlap", "1h 30m"]);
    command(&admin, &["stats"]);
    daemon.stop().await.expect("an orderly end");
    database.wait_for("SELECT count(*) FROM outbox.instances", "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_created_among_traps_is_bound_to_none_of_them() {
    let database = Database::empty().await;
    database.execute(TRAPS).await;
    let name = database.text("current_database()").await;
    database.execute(&format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    command(&database.url, &["migrate"]);
    let bound = "SELECT count(*) FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid \
                 WHERE d.refclassid = 'pg_proc'::regclass AND p.pronamespace = 'public'::regnamespace \
                   AND d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_rewrite'::regclass)";
    assert_eq!(database.text(bound).await, "0");
    database.execute("SELECT outbox.emit('a', '{}')").await;
    assert!(command(&database.url, &["events", "list", "--json"]).contains("\"a\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_is_waited_for_and_says_so() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let (role, url) = user(&database, "outbox_daemon").await;
    database.execute(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    database.subscribe("one", &receiver.url("/")).await;
    let event = database.emit("a", "{}").await;
    let daemon = TestDaemon::start_with(&url, &[("database.pool_size", "1")]).await;
    let told = async {
        loop {
            let (status, body) = daemon.get("/readyz").await;
            if body.contains("default_transaction_read_only") {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert_eq!(tokio::time::timeout(harness::PATIENCE, told).await.expect("in time"), 503);
    assert_eq!(receiver.requests().len(), 0);
    // Sessions that are open keep what they began with.
    database
        .execute(&format!(
            "ALTER ROLE {role} RESET default_transaction_read_only; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    receiver.wait_for(1).await;
    assert_eq!(receiver.ids(), [event]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_another_encoding_is_refused_by_name() {
    let postgres = Database::empty().await;
    let name = format!("latin_{:012x}", fastrand::u64(..) >> 16);
    postgres
        .execute(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .await;
    let own = postgres.text("current_database()").await;
    let url = postgres.url.replace(&own, &name);
    let output = harness::outboxd(&url, &[]).arg("run").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("LATIN1") && said.contains("ENCODING 'UTF8'"), "{said}");
}
