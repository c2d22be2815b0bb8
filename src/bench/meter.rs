//! What work costs: processor time, statements and WAL between two looks.

use super::figures::Figures;
use super::place::Place;
use super::proc;

/// Statements of everybody but the application and ourselves.
const STATEMENTS: &str = "SELECT sum(calls) FROM pg_stat_statements
    WHERE userid = to_regrole('bench_daemon')";
/// The sessions that are no daemon's.
const OTHERS: &str = "SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename <> 'bench_daemon'";

/// The processes that are measured.
#[derive(Clone, Debug)]
pub struct Meter {
    /// The daemons.
    pub daemons: Vec<u32>,
    /// The receivers.
    pub receiver: u32,
}

/// How things stand; none where it is not known.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    daemon: Option<f64>,
    receiver: Option<f64>,
    /// Of the server, without the sessions of the application and our own.
    postgres: Option<f64>,
    wal_bytes: Option<f64>,
    statements: Option<f64>,
}

impl Meter {
    /// Takes a look.
    pub async fn read(&self, place: &Place) -> Reading {
        let sum = |pids: &[u32]| pids.iter().map(|pid| proc::cpu(*pid)).sum::<Option<f64>>();
        let postgres = match place.server_pid() {
            None => None,
            Some(server) => {
                let others = place.numbers(OTHERS).await;
                let others: f64 = others.iter().filter_map(|pid| proc::cpu(*pid as u32)).sum();
                proc::cpu_of_tree(server).map(|all| all - others)
            }
        };
        Reading {
            daemon: sum(&self.daemons),
            receiver: proc::cpu(self.receiver),
            postgres,
            wal_bytes: place.number("SELECT pg_current_wal_lsn() - '0/0'").await,
            statements: place.number(STATEMENTS).await,
        }
    }

    /// The most memory that a daemon had resident, in bytes.
    pub fn peak_resident(&self) -> Option<f64> {
        let peaks = self.daemons.iter().filter_map(|pid| proc::peak_resident(*pid));
        peaks.max_by(f64::total_cmp)
    }
}

/// What lies between two readings, for each of so many deliveries. `seconds`: between the readings.
pub fn costs(
    figures: &mut Figures,
    before: Reading,
    after: Reading,
    deliveries: u64,
    seconds: f64,
) {
    let spent = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    let each = deliveries.max(1) as f64;
    let cpu = [
        (before.daemon, after.daemon, ["daemon_cpu_s_per_1000", "daemon_cores"]),
        (before.postgres, after.postgres, ["postgres_cpu_s_per_1000", "postgres_cores"]),
        (before.receiver, after.receiver, ["receiver_cpu_s_per_1000", "receiver_cores"]),
    ];
    figures.set_some(
        "statements_per_delivery",
        spent(before.statements, after.statements).map(|count| count / each),
    );
    figures.set_some(
        "wal_bytes_per_delivery",
        spent(before.wal_bytes, after.wal_bytes).map(|bytes| bytes / each),
    );
    for (before, after, [per_thousand, cores]) in cpu {
        let cpu = spent(before, after);
        figures.set_some(per_thousand, cpu.map(|cpu| cpu * 1000.0 / each));
        figures.set_some(cores, cpu.map(|cpu| cpu / seconds));
    }
}
