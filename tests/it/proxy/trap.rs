//! Cutting a connection at a moment that its bytes tell.

use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of the connection whose bytes spring the trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is reset before the last text goes on.
    Before,
    /// The last text goes on, and then the sender is reset; the other side sees an orderly end, so
    /// that it reads what it was sent.
    After,
    /// The last text goes on, and the sender is reset when the answer to it has come.
    Answer,
    /// The last text goes on, and no answer ever comes.
    Silence,
}

/// Texts that have to go up in this order, and what happens then.
#[derive(Debug)]
pub struct Trap {
    texts: Vec<Vec<u8>>,
    cut: Cut,
    /// Tells it from those before.
    number: u64,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A trap that has sprung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sprung {
    /// How many bytes of the piece still go on.
    pub at: usize,
    /// What becomes of the connection.
    pub cut: Cut,
}

impl Trap {
    /// One that springs when these texts have been sent.
    pub fn new(texts: &[&str], cut: Cut) -> Self {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Self { texts, cut, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }
}

/// What one connection has sent, as far as the trap wants it.
#[derive(Default)]
pub struct Seen {
    /// For which trap.
    trap: u64,
    /// The end of what was sent, where a text may begin that goes on in the next piece.
    tail: Vec<u8>,
    /// How many of the texts were found.
    found: usize,
}

impl Seen {
    /// Looks at a piece that is about to go on.
    pub fn look(&mut self, piece: &[u8], trap: &Trap) -> Option<Sprung> {
        if self.trap != trap.number {
            *self = Self { trap: trap.number, ..Self::default() };
        }
        let before = self.tail.len();
        self.tail.extend_from_slice(piece);
        let mut from = 0;
        while let Some(text) = trap.texts.get(self.found) {
            let Some(at) = position(&self.tail[from..], text) else { break };
            self.found += 1;
            let begin = from + at;
            from = begin + text.len();
            if self.found == trap.texts.len() {
                let at = if trap.cut == Cut::Before { begin } else { from };
                return Some(Sprung { at: at.saturating_sub(before), cut: trap.cut });
            }
        }
        let longest = trap.texts.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
        let keep = longest.min(self.tail.len() - from);
        self.tail.drain(..self.tail.len() - keep);
        None
    }
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
