//! What the command line answers, and how it exits.

use std::process::{Command, Output};

use crate::harness::{self, Database, Process, TestDaemon};
use crate::receiver::Receiver;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[test]
fn five_mistakes_are_answered_by_five_lines() {
    let mistakes = [
        ("OUTBOXD_DELIVERY__TIMEOUT", "abc"),
        ("OUTBOXD_DELIVERY__RETRY", "5s nonsense"),
        ("OUTBOXD_DELIVERY__ALLOW", "10.0.0.0/99"),
        ("OUTBOXD_NOPE", "1"),
        ("OUTBOXD_DATABASE__POOL_SIZE", "0"),
    ];
    for action in [&["run"][..], &["config", "check"]] {
        let said = run(harness::outboxd("postgres://u@h/d", &[]).envs(mistakes).args(action));
        assert_eq!(said.code, Some(78), "{}", said.err);
        assert_eq!(said.err.lines().count(), 5, "{}", said.err);
        for part in
            ["OUTBOXD_DELIVERY__TIMEOUT", "nonsense", "10.0.0.0/99", "OUTBOXD_NOPE", "pool_size"]
        {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
    }
}

#[test]
fn config_show_masks_secrets_and_names_origins() {
    let mut command =
        harness::outboxd("postgres://u:hunter2@h/d", &[("admin.token", "s3cr3t-t0ken")]);
    let said = run(command.args(["config", "show"]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.out.contains("hunter2") && !said.out.contains("s3cr3t"), "{}", said.out);
    assert!(said.out.contains("environment OUTBOXD_DATABASE__URL"), "{}", said.out);
    assert!(
        said.out.lines().any(|line| line.starts_with("delivery.timeout") && line.contains("15s"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_says_why() {
    let database = Database::empty().await;
    let wrong_database = database.url.replace("/test_", "/no_such_");
    for (url, part) in
        [(wrong_database.as_str(), "does not exist"), ("postgres://u@127.0.0.1:1/d", "refused")]
    {
        let said = run(harness::outboxd(url, &[]).arg("migrate"));
        assert_eq!(said.code, Some(69), "{}", said.err);
        assert!(said.err.contains(part), "{}", said.err);
    }
    let said = run(harness::outboxd(&wrong_database, &[]).arg("run"));
    assert_eq!(said.code, Some(69), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_role_say_so() {
    let cluster = harness::start_cluster(&[]);
    let url = cluster.url("postgres");
    let database = Database::at(url.clone()).await;
    let file = database.text("SELECT current_setting('hba_file')").await;
    database
        .execute(&format!(
            "CREATE ROLE app LOGIN PASSWORD 'right'; \
             COPY (VALUES ('local all postgres trust'), ('local all all scram-sha-256')) TO '{file}'; \
             SELECT pg_reload_conf()"
        ))
        .await;
    for (user, part) in [("app:wrong", "password"), ("nobody:x", "nobody")] {
        let url = url.replace("postgres@", &format!("{user}@"));
        for action in ["run", "migrate"] {
            let said = run(harness::outboxd(&url, &[]).arg(action));
            assert_eq!(said.code, Some(69), "{}", said.err);
            assert!(said.err.contains(part) && !said.err.contains("wrong"), "{}", said.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn managing_from_the_command_line() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let outboxd = |args: &[&str]| run(harness::outboxd(&database.url, &[]).args(args));
    let url = receiver.url("/hook");
    let added =
        outboxd(&["endpoints", "add", &url, "--name", "acme", "--events", "order.*", "--json"]);
    assert_eq!(added.code, Some(0), "{}", added.err);
    assert!(added.out.contains("whsec_"), "the generated secret is shown once: {}", added.out);
    let listed = outboxd(&["endpoints", "list", "--json"]);
    assert!(
        listed.out.contains(r#""name":"acme""#) && !listed.out.contains("whsec_"),
        "{}",
        listed.out
    );
    let bad = outboxd(&["endpoints", "add", "http://10.0.0.1/", "--name", "bad"]);
    assert_eq!(bad.code, Some(1), "{}", bad.err);
    let daemon = TestDaemon::start(&database).await;
    let tested = outboxd(&["endpoints", "test", "acme"]);
    assert_eq!(tested.code, Some(0), "{}{}", tested.out, tested.err);
    let emitted =
        outboxd(&["events", "emit", "order.created", "--id", "o-1", "--payload-file", "/dev/null"]);
    assert_eq!(emitted.code, Some(1), "an empty payload is no JSON: {}", emitted.err);
    database.execute("SELECT outbox.emit('order.created', '{}', id => 'o-1')").await;
    database.wait_until_idle().await;
    let shown = outboxd(&["deliveries", "list", "--json"]);
    assert!(shown.out.contains(r#""event_id":"o-1""#), "{}", shown.out);
    let unknown = outboxd(&["endpoints", "show", "nobody"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("nobody"), "{}", unknown.err);
    for args in [
        &["stats"][..],
        &["events", "list"],
        &["events", "show", "o-1"],
        &["endpoints", "show", "acme"],
    ] {
        let said = outboxd(args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        assert!(!said.out.is_empty(), "{args:?}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_what_can_be_and_a_bad_file_changes_nothing() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(crate::receiver::Reply::status(500));
    database.subscribe("one", &receiver.url("/")).await;
    let file = std::env::temp_dir().join(format!("outboxd-test-{:016x}.toml", fastrand::u64(..)));
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[delivery]\nretry = \"1h\"\n");
    let path = file.to_str().expect("UTF-8");
    let process = Process::start_with_config(&database.url, path);
    process.wait_until_ready().await;
    let reloaded = async |ok: &str| {
        let line = format!("outboxd_config_last_reload_successful {ok}");
        while !harness::get(process.admin, "/metrics").await.1.contains(&line) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    write("[delivery]\nretry = \"nonsense\"\n");
    process.signal("HUP");
    reloaded("0").await;
    write("[delivery]\nretry = \"none\"\n[events]\nvalidate = \"reject\"\n");
    process.signal("HUP");
    reloaded("1").await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    assert_eq!(database.text("SELECT status FROM outbox.deliveries").await, "exhausted");
    let object =
        "INSERT INTO outbox.event_types (type, schema) VALUES ('b', '{\"type\": \"object\"}')";
    database.execute(object).await;
    let held = database.emit("b", "[]").await;
    database.wait_for("SELECT event_id FROM outbox.quarantined_events", &held).await;
    assert_eq!(process.terminate().await, Some(0));
    std::fs::remove_file(file).ok();
}

#[test]
fn the_demo_runs_in_a_pipe_and_ends_well() {
    let mut command = harness::outboxd("", &[]);
    command.env_remove("OUTBOXD_DATABASE__URL").env("TERM", "dumb");
    let said = run(command.args(["demo", "--events", "5"]));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(!said.out.contains('\u{1b}') && !said.out.contains('\r'), "{}", said.out);
    for part in ["healthy", "flaky", "dead", "wrong 0", "duplicates 0"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}

#[test]
fn completions_and_the_manual_page_are_made() {
    for args in
        [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]]
    {
        let said = run(harness::outboxd("postgres://u@h/d", &[]).args(args));
        assert_eq!(said.code, Some(0));
        assert!(said.out.contains("outboxd"), "{args:?}");
    }
    let folder = std::env::temp_dir().join(format!("outboxd-man-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.to_str().expect("UTF-8");
    let said = run(harness::outboxd("", &[]).args(["man", "--dir", path]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    // Every page that one of them refers to is there.
    for page in std::fs::read_dir(&folder).expect("a folder") {
        let text = std::fs::read_to_string(page.expect("an entry").path()).expect("a page");
        for name in text.split("(1)").filter_map(|before| before.split([' ', '\n']).next_back()) {
            let name = name.replace("\\-", "-");
            let known = name.starts_with("outboxd-");
            assert!(!known || folder.join(format!("{name}.1")).exists(), "{name}");
        }
    }
    assert!(folder.join("outboxd-endpoints-rotate-secret.1").exists());
    std::fs::remove_dir_all(folder).expect("own folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_what_the_daemon_says_over_tcp_and_a_unix_socket() {
    let database = Database::new().await;
    let daemon = TestDaemon::start(&database).await;
    daemon.wait_until_ready().await;
    let ask = |listen: &str, args: &[&str]| {
        let settings = [("admin.listen", listen)];
        // It has to know no more of the configuration.
        let mut command = harness::outboxd("no URL", &settings);
        run(command.arg("health").args(args))
    };
    let address = daemon.admin.to_string();
    for (args, answer) in [(&[][..], "ok\n"), (&["--ready"], "ready\n")] {
        let said = ask(&address, args);
        assert_eq!((said.code, said.out.as_str()), (Some(0), answer), "{}", said.err);
    }
    daemon.stop().await.expect("an orderly end");
    let gone = ask(&address, &[]);
    assert_eq!(gone.code, Some(1), "{}", gone.out);
    assert!(gone.err.contains("does the daemon run"), "{}", gone.err);
    let socket = std::env::temp_dir().join(format!("outboxd-{:016x}.sock", fastrand::u64(..)));
    let socket = socket.to_str().expect("UTF-8");
    // Without a database it lives, and cannot deliver.
    let away = format!("postgres://nobody@127.0.0.1:{}/away", harness::free_port());
    let process = Process::start(&away, &[("admin.listen", socket)]);
    while ask(socket, &[]).code != Some(0) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let unready = ask(socket, &["--ready"]);
    assert_eq!(unready.code, Some(1), "{}", unready.out);
    assert!(unready.err.contains("not ready: "), "{}", unready.err);
    assert_eq!(process.terminate().await, Some(0));
}
