use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use super::*;

/// Set in the process that the test of a killed owner starts from this very test.
const OWNER: &str = "OUTBOXD_TEST_OWNER";
const GENEROUS: Duration = Duration::from_secs(30);

fn start(options: Options) -> Cluster {
    Cluster::start(options).expect("a cluster")
}

fn psql(cluster: &Cluster, url: &str, statement: &str) -> String {
    let output = Command::new(cluster.bin.join("psql"))
        .args(["-XAtqc", statement, url])
        .output()
        .expect("psql to run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{statement}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn a_cluster_keeps_its_data_and_url_over_restarts_and_leaves_nothing_behind() {
    let mut cluster = start(Options::default());
    let url = cluster.url("postgres");
    psql(&cluster, &url, "CREATE TABLE t AS SELECT 1 AS n");
    let mut pids = vec![cluster.pid().expect("a running server")];

    for (mode, rows) in [(Shutdown::Fast, "1"), (Shutdown::Immediate, "2")] {
        cluster.restart(mode).expect("a restart");
        pids.push(cluster.pid().expect("a running server"));
        assert_eq!(psql(&cluster, &url, "SELECT count(*) FROM t"), rows);
        psql(&cluster, &url, "INSERT INTO t VALUES (2)");
    }
    cluster.kill();
    assert_eq!(cluster.pid(), None);
    cluster.stop();
    cluster.restart(Shutdown::Fast).expect("a start after a crash");
    assert_eq!(psql(&cluster, &url, "SELECT count(*) FROM t"), "3");
    pids.push(cluster.pid().expect("a running server"));

    let home = cluster.socket_dir().to_owned();
    drop(cluster);
    assert!(!home.exists());
    assert!(!pids.into_iter().any(exists));
}

#[test]
fn settings_and_a_tcp_port_reach_the_server() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.expect("a free port").port();
    let cluster = start(Options {
        tcp_port: Some(port),
        settings: vec![("shared_buffers".into(), "16MB".into())],
        ..Options::default()
    });
    let tcp = format!("postgresql://postgres@127.0.0.1:{port}/template1");
    for url in [tcp, cluster.url("template1")] {
        let asked = "SELECT current_setting('shared_buffers') || current_setting('fsync')";
        assert_eq!(psql(&cluster, &url, asked), "16MBoff");
    }
}

#[test]
fn a_server_that_does_not_start_says_why_and_leaves_nothing_behind() {
    let error = Cluster::start(Options {
        settings: vec![("shared_buffers".into(), "plenty".into())],
        ..Options::default()
    });
    let error = error.expect_err("a bad setting").to_string();
    assert!(error.contains("invalid value for parameter \"shared_buffers\""), "{error}");
}

#[test]
fn without_a_server_the_error_says_what_to_install() {
    let options = Options { bin: Some("/nowhere".into()), ..Options::default() };
    let error = Cluster::start(options).expect_err("no binaries").to_string();
    assert!(error.contains("in /nowhere"), "{error}");
    assert!(error.contains("apt-get install postgresql"), "{error}");
}

#[test]
fn urls_are_percent_encoded() {
    assert_eq!(percent_encode("/tmp/a-b_c.d~1"), "%2Ftmp%2Fa-b_c.d~1");
    assert_eq!(percent_encode("é %"), "%C3%A9%20%25");
}

#[test]
fn a_killed_owner_takes_the_server_down_and_the_next_start_cleans_up() {
    if env::var_os(OWNER).is_some() {
        own_a_cluster_until_killed();
    }
    let (_, module) = module_path!().split_once("::").expect("a crate's name");
    let this = "a_killed_owner_takes_the_server_down_and_the_next_start_cleans_up";
    let mut owner = Command::new(env::current_exe().expect("this program"))
        .args([&format!("{module}::{this}"), "--exact", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the owner to start");
    let output = BufReader::new(owner.stdout.take().expect("a pipe"));
    let line = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("cluster ").map(str::to_owned))
        .expect("the owner to report its cluster");
    let (pid, home) = line.split_once(' ').expect("two words");
    let (pid, home) = (pid.parse().expect("a number"), Path::new(home));
    assert!(exists(pid));

    owner.kill().expect("the owner to be killed");
    owner.wait().expect("the owner to be gone");
    // The server is nobody's child now, so its end is no event that we could await.
    let deadline = Instant::now() + GENEROUS;
    while exists(pid) {
        assert!(Instant::now() < deadline, "the server outlives its owner");
        std::thread::sleep(READY_POLL);
    }

    drop(start(Options::default()));
    assert!(!home.exists());
}

fn own_a_cluster_until_killed() -> ! {
    let cluster = start(Options::default());
    let pid = cluster.pid().expect("a running server");
    println!("\ncluster {pid} {}", cluster.socket_dir().display());
    loop {
        std::thread::park();
    }
}
