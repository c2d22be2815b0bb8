//! What `top` and `stats` show, by the real binary, on a terminal and without one.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::harness::{self, Database, TestDaemon};
use super::receiver::{Receiver, Reply};

/// A database in which things went right and wrong.
async fn mixed() -> (Database, TestDaemon, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.on("/bad", Reply::status(500));
    database.subscribe("good", &receiver.url("/good")).await;
    database.subscribe_to("bad", &receiver.url("/bad"), "{a}").await;
    database.subscribe_to("waiting", &receiver.url("/waiting"), "{a}").await;
    database.execute("SELECT outbox.pause('waiting')").await;
    let daemon = TestDaemon::start(&database).await;
    database.insert_many("a", 4).await;
    let attempts = "SELECT sum(delivered + failed) FROM outbox.endpoint_minutes";
    database.wait_for(attempts, "8").await;
    (database, daemon, receiver)
}

fn run(database: &Database, args: &[&str]) -> Output {
    harness::outboxd(&database.url, &[]).args(args).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_as_json_has_rates_lag_backlog_and_the_worst() {
    let (database, daemon, _receiver) = mixed().await;
    let said = run(&database, &["stats", "--json"]);
    assert!(said.status.success(), "{said:?}");
    let stats: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    for period in ["5m", "1h"] {
        assert_eq!(stats["rates"][period]["success_ratio"], 0.5, "{stats}");
    }
    let per_second = stats["rates"]["1h"]["attempts_per_second"].as_f64().expect("a rate");
    assert!((per_second - 8.0 / 3600.0).abs() < 1e-9, "{stats}");
    assert_eq!(stats["backlog"]["scheduled"], 4, "{stats}");
    assert_eq!(stats["backlog"]["due"], 4, "{stats}");
    assert_eq!(stats["lag_seconds"], 0.0, "what is paused is no lag: {stats}");
    let names: Vec<&Value> =
        stats["worst"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["bad", "waiting"], "{stats}");
    assert_eq!(stats["worst"][0]["failed_5m"], 4.0, "{stats}");
    assert_eq!(stats["worst"][1]["drain_seconds"], Value::Null, "{stats}");
    let names: Vec<&Value> =
        stats["endpoints"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["bad", "good", "waiting"], "{stats}");
    assert_eq!(stats["pending"], 8, "{stats}");
    assert!(stats["oldest_due_seconds"].as_f64().is_some_and(|age| age > 0.0), "{stats}");
    let good = &stats["endpoints"][1];
    assert!(good["last_success_at"].is_string() && good["last_failure_at"].is_null(), "{stats}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_as_text_are_two_tables_of_the_same() {
    let (database, daemon, _receiver) = mixed().await;
    let said = run(&database, &["stats"]);
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout);
    let cells = |line: &'static str| {
        let line = text.lines().find(|it| it.starts_with(line)).expect("a line");
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(cells("name")[..4], ["name", "state", "delivered", "1h"], "{text}");
    assert_eq!(cells("bad")[..7], ["bad", "active", "0", "4", "0.0%", "4", "-"], "{text}");
    assert_eq!(cells("good")[..7], ["good", "active", "4", "0", "100.0%", "0", "-"], "{text}");
    assert_eq!(text.lines().nth(5), Some("queued  pending  in flight  held  oldest due"), "{text}");
    let all = text.lines().nth(6).expect("a line");
    assert_eq!(all.split_whitespace().collect::<Vec<_>>()[..4], ["0", "8", "0", "0"], "{text}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_top_is_one_plain_frame() {
    let (database, daemon, _receiver) = mixed().await;
    for args in [&["top"][..], &["top", "--once"]] {
        let said = run(&database, args);
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{said:?}");
        assert!(!text.contains('\x1b') && text.lines().all(|line| line.len() < 80), "{text}");
        let bad = text.lines().find(|line| line.starts_with("bad ")).expect("an endpoint");
        let cells: Vec<&str> = bad.split_whitespace().collect();
        assert_eq!(
            (cells[1], &cells[3..]),
            ("active", &["0.0", "%", "4", "-", "never"][..]),
            "{text}"
        );
        assert!(text.contains("due 4, scheduled 4, in flight 0"), "{text}");
        assert!(text.contains("endpoints: 2 active, 1 paused"), "{text}");
    }
    let said = run(&database, &["top", "--interval", "1ms"]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_top_draws_until_q_and_leaves_it_as_it_was() {
    let (database, daemon, _receiver) = mixed().await;
    let top = harness::outboxd(&database.url, &[]);
    let program = top.get_program().to_string_lossy().into_owned();
    // A terminal of its own, from util-linux.
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{program} top --interval 200ms; stty -a"), "/dev/null"]);
    script.env_clear().env("PATH", std::env::var_os("PATH").expect("a path")).env("TERM", "xterm");
    for (name, value) in top.get_envs() {
        script.env(name, value.expect("set"));
    }
    let mut child = match script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("NOT CHECKED: script cannot be run ({error})");
            return daemon.stop().await.expect("an orderly end");
        }
    };
    let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
    let read = tokio::task::spawn_blocking(move || {
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let length = stdout.read(&mut buffer).expect("a terminal");
            if length == 0 {
                return said;
            }
            said.push_str(&String::from_utf8_lossy(&buffer[..length]));
            // After the second frame.
            if said.matches("\x1b[H").count() >= 2
                && let Some(mut typed) = stdin.take()
            {
                // Then it is closed, or script would wait for more.
                typed.write_all(b"q").ok();
            }
        }
    });
    let said = tokio::time::timeout(harness::PATIENCE, read).await.expect("an end").expect("text");
    assert!(child.wait().expect("its end").success(), "{said}");
    let (screen, after) = said.split_once("\x1b[?1049l").expect("the screen from before");
    assert!(screen.starts_with("\x1b[?1049h") && screen.contains("q quits"), "{said:?}");
    assert!(screen.contains("waiting"), "{said:?}");
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
    daemon.stop().await.expect("an orderly end");
}
