//! The daemon as operators run it: `outboxd run`, in a process of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::BenchError;
use super::process::{pid, this_program};

/// Longest wait for it to become ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// It does not tell when it begins to deliver, so it is asked.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Lines of its log that an error carries.
const LOG_LINES: usize = 12;

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Its process id.
    pub pid: u32,
    admin: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, with these keys besides what receivers on this machine need, and returns once it
    /// delivers. `name` tells its files in the folder from those of another.
    ///
    /// # Errors
    /// When it ends, or is not ready within a minute.
    pub async fn start(
        folder: &Path,
        name: &str,
        url: &str,
        keys: &[(String, String)],
    ) -> Result<Self, BenchError> {
        let (admin, log) =
            (folder.join(format!("{name}.sock")), folder.join(format!("{name}.log")));
        let mut command = this_program()?;
        command
            .env("OUTBOXD_CONFIG", "/dev/null")
            .env("OUTBOXD_DATABASE__URL", url)
            .env("OUTBOXD_ADMIN__LISTEN", &admin)
            .env("OUTBOXD_DELIVERY__ALLOW", "127.0.0.0/8")
            .env("OUTBOXD_SECRETS__STORAGE", "plain")
            .env("OUTBOXD_LOG__LEVEL", "warn")
            .arg("run");
        for (key, value) in keys {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let child = command
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        let pid = pid(&child)?;
        let mut daemon = Self { child, pid, admin, log };
        daemon.ready().await?;
        Ok(daemon)
    }

    async fn ready(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        loop {
            if self.get("/readyz").await.is_ok_and(|reply| reply.ends_with("\r\n\r\nready\n")) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                return Err(BenchError::Daemon(self.said()));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits for its end, which nobody expects.
    pub async fn ended(&mut self) -> BenchError {
        match self.child.wait().await {
            Ok(_) => BenchError::Daemon(self.said()),
            Err(error) => error.into(),
        }
    }

    /// Drains it.
    ///
    /// # Errors
    /// When it does not end, or not as it should.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        // The shell's own: a small system has no program of that name.
        let kill = format!("kill -s TERM {}", self.pid);
        tokio::process::Command::new("sh").args(["-c", &kill]).status().await?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => Ok(()),
            _ => Err(BenchError::Daemon(self.said())),
        }
    }

    /// The end of its log.
    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    async fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.admin).await?;
        // HTTP 1.0: the reply ends with the connection.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok(reply)
    }
}
