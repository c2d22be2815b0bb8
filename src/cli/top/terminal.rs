//! The terminal: a screen of its own, and the key that ends it. Its settings are those of `stty`, a
//! part of every system that has terminals; without it q needs the return key.

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, Stdio};

use tokio::sync::mpsc;

/// The other screen, without a cursor, without wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
/// What ends it: q, Q, ctrl-D, and ctrl-C where it is no signal.
const QUIT: [u8; 4] = [b'q', b'Q', 4, 3];

/// A terminal that is drawn on; as it was before when it is dropped.
pub struct Terminal {
    settings: Option<String>,
    keys: mpsc::UnboundedReceiver<u8>,
}

impl Terminal {
    /// Takes it over; none when stdout is none that can be drawn on.
    pub fn open() -> Option<Self> {
        let draws = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !draws || !io::stdout().is_terminal() {
            return None;
        }
        let settings = stty(&["-g"]).map(|settings| settings.trim().to_owned());
        if settings.is_some() {
            // Keys come at once, and are not shown.
            stty(&["-icanon", "-echo"]);
        }
        write(ENTER).ok()?;
        Some(Self { settings, keys: keys() })
    }

    /// How many lines it has, where that can be found out.
    pub fn lines(&self) -> Option<usize> {
        let size = stty(&["size"])?;
        size.split_whitespace().next()?.parse().ok().filter(|lines| *lines > 0)
    }

    /// Shows a frame in the place of the last one.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&self, frame: &str) -> io::Result<()> {
        let lines = frame.replace('\n', &format!("{REST_OF_LINE}\r\n"));
        write(&format!("{HOME}{lines}{REST_OF_SCREEN}"))
    }

    /// Waits until somebody wants to end it.
    pub async fn quit(&mut self) {
        while let Some(key) = self.keys.recv().await {
            if QUIT.contains(&key) {
                return;
            }
        }
        // Nobody can press a key any more.
        std::future::pending().await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        write(LEAVE).ok();
        if let Some(settings) = &self.settings {
            stty(&[settings]);
        }
    }
}

/// What is typed. The thread ends with the process: nothing else ends a read of a terminal.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (typed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for byte in io::stdin().lock().bytes() {
            let Ok(byte) = byte else { return };
            if typed.send(byte).is_err() {
                return;
            }
        }
    });
    keys
}

/// The answer of `stty` about the terminal that is typed on.
fn stty(args: &[&str]) -> Option<String> {
    let output = Command::new("stty")
        .args(args)
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
