//! What the daemon logs, read from where it goes: a pipe, or the socket of the journal.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::harness::{self, Database, PATIENCE};
use super::receiver::{Receiver, Reply};

/// A daemon of its own whose stderr is a pipe.
fn start(database: &Database, settings: &[(&str, &str)]) -> Child {
    let mut command = harness::outboxd(&database.url, settings);
    command.arg("run").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// Ends it, and returns all that it said.
async fn end(mut child: Child) -> String {
    let kill = format!("kill -s TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    let wait = move || {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).expect("text");
        }
        child.wait().expect("its end");
        said
    };
    tokio::task::spawn_blocking(wait).await.expect("no panic")
}

const ENDED: &str = "SELECT count(*) FROM outbox.deliveries WHERE status = 'exhausted'";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_gets_few_lines_and_a_count_of_the_others() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    database.subscribe_to("noisy", &receiver.url("/noisy"), "{a}").await;
    database.subscribe_to("quiet", &receiver.url("/quiet"), "{b}").await;
    let child = start(&database, &[("delivery.retry", "none")]);
    // Few at once, so that its circuit stays closed.
    database.insert_many("a", 100).await;
    database.wait_for(ENDED, "100").await;
    let event = database.emit("b", "{}").await;
    database.wait_for(ENDED, "101").await;
    let said = end(child).await;
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let about = |name: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["endpoint"] == name).collect()
    };
    let (noisy, quiet) = (about("noisy"), about("quiet"));
    assert_eq!(noisy.len(), 11, "{said}");
    let written = noisy.iter().filter(|line| line["message"] == "delivery given up").count();
    let left_out = noisy[10]["left_out"].as_u64().expect("a count");
    // A circuit that opens is a line as well.
    assert!((90..=92).contains(&left_out) && written >= 9, "{said}");
    assert_eq!((quiet.len(), &quiet[0]["event_id"]), (1, &Value::from(event)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    database.subscribe("one", &receiver.url("/")).await;
    let admin = SocketAddr::from(([127, 0, 0, 1], harness::free_port()));
    let listen = admin.to_string();
    // Far more than fits into the pipe.
    let child = start(&database, &[("log.level", "trace"), ("admin.listen", &listen)]);
    database.insert_many("a", 3000).await;
    let delivered = "SELECT count(*) FROM outbox.deliveries WHERE status = 'delivered'";
    database.wait_for(delivered, "3000").await;
    let (_, metrics) = harness::get(admin, "/metrics").await;
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("outboxd_log_lines_dropped_total ")?.parse().ok())
        .unwrap_or(0.0);
    assert!(dropped > 0.0, "nothing was dropped: the pipe was not full");
    // Whoever reads again hears how many there were.
    let said = end(child).await;
    assert!(said.lines().any(|line| line.contains(r#""dropped":"#)), "not said");
    let cut = said.lines().find(|line| serde_json::from_str::<Value>(line).is_err());
    assert_eq!(cut, None, "a line is written whole or not at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_one_line_each_whatever_a_receiver_says() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(302).header("Location", "/a endpoint=other"));
    database.subscribe("one", &receiver.url("/")).await;
    let child = start(&database, &[("delivery.retry", "none"), ("log.format", "text")]);
    let event = database.emit("a", "{}").await;
    database.wait_for(ENDED, "1").await;
    let said = end(child).await;
    assert!(!said.chars().any(|c| c != '\n' && c.is_control()), "{said:?}");
    let line = said.lines().find(|line| line.contains("delivery given up")).expect("a line");
    let wanted = format!("  WARN delivery given up event_id={event} endpoint=one attempt=1");
    assert!(line.contains(&wanted) && line.contains("to /a endpoint=other\""), "{line}");
}

/// The fields of a datagram of the journal.
fn fields(mut bytes: &[u8]) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|b| *b == b'\n').expect("a line");
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
        } else {
            let (length, rest) = bytes.split_at(8);
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
            let (value, rest) = rest.split_at(usize::try_from(length).expect("a length"));
            fields.insert(line, String::from_utf8_lossy(value).into_owned());
            bytes = &rest[1..];
        }
    }
    fields
}

/// The journal's directory put over that of the system, for one process and its children.
fn beside_the_system(directory: &str) -> Option<Command> {
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
         mount --bind {directory} /run/systemd/journal && exec \"$@\""
    );
    // A user other than root is root of the namespace only, and then sees files of others as nobody.
    let works = |own: &&[&str]| {
        let mut tried = Command::new("unshare");
        let tried = tried.args(*own).args(["sh", "-c", &script, "sh", "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let Some(own) = ways.into_iter().find(works) else {
        eprintln!("NOT CHECKED: no mount namespace of its own can be made here");
        return None;
    };
    let mut command = Command::new("unshare");
    command.args(own).args(["sh", "-c", &script, "sh"]);
    Some(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_lines_are_fields_of_the_journal() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    receiver.otherwise(Reply::status(500));
    database.subscribe("acme", &receiver.url("/")).await;
    let directory =
        std::env::temp_dir().join(format!("outboxd-journal-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&directory).expect("a directory");
    let Some(mut inside) = beside_the_system(&directory.display().to_string()) else { return };
    let journal = UnixDatagram::bind(directory.join("socket")).expect("a socket");
    journal.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    // As systemd does it: stderr is a socket, and a variable says which.
    let (stderr, mut stream) = UnixStream::pair().expect("sockets");
    let stderr = OwnedFd::from(stderr);
    let number = std::os::fd::AsRawFd::as_raw_fd(&stderr);
    let about = std::fs::metadata(format!("/proc/self/fd/{number}")).expect("a socket");
    let daemon = harness::outboxd(&database.url, &[("delivery.retry", "none")]);
    inside.arg(daemon.get_program()).arg("run").env_clear();
    for (name, value) in daemon.get_envs() {
        inside.env(name, value.expect("set"));
    }
    inside.env("PATH", std::env::var_os("PATH").expect("a path"));
    inside.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()));
    let mut child =
        inside.stdout(Stdio::null()).stderr(Stdio::from(stderr)).spawn().expect("it starts");
    drop(inside);
    let event = database.emit("a", "{}").await;
    let mut buffer = vec![0; 256 * 1024];
    let given_up = loop {
        let length = journal.recv(&mut buffer).expect("a line in time");
        let fields = fields(&buffer[..length]);
        assert_eq!(fields["SYSLOG_IDENTIFIER"], "outboxd");
        if fields["MESSAGE"].starts_with("delivery given up") {
            break fields;
        }
        assert!(fields["PRIORITY"] == "6" || fields["PRIORITY"] == "4", "{fields:?}");
    };
    let of = |name: &str| given_up.get(name).map(String::as_str);
    assert_eq!(of("PRIORITY"), Some("4"));
    assert_eq!(of("OUTBOXD_EVENT_ID"), Some(event.as_str()));
    assert_eq!(of("OUTBOXD_ENDPOINT"), Some("acme"));
    assert_eq!(of("OUTBOXD_OUTCOME"), Some("http_5xx"));
    assert!(given_up["MESSAGE"].contains("endpoint=acme"), "{given_up:?}");
    let kill = format!("kill -s TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    assert!(child.wait().expect("its end").success());
    let mut twice = String::new();
    stream.read_to_string(&mut twice).expect("text");
    assert_eq!(twice, "", "nothing goes to both");
    std::fs::remove_dir_all(&directory).ok();
}
