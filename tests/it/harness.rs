//! A cluster for the whole run, a database for each test, daemons in process or as processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use outboxd::config::{self, Config, Sources};
use outboxd::daemon::{Daemon, DaemonError};
use outboxd::store::Store;
use outboxd::throwaway::{Cluster, Options};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; only a failing test gets there.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state of the database, which nothing announces, is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The cluster of this run; its server dies with the process.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| start_cluster(&[]));
/// A migrated database that the others are copies of.
static TEMPLATE: OnceCell<()> = OnceCell::const_new();
const TEMPLATE_NAME: &str = "outbox_template";

/// A cluster of a test's own, for tests that break it.
pub fn start_cluster(settings: &[(&str, &str)]) -> Cluster {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let settings = settings.iter().map(own).collect();
    start(Options { settings, ..Options::default() })
}

/// One that listens on TCP too.
pub fn start_cluster_on(port: u16) -> Cluster {
    start(Options { tcp_port: Some(port), ..Options::default() })
}

fn start(options: Options) -> Cluster {
    // For a run against another version of the server.
    let bin = std::env::var_os("OUTBOXD_TEST_PG_BIN").map(Into::into);
    Cluster::start(Options { bin, ..options }).expect("a throwaway cluster")
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address").port()
}

/// A connection for SQL of the test.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Creates the schema.
pub async fn migrate(url: &str) {
    let config = load(url, &[]);
    let store = Store::new(&config.database.url, 2).expect("a pool");
    store.migrate().await.expect("a migrated database");
}

/// A database of a test's own, and a connection to it as its owner.
pub struct Database {
    pub url: String,
    client: Client,
}

impl Database {
    /// A fresh copy of the migrated template.
    pub async fn new() -> Self {
        TEMPLATE
            .get_or_init(async || {
                let admin = connect(&CLUSTER.url("postgres")).await;
                let sql = format!("CREATE DATABASE {TEMPLATE_NAME}");
                admin.batch_execute(&sql).await.expect("a template");
                migrate(&CLUSTER.url(TEMPLATE_NAME)).await;
            })
            .await;
        Self::copy_of(TEMPLATE_NAME).await
    }

    /// A fresh database without a schema.
    pub async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("test_{:016x}", fastrand::u64(..));
        let admin = connect(&CLUSTER.url("postgres")).await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        admin.batch_execute(&sql).await.expect("a database");
        Self::at(CLUSTER.url(&name)).await
    }

    /// The database of a cluster of the test's own.
    pub async fn at(url: String) -> Self {
        let client = connect(&url).await;
        Self { url, client }
    }

    pub async fn execute(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub async fn try_execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    pub async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        match self.client.query(sql, params).await {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }

    /// The only value of the only row, as text.
    pub async fn text(&self, sql: &str) -> String {
        let rows = self.rows(&format!("SELECT ({sql})::text"), &[]).await;
        rows[0].get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// Waits until a query gives this text.
    pub async fn wait_for(&self, sql: &str, expected: &str) {
        let started = Instant::now();
        loop {
            let found = self.text(sql).await;
            if found == expected {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{sql}: still {found}, never {expected}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until nothing is queued or unfinished.
    pub async fn wait_until_idle(&self) {
        let sql = "(SELECT count(*) FROM outbox.queue) + (SELECT count(*) FROM outbox.work)";
        self.wait_for(sql, "0").await;
    }

    /// An endpoint for every event, with the secret [`SECRET`].
    pub async fn subscribe(&self, name: &str, url: &str) -> String {
        self.subscribe_to(name, url, "{*}").await
    }

    pub async fn subscribe_to(&self, name: &str, url: &str, events: &str) -> String {
        let sql = format!(
            "outbox.subscribe('{url}', events => '{events}', name => '{name}', secret => '{SECRET}')"
        );
        self.text(&sql).await
    }

    /// Emits an event and returns its id.
    pub async fn emit(&self, event_type: &str, payload: &str) -> String {
        self.text(&format!("outbox.emit('{event_type}', '{payload}')")).await
    }

    /// Inserts this many events in one statement.
    pub async fn insert_many(&self, event_type: &str, count: usize) {
        let sql = format!(
            "INSERT INTO outbox.events (type, payload) \
             SELECT '{event_type}', json_build_object('n', n) FROM generate_series(1, {count}) n"
        );
        self.execute(&sql).await;
    }
}

/// The secret of the endpoints of the tests.
pub const SECRET: &str = "whsec_GcjnwiDmyCgUHpS4wKV83G/FQGAri1KO";

/// What lets tests reach their receivers, and keeps daemons apart.
fn base_env(url: &str, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        let name = format!("OUTBOXD_{}", key.to_uppercase().replace('.', "__"));
        env.insert(name, value.to_owned());
    };
    set("database.url", url);
    set("database.pool_size", "4");
    set("admin.listen", "127.0.0.1:0");
    set("delivery.allow", "127.0.0.0/8");
    for (key, value) in settings {
        set(key, value);
    }
    env.insert("HOME".into(), "/nonexistent".into());
    env
}

/// A configuration with these settings.
pub fn load(url: &str, settings: &[(&str, &str)]) -> Config {
    let sources = Sources {
        file: None,
        default_file: "/nonexistent/outboxd.toml".into(),
        env: base_env(url, settings),
        flags: Vec::new(),
    };
    match config::load(&sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// A daemon in this process.
pub struct TestDaemon {
    pub admin: SocketAddr,
    changes: watch::Sender<Arc<Config>>,
    accepted: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DaemonError>>,
}

impl TestDaemon {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(&database.url, &[]).await
    }

    pub async fn start_with(url: &str, settings: &[(&str, &str)]) -> Self {
        let (changes, receiver) = watch::channel(Arc::new(load(url, settings)));
        let daemon = Daemon::new(receiver).await.expect("a daemon");
        let admin = daemon.admin_address().expect("an admin address");
        let accepted = daemon.accepted();
        let stop = CancellationToken::new();
        let task = tokio::spawn(daemon.run(stop.clone()));
        Self { admin, changes, accepted, stop, task }
    }

    /// Gives it another configuration, as a reload does, and waits until it has accepted it.
    pub async fn reconfigure(&self, url: &str, settings: &[(&str, &str)]) {
        let mut accepted = self.accepted.clone();
        accepted.mark_unchanged();
        self.changes.send_replace(Arc::new(load(url, settings)));
        let change = tokio::time::timeout(PATIENCE, accepted.changed()).await;
        change.expect("in time").expect("a running daemon");
    }

    /// Drains it and waits for its end.
    pub async fn stop(self) -> Result<(), DaemonError> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("an end").expect("no panic")
    }

    /// The answer of the admin listener: status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path).await
    }

    /// Waits until it says that it is ready.
    pub async fn wait_until_ready(&self) {
        wait_until_ready(self.admin).await;
    }
}

/// The answer of an admin listener.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    // Another test may have been faster.
    rustls::crypto::ring::default_provider().install_default().ok();
    match reqwest::get(format!("http://{address}{path}")).await {
        Ok(reply) => (reply.status().as_u16(), reply.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

pub async fn wait_until_ready(address: SocketAddr) {
    let started = Instant::now();
    loop {
        let (status, body) = get(address, "/readyz").await;
        if status == 200 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "never ready: {body}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The binary, with the environment of a test and nothing else.
pub fn outboxd(url: &str, settings: &[(&str, &str)]) -> Command {
    program(env!("CARGO_BIN_EXE_outboxd").as_ref(), url, settings)
}

/// The same of another build.
pub fn program(path: &Path, url: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    command.env_clear().envs(base_env(url, settings)).stdin(Stdio::null());
    command
}

/// A daemon as a process of its own, which can be killed.
pub struct Process {
    child: Child,
    pub admin: SocketAddr,
}

impl Process {
    pub fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_in(url, settings, &[])
    }

    /// With further variables in its environment.
    pub fn start_in(url: &str, settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_outboxd").as_ref();
        Self::start_program(program, url, settings, variables)
    }

    /// Another build.
    pub fn start_program(
        path: &Path,
        url: &str,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listen = admin.to_string();
        let mut all = vec![("admin.listen", listen.as_str()), ("log.level", "error")];
        all.extend_from_slice(settings);
        let mut command = program(path, url, &all);
        command.envs(variables.iter().copied());
        let child = command.arg("run").spawn().expect("a process");
        Self { child, admin }
    }

    /// With a configuration file, which the other settings are above.
    pub fn start_with_config(url: &str, file: &str) -> Self {
        Self::start(url, &[("config", file)])
    }

    pub async fn wait_until_ready(&self) {
        wait_until_ready(self.admin).await;
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("its end");
    }

    /// Lets it have no more than this many open from now on.
    pub fn limit_files(&self, most: usize) {
        let (pid, limit) = (self.child.id().to_string(), format!("--nofile={most}:"));
        let changed = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(changed.expect("prlimit of util-linux").success());
    }

    /// A signal by name.
    pub fn signal(&self, name: &str) {
        // The shell's own: a small system has no program of that name.
        let kill = format!("kill -s {name} {}", self.child.id());
        let done = Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
        assert!(done.success());
    }

    /// SIGTERM, and the exit code.
    pub async fn terminate(self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// The exit code, once it has ended by itself.
    pub async fn ended(mut self) -> Option<i32> {
        let wait = move || self.child.wait().expect("its end").code();
        tokio::task::spawn_blocking(wait).await.expect("no panic")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, in most tests.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
