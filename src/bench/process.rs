//! The other processes of a benchmark: this program again, in another part.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

/// The subcommand, hidden from people, whose argument is a part.
pub const PART: &str = "bench-part";

/// This program, with an environment that configures nothing. It goes when this process goes. To be
/// spawned from a thread that lives as long as it does.
pub fn this_program() -> io::Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let configures = ["OUTBOXD_", "DATABASE_URL", "PG", "NOTIFY_SOCKET", "WATCHDOG_"];
        if configures.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// A private directory for sockets, logs and certificates; removed on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create() -> io::Result<Self> {
        let random = getrandom::u32().map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("outboxd-bench-{random:08x}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays for whoever cleans the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The number of a process that runs.
pub fn pid(child: &Child) -> io::Result<u32> {
    child.id().ok_or_else(|| io::Error::other("a process of the benchmark ended early"))
}

fn setpriv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|file| file.is_file())
}
