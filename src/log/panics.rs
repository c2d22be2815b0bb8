//! Panics: each a fault of outboxd, logged like everything else and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use crate::metrics::Total;

/// How many there were.
pub static PANICS: Total =
    Total::new("outboxd_panics_total", "Panics of outboxd, each a fault of it to report");

/// Takes them over from the standard library, which would write to stderr as it likes.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.inc();
        say(panic);
        // It may be the last thing that this process says.
        super::flush();
    }));
}

fn say(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // Only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(place, %backtrace, "panicked: {message}");
    } else {
        tracing::error!(place, "panicked: {message}");
    }
}
