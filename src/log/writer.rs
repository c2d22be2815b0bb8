//! The thread that writes to stderr, so that a pipe that nobody reads holds up nothing else.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written; what comes then is lost.
const WAITING: usize = 1024;

enum Message {
    Line(String),
    /// Nothing to write; whoever sent this hears when all before it is written.
    Flushed(SyncSender<()>),
}

/// Where lines go.
pub struct Writer(SyncSender<Message>);

impl Writer {
    /// Starts the thread, which ends when nobody can send lines any more.
    pub fn start() -> Self {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write(&waiting)).expect("a thread can be started");
        Self(lines)
    }

    /// Has a line written. False when too many wait already.
    pub fn write(&self, line: String) -> bool {
        self.0.try_send(Message::Line(line)).is_ok()
    }

    /// Waits until what was said is written, but no longer than this.
    pub fn flush(&self, longest: Duration) {
        let (flushed, done) = mpsc::sync_channel(1);
        if self.0.try_send(Message::Flushed(flushed)).is_ok() {
            done.recv_timeout(longest).ok();
        }
    }
}

fn write(waiting: &Receiver<Message>) {
    for message in waiting {
        match message {
            // When it fails nobody reads any more.
            Message::Line(line) => std::io::stderr().lock().write_all(line.as_bytes()).ok(),
            Message::Flushed(waiter) => waiter.send(()).ok(),
        };
    }
}
