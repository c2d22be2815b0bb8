//! A daemon as a process that can be killed, frozen, drained and looked into.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::harness;

/// Longest wait for a daemon to become ready, or to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// A running daemon. It is killed when dropped, and, where the system can do that, when this
/// process is.
pub struct Daemon {
    child: Child,
    pid: u32,
    /// What its connections to the database are called.
    pub name: String,
    admin: PathBuf,
}

impl Daemon {
    /// `failpoints` as in OUTBOXD_FAILPOINTS. What it says goes into a file in `home`, beside its
    /// admin socket. To be called on a thread that lives as long as the daemon.
    pub fn start(
        home: &Path,
        url: &str,
        name: &str,
        settings: &[(&str, &str)],
        failpoints: Option<&str>,
    ) -> Self {
        let admin = home.join(format!("{name}.sock"));
        let socket = admin.display().to_string();
        let url = format!("{url}?application_name={name}");
        let mut all = vec![("admin.listen", socket.as_str()), ("log.level", "warn")];
        all.extend_from_slice(settings);
        let plain = harness::outboxd(&url, &all);
        let mut command = match setpriv() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(plain.get_program());
                command
            }
            None => Command::new(plain.get_program()),
        };
        command.env_clear();
        command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(failpoints) = failpoints {
            command.env("OUTBOXD_FAILPOINTS", failpoints);
        }
        let log = std::fs::File::create(home.join(format!("{name}.log"))).expect("a log");
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().expect("the daemon starts");
        let pid = child.id().expect("a process that runs");
        Self { child, pid, name: name.to_owned(), admin }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it says that it is ready; false if it has ended before.
    pub async fn ready(&mut self) -> bool {
        let started = Instant::now();
        loop {
            if self.get("/readyz").await.is_ok_and(|reply| reply.starts_with("HTTP/1.1 200")) {
                return true;
            }
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return false;
            }
            let (name, late) = (&self.name, started.elapsed() > PATIENCE);
            assert!(!late, "{name} is not ready after {PATIENCE:?}: {}", self.log());
            sleep(LOOK).await;
        }
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// Waits for its end.
    pub async fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok().map(|ended| ended.expect("its end"))
    }

    /// SIGTERM; returns its exit code, none if a signal ended it.
    pub async fn drain(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.end_within(PATIENCE).await.and_then(|ended| ended.code())
    }

    /// A signal by name, such as STOP.
    pub fn signal(&self, name: &str) {
        // The shell's own: a small system has no program of that name.
        let kill = format!("kill -s {name} {}", self.pid);
        let done = Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
        assert!(done.success(), "{kill}: {done}");
    }

    /// Resident memory in bytes; zero where the system does not say.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let kilobytes = text.ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        kilobytes.unwrap_or(0) * 1024
    }

    /// The sum of a family of its metrics.
    pub async fn metric(&self, name: &str) -> io::Result<f64> {
        let text = self.get("/metrics").await?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())??;
            value.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// What it said, for a failing run.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.admin.with_extension("log"));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        let talk = async {
            let mut stream = UnixStream::connect(&self.admin).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await?;
            Ok(reply)
        };
        timeout(PATIENCE, talk).await.map_err(io::Error::other)?
    }
}

fn setpriv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|file| file.is_file())
}

/// Says what goes on; nobody minds if it cannot.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
