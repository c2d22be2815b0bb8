//! The journal of systemd: each record is a datagram of fields (systemd, "Native Journal Protocol").

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;
use tracing::Level;

use super::record::Record;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of a datagram. More would have to go by a sealed file; values are cut long before.
const MOST: usize = 96 * 1024;

/// The journal.
pub struct Journal {
    socket: io::Result<UnixDatagram>,
}

impl Journal {
    /// Connects to nothing yet: the journal may be restarted at any time.
    pub fn new() -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            // A journal that does not keep up must not hold the daemon up.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self { socket }
    }

    /// Sends a record.
    ///
    /// # Errors
    /// When there is no journal, or it does not keep up.
    pub fn send(&self, record: &Record) -> io::Result<()> {
        match &self.socket {
            Ok(socket) => socket.send_to(&datagram(record), SOCKET).map(drop),
            Err(error) => Err(error.kind().into()),
        }
    }
}

/// Whether stderr is a stream of the journal, as systemd connects it (`sd-daemon(3)`,
/// `$JOURNAL_STREAM`).
pub fn is_stderr() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| named == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// The level as syslog counts.
pub fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn datagram(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, "PRIORITY", &priority(record.level).to_string());
    put(&mut bytes, "SYSLOG_IDENTIFIER", "outboxd");
    // With the values, for who reads the messages alone.
    put(&mut bytes, "MESSAGE", &record.text());
    put(&mut bytes, "OUTBOXD_TARGET", &record.target);
    for (name, value) in &record.fields {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let name = format!("OUTBOXD_{}", name.to_uppercase().replace('.', "_"));
        if bytes.len() + text.len() < MOST {
            put(&mut bytes, &name, &text);
        }
    }
    bytes
}

/// A field: in a line of its own, or with its length before it.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}
