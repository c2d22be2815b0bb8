//! Debian's PgBouncer as a process, in transaction mode.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::harness::{PATIENCE, free_port};

/// Of its program, and of a library that a system may lack: what scripts/install-test-deps unpacked.
const UNPACKED: &str = "target/verifiers/pgbouncer/usr";
/// How often it is tried whether it listens.
const LOOK: Duration = Duration::from_millis(5);

/// A pooler that stops when it is dropped.
pub struct PgBouncer {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl PgBouncer {
    /// Before the database `postgres` of the server at this port, for these users, with so many
    /// connections to it. None without the program, which it says: the test is skipped then.
    pub fn start(server: u16, users: &[&str], connections: usize) -> Option<Self> {
        let program = program()?;
        let name = format!("outboxd-pgbouncer-{:016x}", fastrand::u64(..));
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        // It refuses to be root, and becomes whom it is told once it has read this.
        let is_root = fs::metadata(&folder).expect("the folder").uid() == 0;
        let user = if is_root { "user = nobody\n" } else { "" };
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server}\n[pgbouncer]\n{user}\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = users\npool_mode = transaction\ndefault_pool_size = {connections}\n",
            address.port()
        );
        let known: String = users.iter().map(|user| format!("\"{user}\" \"\"\n")).collect();
        for (file, text) in [("pgbouncer.ini", config), ("users", known)] {
            fs::write(folder.join(file), text).expect("a file");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its own");
        let child = launch(&program, &folder, address);
        Some(Self { child, folder, address })
    }

    /// The database as this user, through the pooler.
    pub fn url(&self, user: &str) -> String {
        format!("postgresql://{user}@{}/postgres", self.address)
    }

    /// It dies, with all connections.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("its end");
    }

    /// It is back, at the same address.
    pub fn restart(&mut self) {
        let program = program().expect("it was there before");
        self.child = launch(&program, &self.folder, self.address);
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Its test may have ended it.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(UNPACKED)
}

fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(unpacked().join("sbin")).chain(env::split_paths(&path));
    let found = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("NOT CHECKED: there is no pgbouncer; scripts/install-test-deps");
    }
    found
}

/// Starts it, and returns once it listens.
fn launch(program: &Path, folder: &Path, address: SocketAddr) -> Child {
    // The folder below is named after the machine's architecture.
    let libraries = fs::read_dir(unpacked().join("lib")).into_iter().flatten().flatten();
    let libraries: Vec<PathBuf> = libraries.map(|entry| entry.path()).collect();
    let mut child = Command::new(program)
        .current_dir(folder)
        .env("LD_LIBRARY_PATH", env::join_paths(libraries).expect("paths"))
        .args(["-q", "pgbouncer.ini"])
        .stdin(Stdio::null())
        .spawn()
        .expect("pgbouncer runs");
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none() && started.elapsed() < PATIENCE, "pgbouncer: {ended:?}");
        thread::sleep(LOOK);
    }
    child
}
