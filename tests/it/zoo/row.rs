//! One row of the zoo: what the receiver does, and what that must come to.

use std::any::Any;
use std::net::SocketAddr;

use super::den::{Deed, Den};

/// Where the requests go.
pub enum Home {
    /// A den with this deed.
    Den(Deed),
    /// An address that answers nothing, and what keeps it so.
    Address(SocketAddr, #[expect(dead_code, reason = "held, not read")] Box<dyn Any + Send + Sync>),
}

/// A receiver, and what an event for it must come to.
pub struct Row {
    /// In the catalogue of `docs/hostile-receivers.md`.
    pub number: u8,
    pub name: &'static str,
    pub home: Home,
    /// Scheme and host of its URL.
    pub origin: &'static str,
    /// `outcome status` of every attempt, with a `-` for no status.
    pub expected: &'static str,
    /// What the error says; empty for no error at all.
    pub error: &'static str,
    /// How many attempts there are before the delivery ends.
    pub attempts: usize,
    /// Whether it gets an event of a mebibyte.
    pub large: bool,
}

/// A row in plain HTTP. What fails is tried twice, for the schedule of the zoo has one delay.
pub fn row(
    number: u8,
    name: &'static str,
    deed: Deed,
    expected: &'static str,
    error: &'static str,
) -> Row {
    let attempts = if expected.starts_with("success") { 1 } else { 2 };
    let (home, origin) = (Home::Den(deed), "http://127.0.0.1");
    Row { number, name, home, origin, expected, error, attempts, large: false }
}

impl Row {
    /// There is one attempt more: a connection that closes without a byte is tried again for free.
    pub fn with_a_free_repetition(self) -> Self {
        Self { attempts: self.attempts + 1, ..self }
    }

    pub fn at(self, origin: &'static str) -> Self {
        Self { origin, ..self }
    }

    pub fn large(self) -> Self {
        Self { large: true, ..self }
    }

    /// The event type it subscribes to.
    pub fn events(&self) -> &'static str {
        if self.large { "zoo.large" } else { "zoo.small" }
    }

    /// How its delivery must end.
    pub fn end(&self) -> &'static str {
        if self.expected.starts_with("success") { "delivered" } else { "exhausted" }
    }
}

/// A row that lives.
pub struct Animal {
    pub row: Row,
    pub den: Option<Den>,
    pub url: String,
}

impl Animal {
    pub async fn of(row: Row) -> Self {
        let (den, addr) = match &row.home {
            Home::Den(deed) => {
                let den = Den::open(deed.clone()).await;
                let addr = den.addr;
                (Some(den), addr)
            }
            Home::Address(addr, _) => (None, *addr),
        };
        let url = format!("{}:{}/", row.origin, addr.port());
        Self { row, den, url }
    }
}
