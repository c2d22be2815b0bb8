//! The cluster's directory, and the user that it belongs to.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, io};

use super::{StartError, io_error};

/// Directories are named `outboxd-<pid of the owner>-<random>`.
const NAME: &str = "outboxd-";
/// Socket addresses end at 104 bytes on macOS and 108 on Linux, and the socket's name takes 18.
const PATH_MAX: usize = 80;

/// A private directory for one cluster, removed on drop.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    run_as: Option<User>,
}

/// Whom to run as when we are root, which Postgres refuses to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl Home {
    /// Makes the directory, and removes those that killed processes left behind.
    pub(super) fn create() -> Result<Self, StartError> {
        let random = getrandom::u32().map_err(io::Error::other);
        let random = random.map_err(io_error("get randomness"))?;
        let parent = env::temp_dir();
        let path = parent.join(format!("{NAME}{}-{random:08x}", process::id()));
        if path.as_os_str().len() > PATH_MAX {
            return Err(StartError::PathTooLong(path));
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(io_error("create a temporary directory"))?;
        let mut home = Self { path, run_as: None };
        let uid = home.give_away()?;
        remove_leftovers(&parent, uid);
        Ok(home)
    }

    /// A command that runs in the directory, as the user that owns it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path);
        if let Some(User { uid, gid }) = self.run_as {
            // Leaving root this way also leaves root's further groups.
            command.uid(uid).gid(gid);
        }
        command
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Chooses the user if we are root; returns the owner.
    fn give_away(&mut self) -> Result<u32, StartError> {
        // What we create is ours: the one way to learn our own user without a C library.
        let us = fs::metadata(&self.path).map_err(io_error("read a temporary directory"))?;
        if us.uid() != 0 {
            return Ok(us.uid());
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(io_error("read /etc/passwd"))?;
        let user = ["postgres", "nobody"]
            .iter()
            .find_map(|name| find_user(&passwd, name))
            .ok_or(StartError::NoUser)?;
        chown(&self.path, Some(user.uid), Some(user.gid))
            .map_err(io_error("give away a temporary directory"))?;
        self.run_as = Some(user);
        Ok(user.uid)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed now is a leftover for the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    let mut fields =
        users.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

/// Removes the directories of owners that were killed. Best effort: they only waste space.
fn remove_leftovers(parent: &Path, uid: u32) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner_of);
        if owner.is_some_and(is_gone) && is_dead_directory(&entry.path(), uid) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that a directory of this name belongs to.
fn owner_of(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(NAME)?.split_once('-')?;
    pid.parse().ok()
}

/// Only certain where there is a `/proc`; elsewhere leftovers stay until the system cleans up.
fn is_gone(pid: u32) -> bool {
    let proc = Path::new("/proc");
    proc.join("self").exists() && !proc.join(pid.to_string()).exists()
}

/// A directory of this user in which nothing listens. The process table alone would not do:
/// another container may share the temporary directory, and a killed owner's server takes a
/// moment to stop.
fn is_dead_directory(path: &Path, uid: u32) -> bool {
    let is_ours = fs::symlink_metadata(path).is_ok_and(|it| it.is_dir() && it.uid() == uid);
    let listens = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| UnixStream::connect(entry.path()).is_ok())
    };
    is_ours && fs::read_dir(path).is_ok_and(|mut entries| !entries.any(listens))
}
