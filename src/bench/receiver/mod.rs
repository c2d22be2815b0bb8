//! The receivers, seen from the benchmark: a process that is told to wait, and hands over what it
//! has seen.

mod request;
pub mod server;

use std::collections::HashSet;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::process::{PART, pid, this_program};

/// How long nothing may arrive before what is missing is taken for lost: longer than the first
/// retry of a delivery takes, and than a lease.
const QUIET: Duration = Duration::from_secs(120);

/// A request that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The number of the event.
    pub event: u32,
    /// The number of the endpoint.
    pub endpoint: u32,
    /// When its last byte was there, in microseconds since the epoch.
    pub at: u64,
}

impl Arrival {
    const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let place = u64::from(self.event) << 32 | u64::from(self.endpoint);
        (u128::from(place) << 64 | u128::from(self.at)).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let all = u128::from_be_bytes(bytes);
        Self { event: (all >> 96) as u32, endpoint: (all >> 64) as u32, at: all as u64 }
    }
}

/// What the receiver is told, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
enum Command {
    /// Answer once so many requests have arrived since the last `Take`, or none for a while.
    Wait { wanted: usize, quiet_ms: u64 },
    /// Hand over what has arrived, and forget it.
    Take,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Done {
    All,
    Quiet,
}

/// What receivers have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Addresses, from 127.0.0.1 on.
    pub hosts: u8,
    /// Whether they speak TLS.
    pub tls: bool,
}

/// A receiver without TLS at one address.
pub const PLAIN: Kind = Kind { hosts: 1, tls: false };

/// The process of the receivers.
#[derive(Debug)]
pub struct Receivers {
    _child: Child,
    /// Its number.
    pub pid: u32,
    /// What it is.
    pub kind: Kind,
    port: u16,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Receivers {
    /// Starts it, and returns once it listens.
    ///
    /// # Errors
    /// Of the process.
    pub async fn start(kind: Kind) -> io::Result<Self> {
        let mut command = this_program()?;
        command.args([PART, "receiver", "--hosts", &kind.hosts.to_string()]);
        if kind.tls {
            command.arg("--tls");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the receiver has no pipes");
        let commands = child.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let pid = pid(&child)?;
        let mut receivers = Self { _child: child, pid, kind, port: 0, commands, answers };
        receivers.port = receivers.answer().await?.parse().map_err(io::Error::other)?;
        Ok(receivers)
    }

    /// The start of every URL of a host, counted from 0; the endpoint's number follows.
    pub fn base(&self, host: u32) -> String {
        let scheme = if self.kind.tls { "https" } else { "http" };
        let host = host % u32::from(self.kind.hosts) + 1;
        format!("{scheme}://127.0.0.{host}:{}/", self.port)
    }

    /// Waits until so many requests have arrived since the last [`Receivers::take`], or none has for
    /// two minutes.
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn wait(&mut self, wanted: u64) -> io::Result<()> {
        self.wait_or_quiet(wanted, QUIET).await
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn wait_or_quiet(&mut self, wanted: u64, quiet: Duration) -> io::Result<()> {
        let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
        let quiet_ms = u64::try_from(quiet.as_millis()).map_err(io::Error::other)?;
        self.tell(&Command::Wait { wanted, quiet_ms }).await?;
        let answer = self.answer().await?;
        serde_json::from_str::<Done>(&answer)?;
        Ok(())
    }

    /// What has arrived since the last time.
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn take(&mut self) -> io::Result<Vec<Arrival>> {
        self.tell(&Command::Take).await?;
        let count: usize = self.answer().await?.parse().map_err(io::Error::other)?;
        let mut arrivals = Vec::with_capacity(count);
        let mut bytes = [0; Arrival::BYTES];
        for _ in 0..count {
            self.answers.read_exact(&mut bytes).await?;
            arrivals.push(Arrival::from_bytes(bytes));
        }
        Ok(arrivals)
    }

    async fn tell(&mut self, command: &Command) -> io::Result<()> {
        let line = serde_json::to_string(command)? + "\n";
        self.commands.write_all(line.as_bytes()).await?;
        self.commands.flush().await
    }

    async fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("the receiver of the benchmark ended"));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// What arrived once and more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Pairs of event and endpoint.
    pub distinct: u64,
    /// Requests beyond the first of each.
    pub duplicates: u64,
}

/// Counts pairs.
pub fn tally(arrivals: &[Arrival]) -> Tally {
    let pairs: HashSet<(u32, u32)> = arrivals.iter().map(|one| (one.event, one.endpoint)).collect();
    let distinct = pairs.len() as u64;
    Tally { distinct, duplicates: arrivals.len() as u64 - distinct }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_survives_the_pipe() {
        let arrival = Arrival { event: u32::MAX - 1, endpoint: 7, at: 1_764_099_000_123_456 };
        assert_eq!(Arrival::from_bytes(arrival.to_bytes()), arrival);
    }

    #[test]
    fn an_event_may_go_to_two_endpoints_and_once_to_each() {
        let at = |event, endpoint| Arrival { event, endpoint, at: 0 };
        let seen = [at(1, 1), at(1, 2), at(2, 1), at(1, 2), at(1, 2)];
        assert_eq!(tally(&seen), Tally { distinct: 3, duplicates: 2 });
    }
}
