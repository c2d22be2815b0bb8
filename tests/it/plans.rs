//! That statements are served by the indexes that their files in `sql/` name, so that no release
//! loses a plan unnoticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::Database;

/// What the daemon keeps prepared: planned once in a session, whatever the tables hold then.
const KEPT: [&str; 9] = [
    "event_read",
    "fan_out_horizon",
    "fan_out_insert",
    "fan_out_peek",
    "fan_out_quarantine",
    "fan_out_released",
    "fan_out_take",
    "load_payload",
    "record",
];

/// As the daemon's sessions have it (`src/store/opening.rs`).
const SESSION: &str = "SET jit = off; SET plan_cache_mode = force_generic_plan; \
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off";

/// Fragments, with what comes before them.
const AFTER: [(&str, &str); 3] =
    [("promote_after", "promote"), ("promote_keys", "promote"), ("promote_page", "promote")];

/// A few pages of everything, and many of what grows.
const POPULATE: &str = "
    INSERT INTO outbox.endpoints (name, url)
    SELECT 'e' || n, 'https://example.com/' || n FROM generate_series(1, 5000) n;
    INSERT INTO outbox.secrets (endpoint_id, secret)
    SELECT id, 'sealed:x' FROM outbox.endpoints;
    INSERT INTO outbox.events (type, payload) SELECT 'a', '1' FROM generate_series(1, 50000) n;
    DELETE FROM outbox.queue WHERE seq % 2 = 0;
    INSERT INTO outbox.work (event_seq, endpoint, due_at, created_at)
    SELECT e.seq, e.seq % 5000 + 1, now() + (e.seq % 100 - 50) * interval '1 minute', now()
    FROM outbox.events e;
    INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, outcome, result)
    SELECT e.seq, e.seq % 5000 + 1, 1, true, now(), 'success', CASE WHEN e.seq % 50 = 0 THEN 'exhausted' END
    FROM outbox.events e;
    INSERT INTO outbox.endpoint_minutes (endpoint, slot, minute, delivered, failed)
    SELECT p, s, date_trunc('minute', now()), 1, 0 FROM generate_series(1, 5000) p, generate_series(0, 63) s;
    INSERT INTO outbox.quarantine (event_seq, reason) SELECT seq, 'x' FROM outbox.events WHERE seq % 10 = 0";

/// A statement of `sql/`.
struct Statement {
    text: String,
    /// Of its parameters, as far as the file tells.
    types: Vec<String>,
    /// What its file says that it uses.
    indexes: BTreeSet<String>,
}

impl Statement {
    fn read(name: &str, known: &BTreeSet<String>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
        let read = |name: &str| {
            fs::read_to_string(folder.join(format!("{name}.sql"))).expect("a statement")
        };
        let mut text = read(name);
        let head: Vec<String> =
            text.lines().map_while(|line| line.strip_prefix("--")).map(str::to_owned).collect();
        let head = head.join(" ");
        if let Some((_, rest)) = AFTER.iter().find(|(first, _)| *first == name) {
            text += &read(rest);
        }
        let mut types = Vec::new();
        while let Some((_, rest)) = head.split_once(&format!("${} ", types.len() + 1)) {
            types.push(rest.split([':', ' ', ',', ';']).next().unwrap_or_default().to_owned());
        }
        let served = head.split_once("Serves itself from").map_or("", |(_, rest)| rest);
        // What follows is said of functions, whose plans do not show.
        let served = served.split("; outbox.").next().unwrap_or_default();
        let served = served.split(". ").next().unwrap_or_default();
        let words = served.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let indexes = words.filter(|word| known.contains(*word)).map(str::to_owned).collect();
        Self { text, types, indexes }
    }

    /// Its plan for any parameters.
    async fn plan(&self, database: &Database) -> String {
        let types = if self.types.is_empty() {
            String::new()
        } else {
            format!("({})", self.types.join(", "))
        };
        let prepare = format!("DEALLOCATE ALL; PREPARE looked_at {types} AS {}", self.text);
        database.execute(&prepare).await;
        let count = (1..).take_while(|n| self.text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; count].join(", ");
        let nulls = if count == 0 { nulls } else { format!("({nulls})") };
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE looked_at {nulls}");
        let lines = database.rows(&explain, &[]).await;
        lines.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
    }
}

/// The indexes that a plan uses; those of a partition by the name of the whole.
fn used(plan: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in plan.lines() {
        let index = [" using ", "Bitmap Index Scan on "]
            .iter()
            .find_map(|before| line.split_once(before)?.1.split(' ').next());
        match index.map(|index| (index, index.strip_prefix("history_"))) {
            Some((_, Some(rest))) if rest.ends_with("event_seq_endpoint_idx") => {
                found.insert("history_event".to_owned());
            }
            Some((_, Some(rest))) if rest.ends_with("endpoint_idx") => {
                found.insert("history_exhausted".to_owned());
            }
            Some((index, _)) => {
                found.insert(index.to_owned());
            }
            None => {}
        }
        // Named as the target of a conflict, which is looked up in it.
        if let Some((_, arbiters)) = line.split_once("Conflict Arbiter Indexes: ") {
            found.extend(arbiters.split(", ").map(str::to_owned));
        }
    }
    found
}

async fn indexes(database: &Database) -> BTreeSet<String> {
    let sql = "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'outbox'";
    database.rows(sql, &[]).await.iter().map(|row| row.get(0)).collect()
}

fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let files = fs::read_dir(folder).expect("the statements");
    let name = |file: fs::DirEntry| {
        file.file_name().to_str().and_then(|name| name.strip_suffix(".sql")).map(str::to_owned)
    };
    files.filter_map(|file| name(file.expect("a file"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_use_the_indexes_that_they_name() {
    let database = Database::new().await;
    database.execute(POPULATE).await;
    database.execute("VACUUM ANALYZE").await;
    database.execute(SESSION).await;
    let known = indexes(&database).await;
    let (mut wrong, mut looked_at) = (Vec::new(), 0);
    for name in names() {
        let statement = Statement::read(&name, &known);
        if statement.indexes.is_empty() || name == "promote" {
            continue;
        }
        let found = used(&statement.plan(&database).await);
        // What a function of the schema does inside shows in no plan.
        if statement.text.contains("outbox.") && found.is_empty() {
            continue;
        }
        looked_at += 1;
        let missing: Vec<&String> = statement.indexes.difference(&found).collect();
        if !missing.is_empty() {
            wrong.push(format!("{name}: not {missing:?} but {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at > 30, "only {looked_at} statements were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_prepared_has_one_plan_whatever_the_tables_hold() {
    let database = Database::new().await;
    database.execute(SESSION).await;
    let known = indexes(&database).await;
    let mut plans: Vec<Vec<String>> = Vec::new();
    for state in [
        "SELECT",
        POPULATE,
        "VACUUM ANALYZE",
        "TRUNCATE outbox.work, outbox.queue",
        "VACUUM ANALYZE outbox.work, outbox.queue",
    ] {
        for one in state.split(';') {
            database.execute(one).await;
        }
        let mut found = Vec::new();
        for name in KEPT {
            let plan = Statement::read(name, &known).plan(&database).await;
            // Whether an inner side is kept for one outer row makes no difference.
            let steps = plan.lines().map(str::trim).filter(|step| !step.contains("Materialize"));
            found.push(steps.collect::<Vec<_>>().join("\n"));
        }
        plans.push(found);
    }
    for (place, name) in KEPT.iter().enumerate() {
        for later in &plans[1..] {
            assert_eq!(plans[0][place], later[place], "{name}");
        }
    }
}
