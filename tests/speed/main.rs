//! That no change makes the daemon slower unnoticed: its rate as a share of the bare HTTP client's, both
//! built alike and measured in one run. A binary of its own, so that nothing else runs beside it.

use std::process::{Command, Stdio};

use serde_json::Value;

/// The share of the bare client's rate, as this program is built for tests. To be set anew, by what the
/// test prints, when the daemon has become faster, or the bare client is another.
const BASELINE: f64 = 0.25;
/// What may be lost of it.
const TOLERATED: f64 = 0.15;
/// The best of so many runs counts, of the daemon and of the bare client each: what disturbs a run only
/// ever makes it slower.
const RUNS: &str = "5";
/// Enough for a second or so.
const EVENTS: &str = "10000";

#[test]
fn the_daemon_keeps_its_share_of_the_bare_clients_rate() {
    let output = Command::new(env!("CARGO_BIN_EXE_outboxd"))
        .args(["bench", "drain", "--json", "-", "--runs", RUNS, "--events", EVENTS])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let best =
        |figure: &str| report["scenarios"][0]["figures"][figure]["max"].as_f64().expect("a rate");
    let share = best("rate_per_second") / best("bare_per_second");
    let told = format!("{share:.3} of the bare client's rate; it was {BASELINE:.3}");
    println!("{told}");
    assert!(share > BASELINE * (1.0 - TOLERATED), "{told}");
}
