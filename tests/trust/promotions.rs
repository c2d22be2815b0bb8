//! The primary crashes under load, and its standby takes its place.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness;
use crate::ordeal::{Cost, Ordeal, cluster};
use crate::report::{Report, Run};

/// Load between two promotions, in milliseconds.
const BETWEEN: std::ops::Range<u64> = 300..2000;

pub async fn run(run: Run) -> Report {
    let wanted = run.size(20, 2);
    let mut random = fastrand::Rng::with_seed(run.seed);
    let (first, second) = (harness::free_port(), harness::free_port());
    let way = format!("postgresql://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres");
    let url = format!("{way}?target_session_attrs=read-write");
    let mut ordeal = Ordeal::start(cluster(first, &[], None), url, &way, run).await;
    let mut free = second;
    for _ in 0..wanted {
        let primary = ordeal.cluster().url("postgres");
        let standby = cluster(free, &[], Some(primary.clone()));
        // From here on a commit is on both before it is one.
        let client = harness::connect(&primary).await;
        let names = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        client.batch_execute(names).await.expect("a setting");
        client.batch_execute("SELECT pg_reload_conf()").await.expect("a reload");
        ordeal.place.client = client;
        let sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        assert!(ordeal.place.becomes(sync, 1, Duration::from_secs(30)).await, "no standby");
        sleep(Duration::from_millis(random.u64(BETWEEN))).await;
        free = ordeal.cluster().port();
        ordeal.cluster().kill();
        let next = harness::connect(&standby.url("postgres")).await;
        next.batch_execute("SELECT pg_promote()").await.expect("a promotion");
        *ordeal.cluster() = standby;
        ordeal.recovers("promotion").await;
    }
    let done = format!("{wanted} crashes of the primary under load, each followed by a promotion");
    ordeal.end(done, Cost::LastWrites).await
}
