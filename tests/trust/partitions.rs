//! The network between daemon and database fails under load.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness;
use crate::ordeal::{Cost, Ordeal, address, cluster};
use crate::proxy::{Proxy, Weather};
use crate::report::{Report, Run};

/// Another weather.
type Change = fn(&mut Weather);

/// What the network does.
const FAULTS: [(&str, Change); 6] = [
    ("partition", |weather| (weather.up.held, weather.down.held) = (true, true)),
    ("partition of one way", |weather| weather.down.held = true),
    ("black hole", |weather| (weather.up.swallowed, weather.down.swallowed) = (true, true)),
    ("black hole of statements", |weather| weather.up.swallowed = true),
    ("black hole of answers", |weather| weather.down.swallowed = true),
    ("reset", |weather| weather.refusing = true),
];

pub async fn run(run: Run) -> Report {
    let wanted = run.size(50, 4);
    let longest = run.size(15_000, 6_000);
    let mut random = fastrand::Rng::with_seed(run.seed);
    let cluster = cluster(harness::free_port(), &[], None);
    let proxy = Proxy::start(address(&cluster));
    let url = cluster.url("postgres");
    let way = format!("postgresql://postgres@{}/postgres", proxy.addr());
    let mut ordeal = Ordeal::start(cluster, url, &way, run).await;
    for number in 0..wanted {
        let (name, fault) = FAULTS[(number + run.seed as usize) % FAULTS.len()];
        let lasts = Duration::from_millis(random.u64(1000..longest));
        proxy.change(fault);
        if name == "reset" {
            proxy.reset();
        }
        sleep(lasts).await;
        proxy.heal();
        ordeal.recovers(&format!("{name} of {:.1} s", lasts.as_secs_f64())).await;
    }
    let most = longest / 1000;
    let done = format!("{wanted} partitions, black holes and resets of 1 to {most} s under load");
    ordeal.end(done, Cost::Nothing).await
}
