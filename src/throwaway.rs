//! A throwaway Postgres cluster from the local binaries, for the demo, the benchmark and the tests.
//!
//! It lives in one private directory, which also holds its socket, and goes when its owner goes:
//! on drop, or by the parent-death signal when the owning process is killed.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use home::Home;
use server::Server;

mod home;
mod server;
#[cfg(test)]
mod tests;

/// Postgres's own default, here part of the socket's name.
const PORT: u16 = 5432;
/// How long a server may take to accept connections, recovery from a crash included.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long a server may take to stop before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Readiness has no event to wait for: the server writes a word into a file.
const READY_POLL: Duration = Duration::from_millis(10);
/// How much of the server's log an error carries.
const LOG_TAIL_LINES: usize = 12;
/// Where packages put their binaries: a directory, and what comes before the version in it.
const PACKAGES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// What to start; by default a server that only this machine reaches, and that a power cut erases.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The directory of `initdb`, `pg_ctl` and `postgres`; looked for when absent.
    pub bin: Option<PathBuf>,
    /// Whether commits reach the disk.
    pub fsync: bool,
    /// Also listen on 127.0.0.1 at this port.
    pub tcp_port: Option<u16>,
    /// Instead of an empty one, a copy of the server at this URL, which follows it as a standby.
    pub standby_of: Option<String>,
    /// Further server settings, name and value; they win over those set here.
    pub settings: Vec<(String, String)>,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are ended and the data is written out.
    Fast,
    /// As in a crash: nothing is written, and the next start recovers.
    Immediate,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No server binaries.
    #[error("no Postgres server found {0}; to install one: apt-get install postgresql")]
    NotFound(String),
    /// The temporary directory is too deep for a socket in it.
    #[error("{0} is too long for the path of a socket; set TMPDIR to a shorter directory")]
    PathTooLong(PathBuf),
    /// Running as root, and there is nobody to run the server as.
    #[error("Postgres refuses to run as root, and there is no user `postgres` or `nobody`")]
    NoUser,
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// Postgres itself refused.
    #[error("{what}:\n{output}")]
    Refused {
        /// What did not work.
        what: &'static str,
        /// The end of what Postgres said.
        output: String,
    },
}

/// A cluster and its server; dropping it stops the server and removes the directory.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    bin: PathBuf,
    home: Home,
    server: Option<Server>,
}

impl Cluster {
    /// Creates a cluster and returns once it accepts connections. Blocks for a second or two.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let bin = find_binaries(options.bin.as_deref())?;
        let home = Home::create()?;
        let mut cluster = Self { options, bin, home, server: None };
        match cluster.options.standby_of.clone() {
            None => cluster.initdb()?,
            Some(primary) => cluster.copy(&primary)?,
        }
        cluster.launch()?;
        Ok(cluster)
    }

    /// A libpq URL for a database of this cluster, over its socket, as the superuser.
    pub fn url(&self, database: &str) -> String {
        let host = percent_encode(&self.home.path.to_string_lossy());
        let database = percent_encode(database);
        format!("postgresql://postgres@{host}:{}/{database}", self.port())
    }

    /// The directory of the server's socket.
    pub fn socket_dir(&self) -> &Path {
        &self.home.path
    }

    /// The port: of TCP where asked for, and in the name of the socket.
    pub fn port(&self) -> u16 {
        self.options.tcp_port.unwrap_or(PORT)
    }

    /// A program of the server's version; whether the package has it is another question.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The process id of the server, unless it was stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.pid)
    }

    /// Stops the server in an orderly way and keeps its data; `restart` brings it back.
    pub fn stop(&mut self) {
        self.shut_down(Shutdown::Fast);
    }

    /// Stops the server as a crash would and keeps its data; `restart` brings it back.
    pub fn kill(&mut self) {
        self.shut_down(Shutdown::Immediate);
    }

    /// Stops the server if it runs, and starts it on the same data and the same URL.
    pub fn restart(&mut self, mode: Shutdown) -> Result<(), StartError> {
        self.shut_down(mode);
        self.launch()
    }

    fn shut_down(&mut self, mode: Shutdown) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let polite = match mode {
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        };
        for signal in [polite, "KILL"] {
            if !server.ends_within(Duration::ZERO) {
                self.signal(server.pid, signal);
            }
            if server.ends_within(STOP_WAIT) {
                return;
            }
        }
    }

    /// By `pg_ctl`, which is always there, unlike `kill`; a failure shows in a server that stays.
    fn signal(&self, pid: u32, signal: &str) {
        let mut command = self.home.command(&self.bin.join("pg_ctl"));
        command.args(["kill", signal, &pid.to_string()]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    fn initdb(&self) -> Result<(), StartError> {
        let mut command = self.home.command(&self.bin.join("initdb"));
        command.args(["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.args(["-U", "postgres", "-D"]).arg(self.home.data());
        let output = command.output().map_err(io_error("run initdb"))?;
        succeeded("initdb failed", &output)
    }

    fn copy(&self, primary: &str) -> Result<(), StartError> {
        let mut command = self.home.command(&self.bin.join("pg_basebackup"));
        command.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", primary, "-D"]);
        let output = command.arg(self.home.data()).output();
        succeeded("pg_basebackup failed", &output.map_err(io_error("run pg_basebackup"))?)
    }

    fn launch(&mut self) -> Result<(), StartError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.log())
            .map_err(io_error("open the server's log"))?;
        let mut command = self.server_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut server = Server::spawn(command).map_err(io_error("run postgres"))?;
        let ready = wait_until_ready(&self.home, &mut server);
        self.server = Some(server);
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    fn server_command(&self) -> Command {
        let postgres = self.bin.join("postgres");
        // A change of user clears the death signal, so it is asked for afterwards: `command`
        // changes the user before it becomes `setpriv`. Where that is missing, on macOS, a
        // killed owner leaves its server behind.
        let mut command = if let Some(setpriv) = on_path("setpriv") {
            let mut command = self.home.command(&setpriv);
            command.args(["--pdeathsig", "INT", "--"]).arg(postgres);
            command
        } else {
            self.home.command(&postgres)
        };
        // Ctrl-C is for our own process, which needs the database while it drains.
        command.process_group(0);
        command.arg("-D").arg(self.home.data());
        command.arg("-k").arg(&self.home.path);
        command.args(["-p", &self.port().to_string()]);
        let listen = self.options.tcp_port.map_or("", |_| "127.0.0.1");
        let fsync = if self.options.fsync { "on" } else { "off" };
        let mut set = |name: &str, value: &str| {
            command.args(["-c", &format!("{name}={value}")]);
        };
        set("listen_addresses", listen);
        set("fsync", fsync);
        set("max_connections", "200");
        set("shared_buffers", "128MB");
        for (name, value) in &self.options.settings {
            set(name, value);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait_until_ready(home: &Home, server: &mut Server) -> Result<(), StartError> {
    let deadline = Instant::now() + START_WAIT;
    let what = loop {
        if is_ready(home, server.pid) {
            return Ok(());
        }
        if server.ends_within(READY_POLL) {
            break "the Postgres server ended while starting";
        }
        if Instant::now() > deadline {
            break "the Postgres server is not ready after a minute";
        }
    };
    let output = tail(&fs::read(home.log()).unwrap_or_default());
    Err(StartError::Refused { what, output })
}

/// Reads the server's status file: its process id in the first line, its status in the eighth.
/// The id tells this server's file from one that a killed server left.
fn is_ready(home: &Home, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(home.data().join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    let is_this = lines.next() == Some(&pid.to_string());
    is_this && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

/// The first directory that holds a whole server: the one given, or else of `initdb` on the
/// PATH, or else the newest that a package installed.
fn find_binaries(given: Option<&Path>) -> Result<PathBuf, StartError> {
    if let Some(bin) = given {
        let missing = || StartError::NotFound(format!("in {}", bin.display()));
        return has_server(bin).then(|| bin.into()).ok_or_else(missing);
    }
    // On the PATH there may be a link, whose target has the other programs beside it.
    let linked = on_path("initdb").and_then(|initdb| initdb.canonicalize().ok());
    let linked = linked.and_then(|initdb| initdb.parent().map(Path::to_path_buf));
    linked
        .into_iter()
        .chain(packaged_binaries())
        .find(|bin| has_server(bin))
        .ok_or_else(|| StartError::NotFound("on the PATH or where packages put it".into()))
}

/// Wrappers and client packages leave some of the programs out, or install them without a server.
fn has_server(bin: &Path) -> bool {
    let mut version = Command::new(bin.join("postgres"));
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let runs = version.status().is_ok_and(|status| status.success());
    runs && ["initdb", "pg_ctl"].iter().all(|name| bin.join(name).is_file())
}

/// The `bin` directories of packaged versions, newest first.
fn packaged_binaries() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in PACKAGES {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if let Some(version) = version.and_then(|version| version.parse().ok()) {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, bin)| bin).collect()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn succeeded(what: &'static str, output: &Output) -> Result<(), StartError> {
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::Refused { what, output: tail(&output.stderr) })
}

fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}
