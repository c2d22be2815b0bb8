//! What those who wait cost the others: nothing that grows with their number.

use crate::harness::Database;

/// The pages that a statement touched, with what the daemon's transactions hold the planner to.
async fn pages(database: &Database, types: &str, sql: &str, args: &str) -> u64 {
    database
        .execute(
            "SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; \
             SET enable_hashjoin = off; SET enable_mergejoin = off; DEALLOCATE ALL",
        )
        .await;
    database.execute(&format!("PREPARE looked_at ({types}) AS {sql}")).await;
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE looked_at ({args})");
    let plan: Vec<String> =
        database.rows(&explain, &[]).await.iter().map(|row| row.get(0)).collect();
    let top = plan.iter().find(|line| line.contains("Buffers:")).expect("buffers");
    let count = |name: &str| {
        let (_, rest) = top.split_once(&format!("{name}="))?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    count("hit").unwrap_or(0) + count("read").unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_that_wait_are_not_looked_at() {
    let database = Database::new().await;
    database
        .execute(
            "SELECT outbox.subscribe('https://example.com/', name => 'one', ordered => true);
             INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at, key, behind)
             SELECT n, 1, now() + CASE WHEN n = 1 THEN '1 h' ELSE '0' END::interval, now(), 'a', n > 1
             FROM generate_series(1, 100000) n;
             INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at)
             SELECT n, 1, now(), now() FROM generate_series(100001, 100010) n;
             INSERT INTO outbox.queue (seq, key) SELECT n, 'a' FROM generate_series(200001, 300000) n;
             -- Others that are under way.
             INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at, key)
             SELECT n, 1, now() + interval '1 h', now(), 'b' || n FROM generate_series(300001, 320000) n",
        )
        .await;
    database.execute("VACUUM ANALYZE outbox.work, outbox.queue").await;
    let probe = include_str!("../../../sql/probe_due.sql");
    let probed =
        pages(&database, "int[], bigint, bigint", probe, "'{1}', 3600000000, 1000000").await;
    assert!(probed < 20, "a probe touched {probed} pages");
    let claim = include_str!("../../../sql/claim.sql");
    let types = "int[], int[], int, bigint, int";
    let claimed = pages(&database, types, claim, "'{1}', '{100}', 7, 1000000, 1000").await;
    assert!(claimed < 400, "a claim of 10 touched {claimed} pages");
    let taken = "SELECT count(*) || ' ' || min(event_seq) FROM outbox.work WHERE holder = 7";
    assert_eq!(database.text(taken).await, "10 100001");
    let promote = include_str!("../../../sql/promote.sql");
    let keys = format!("{}{promote}", include_str!("../../../sql/promote_keys.sql"));
    let blocked = pages(&database, "text[]", &keys, "'{a}'").await;
    assert!(blocked < 40, "a look at a blocked key touched {blocked} pages");
    // The rounds: a few pages for each key, be it blocked or not.
    let page = format!("{}{promote}", include_str!("../../../sql/promote_page.sql"));
    let round = pages(&database, "text, int, int", &page, "'', 0, 500").await;
    assert!(round < 500 * 8, "a look at 500 keys touched {round} pages");
    database.execute("DELETE FROM outbox.work WHERE event_seq = 1").await;
    let free = pages(&database, "text[]", &keys, "'{a}'").await;
    assert!(free < 80, "letting one go touched {free} pages");
    let first =
        "SELECT string_agg(event_seq::text, ' ') FROM outbox.work WHERE key = 'a' AND NOT behind";
    assert_eq!(database.text(first).await, "2");
}
