//! That the benchmark measures what it says, loses nothing, and refuses databases that are in use.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{self, Database};

fn bench(arguments: &[&str]) -> Output {
    // Of the configuration of this machine nothing applies, not even what is wrong.
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.env("OUTBOXD_DELIVERY__TIMEOUT", "nonsense").stdin(Stdio::null());
    command.arg("bench").args(arguments).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The median of a figure of a variant.
fn median(report: &Value, variant: &str, figure: &str) -> f64 {
    let all = report["scenarios"].as_array().expect("scenarios");
    let one = all.iter().find(|one| one["variant"] == variant).expect(variant);
    one["figures"][figure]["median"]
        .as_f64()
        .unwrap_or_else(|| panic!("{variant}: no {figure} in {one:#}"))
}

#[test]
fn a_quick_run_reports_every_figure_and_loses_nothing() {
    let output = bench(&["drain", "fan-out", "tls", "--quick", "--json", "-"]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (variant, deliveries) in [("drain", 2_000.0), ("fan-out", 2_000.0), ("tls", 2_000.0)] {
        let of = |figure| median(&report, variant, figure);
        assert_eq!(of("deliveries"), deliveries);
        assert_eq!([of("lost"), of("duplicates"), of("unrecorded")], [0.0; 3], "{variant}");
        let (rate, bare, ratio) = (of("rate_per_second"), of("bare_per_second"), of("ratio"));
        assert!(rate > 0.0 && bare > 0.0 && (ratio - rate / bare).abs() < 0.01, "{variant}");
        assert!((of("rate_per_second") * of("seconds") - deliveries).abs() < 1.0, "{variant}");
        for figure in ["daemon_cpu_s_per_1000", "postgres_cpu_s_per_1000", "receiver_cores"] {
            assert!(of(figure) >= 0.0, "{variant}: {figure}");
        }
        assert!(of("wal_bytes_per_delivery") > 100.0, "{variant}");
        assert!(of("daemon_peak_bytes") > 1e6 && of("dead_tuples") >= 0.0, "{variant}");
    }
    let machine = &report["machine"];
    assert_eq!(machine["postgres_settings"]["fsync"], "on");
    assert!(machine["postgres"].as_str().is_some_and(|version| !version.is_empty()), "{machine}");
    let targets = &report["scenarios"][0]["targets"];
    assert_eq!(targets[0]["target"], "at least 0.65", "{targets}");
    assert!(targets[0]["met"].is_boolean(), "{targets}");
}

#[tokio::test]
async fn steady_events_are_timed_in_a_database_that_is_named_and_left_empty() {
    let database = Database::new().await;
    let url = database.url.clone();
    let run = move || bench(&["steady", "--quick", "--json", "-", "--database", &url]);
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (variant, deliveries) in [("steady-200", 400.0), ("steady-1000", 2_000.0)] {
        let of = |figure| median(&report, variant, figure);
        assert_eq!(of("deliveries"), deliveries);
        assert_eq!([of("lost"), of("duplicates"), of("unrecorded")], [0.0; 3], "{variant}");
        let delays = ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(of);
        assert!(delays.is_sorted() && delays[0] > 0.0, "{variant}: {delays:?}");
    }
    let sql = "(SELECT count(*) FROM outbox.events) + (SELECT count(*) FROM outbox.endpoints)";
    assert_eq!(database.text(sql).await, "0");
}

#[tokio::test]
async fn a_database_with_events_is_refused_and_left_alone() {
    let database = Database::new().await;
    database.insert_many("conversion.created", 3).await;
    let url = database.url.clone();
    let run = move || bench(&["drain", "--quick", "--database", &url]);
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("name an empty database"), "{}", said(&output));
    assert_eq!(database.text("SELECT count(*) FROM outbox.events").await, "3");
}

#[test]
fn what_was_started_ends_with_a_signal() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    let home = std::env::temp_dir().join(format!("bench-{:08x}", fastrand::u32(..)));
    std::fs::create_dir(&home).expect("a folder");
    // Whoever the server runs as has to get there.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&home, open).expect("a folder that others can pass");
    command.env("TMPDIR", &home).args(["bench", "steady", "--runs", "9"]);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    let started = Instant::now();
    let entries = || std::fs::read_dir(&home).expect("a folder").count();
    // The cluster's directory, and then the one of the daemon and of the certificate.
    while entries() < 2 {
        assert!(started.elapsed() < harness::PATIENCE, "it has started nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = format!("kill -s TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    assert_eq!(child.wait().expect("its end").code(), Some(1));
    assert_eq!(entries(), 0, "something is left behind");
    std::fs::remove_dir(&home).expect("an empty folder");
}
