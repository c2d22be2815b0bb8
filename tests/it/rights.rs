//! Who may do what: every object of the schema and every role against `rights.txt`, and what makes
//! a function with its owner's rights safe.

use crate::harness::{self, Database};

/// One line for each object and each role that may do something with it.
const EXPECTED: &str = include_str!("rights.txt");

/// The same as the database has it. The partition of one day stands for all of them, and a privilege
/// on columns is named with these.
const MATRIX: &str = "
WITH roles (place, role) AS (
    VALUES (1, 'outbox_producer'), (2, 'outbox_daemon'), (3, 'outbox_admin'), (4, 'outbox_reader'), (5, 'public')
), relations AS (
    SELECT c.oid, CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END
               || regexp_replace(c.relname, '_[0-9]{8}$', '_<day>') AS object, c.relkind
    FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind NOT IN ('i', 'I')
), held AS (
    SELECT 'schema outbox' AS object, r.place, r.role,
           (SELECT string_agg(p, ' ') FROM unnest(ARRAY['USAGE', 'CREATE']) p
            WHERE has_schema_privilege(r.role, 'outbox', p)) AS privileges
    FROM roles r
    UNION ALL
    SELECT t.object, r.place, r.role,
           (SELECT string_agg(
                CASE WHEN has_table_privilege(r.role, t.oid, p.name) THEN p.name
                     ELSE p.name || ' (' || (
                         SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
                         WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
                           AND has_column_privilege(r.role, t.oid, a.attnum, p.name)) || ')' END, '; ' ORDER BY p.place)
            FROM (VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE'), (5, 'TRUNCATE'),
                         (6, 'REFERENCES'), (7, 'TRIGGER')) AS p (place, name)
            WHERE has_table_privilege(r.role, t.oid, p.name)
               OR p.name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                   AND has_any_column_privilege(r.role, t.oid, p.name))
    FROM relations t CROSS JOIN roles r WHERE t.relkind <> 'S'
    UNION ALL
    SELECT t.object, r.place, r.role,
           (SELECT string_agg(p, ' ') FROM unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p
            WHERE has_sequence_privilege(r.role, t.oid, p))
    FROM relations t CROSS JOIN roles r WHERE t.relkind = 'S'
    UNION ALL
    SELECT 'function ' || f.oid::regprocedure::text, r.place, r.role,
           CASE WHEN has_function_privilege(r.role, f.oid, 'EXECUTE') THEN 'EXECUTE' END
    FROM pg_proc f CROSS JOIN roles r WHERE f.pronamespace = 'outbox'::regnamespace
), lines AS (
    SELECT object, place, object || ': ' || role || ' ' || privileges AS line FROM held WHERE privileges IS NOT NULL
    UNION
    SELECT object, 0, object || ': nobody' FROM held GROUP BY object HAVING count(privileges) = 0
)
SELECT string_agg(line, E'\\n' ORDER BY object COLLATE \"C\", place) FROM lines";

#[tokio::test(flavor = "multi_thread")]
async fn every_object_grants_to_every_role_what_the_list_says_and_nothing_else() {
    let database = Database::new().await;
    let found = database.text(MATRIX).await;
    let (found, expected): (Vec<&str>, Vec<&str>) =
        (found.lines().collect(), EXPECTED.lines().collect());
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let new: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert_eq!(found, expected, "not granted: {missing:#?}\nnot in rights.txt: {new:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_later_grants_nothing_by_itself_either() {
    let database = Database::new().await;
    let defaults =
        "SELECT count(*) FROM pg_default_acl WHERE defaclnamespace = 'outbox'::regnamespace";
    assert_eq!(database.text(defaults).await, "0");
    // None of the four may give on what it has, or belongs to another of them.
    let on = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member \
              WHERE r.rolname LIKE 'outbox\\_%'";
    assert_eq!(database.text(on).await, "0");
    let grantable = "SELECT count(*) FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a \
                     WHERE c.relnamespace = 'outbox'::regnamespace AND a.is_grantable AND a.grantee <> c.relowner";
    assert_eq!(database.text(grantable).await, "0");
    let powers = "SELECT coalesce(string_agg(rolname, ' '), '') FROM pg_roles WHERE rolname LIKE 'outbox\\_%' \
                  AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)";
    assert_eq!(database.text(powers).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_function_looks_names_up_where_others_can_put_them() {
    let database = Database::new().await;
    let loose = "SELECT coalesce(string_agg(f.oid::regprocedure::text, E'\\n'), '') FROM pg_proc f \
                 WHERE f.pronamespace = 'outbox'::regnamespace \
                   AND NOT coalesce(f.proconfig, '{}') @> '{\"search_path=pg_catalog, pg_temp\"}'";
    assert_eq!(database.text(loose).await, "outbox.enqueue()");
    // All that it names has its schema: it can go without, and every insert is the faster for it.
    let body = "SELECT prosrc FROM pg_proc WHERE oid = 'outbox.enqueue()'::regprocedure";
    let body = database.text(body).await;
    let words: Vec<&str> = body.split_whitespace().collect();
    let expected =
        "BEGIN INSERT INTO outbox.queue (seq, key) VALUES (NEW.seq, NEW.key); RETURN NULL; END";
    assert_eq!(words.join(" "), expected);
    let public = "SELECT coalesce(string_agg(f.oid::regprocedure::text, E'\\n'), '') FROM pg_proc f \
                  WHERE f.pronamespace = 'outbox'::regnamespace AND has_function_privilege('public', f.oid, 'EXECUTE')";
    assert_eq!(database.text(public).await, "");
    // Statements made of text are unavoidable only where tables are made of dates.
    let dynamic = "SELECT coalesce(string_agg(f.proname, ' ' ORDER BY f.proname), '') FROM pg_proc f \
                   WHERE f.pronamespace = 'outbox'::regnamespace AND f.prosrc ~* '\\mEXECUTE\\M'";
    assert_eq!(database.text(dynamic).await, "drop_history empty_history prepare_history");
}

/// What the daemon is granted: privilege and object, as `GRANT` takes them.
fn of_the_daemon() -> Vec<(String, String)> {
    let mut granted = Vec::new();
    for line in EXPECTED.lines() {
        let Some((object, privileges)) = line.split_once(": outbox_daemon ") else { continue };
        let (kind, name) = object.split_once(' ').expect("kind and name");
        let object = match kind {
            "table" | "view" => format!("outbox.{name}"),
            "function" => format!("FUNCTION {name}"),
            _ => continue,
        };
        let each = privileges.split("; ").map(|one| (one.to_owned(), object.clone()));
        granted.extend(each);
    }
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_the_daemon_lacks_is_named_with_the_grant_that_mends_it() {
    let database = Database::new().await;
    let missing = include_str!("../../sql/missing_rights.sql");
    let granted = of_the_daemon();
    assert!(granted.len() > 30, "{granted:?}");
    for (privilege, object) in granted {
        let revoke = format!(
            "BEGIN; REVOKE {privilege} ON {object} FROM outbox_daemon; SET ROLE outbox_daemon"
        );
        database.execute(&revoke).await;
        let found: Vec<String> =
            database.rows(missing, &[]).await.iter().map(|row| row.get(0)).collect();
        let [mend] = &found[..] else { panic!("{privilege} on {object}: {found:?}") };
        let (_, grant) = mend.split_once(": ").expect("what, and its mend");
        // The mend mends.
        database.execute("RESET ROLE").await;
        database.execute(grant).await;
        database.execute("SET ROLE outbox_daemon").await;
        assert_eq!(database.rows(missing, &[]).await.len(), 0, "{grant}");
        database.execute("ROLLBACK; RESET ROLE").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_lacks_a_right_ends_with_the_grant_and_tries_nothing() {
    let database = Database::new().await;
    let name = format!("daemon_{:08x}", fastrand::u32(..));
    database
        .execute(&format!(
            "CREATE ROLE {name} LOGIN IN ROLE outbox_daemon; REVOKE INSERT ON outbox.work FROM outbox_daemon"
        ))
        .await;
    let url = database.url.replace("postgres@", &format!("{name}@"));
    let output = harness::outboxd(&url, &[]).arg("run").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("GRANT INSERT ON outbox.work TO outbox_daemon;"), "{said}");
    assert_eq!(database.text("SELECT count(*) FROM outbox.instances").await, "0");
}
