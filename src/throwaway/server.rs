//! The server process.

use std::convert::Infallible;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

/// A server process, and the news of its end.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) pid: u32,
    /// Nothing is ever sent: it disconnects when the process has ended. The lock, which nobody
    /// waits for, lets threads share a cluster.
    end: Mutex<Receiver<Infallible>>,
}

impl Server {
    /// The parent-death signal fires when the *thread* that spawned the process ends, so each
    /// server has a thread of its own, which stays until the server has ended.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        let (report, reported) = mpsc::sync_channel(1);
        let (running, end) = mpsc::channel();
        thread::Builder::new().name("postgres".into()).spawn(move || {
            let _running = running;
            match command.spawn() {
                Ok(mut child) => {
                    let _ = report.send(Ok(child.id()));
                    let _ = child.wait();
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            }
        })?;
        let pid = reported.recv().map_err(io::Error::other)??;
        let end = Mutex::new(end);
        Ok(Self { pid, end })
    }

    /// Waits that long at most; whether the process has ended.
    pub(super) fn ends_within(&mut self, wait: Duration) -> bool {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        end.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
    }
}
