//! Where it was measured, and with what.

use std::fs;

use serde_json::{Map, Value, json};

use super::place::Place;

/// Settings of the server that figures depend on.
const SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "autovacuum",
    "jit",
    "shared_preload_libraries",
];

/// The machine and the server.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Processors that this process may use.
    pub processors: usize,
    /// Their model.
    pub processor: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The system's kernel.
    pub kernel: String,
    /// The server's version.
    pub postgres: String,
    /// Settings of the server, by name.
    pub settings: Vec<(&'static str, String)>,
    /// Whether the server is the benchmark's own.
    pub own_server: bool,
}

impl Machine {
    /// Looks around. What the system does not tell is empty or zero.
    pub async fn look(place: &Place) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut settings = Vec::new();
        for name in SETTINGS {
            settings.push((name, place.text(&format!("current_setting('{name}')")).await));
        }
        Self {
            processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_bytes: kilobytes(&field(&read("/proc/meminfo"), "MemTotal")) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            postgres: place.text("current_setting('server_version')").await,
            settings,
            own_server: place.server_pid().is_some(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        json!({
            "processors": self.processors,
            "processor": self.processor,
            "memory_bytes": self.memory_bytes,
            "kernel": self.kernel,
            "outboxd": env!("CARGO_PKG_VERSION"),
            "build": build(),
            "postgres": self.postgres,
            "own_server": self.own_server,
            "postgres_settings": settings.collect::<Map<_, _>>(),
        })
    }

    /// For people.
    pub fn lines(&self) -> String {
        let Self { processors, processor, memory_bytes, kernel, postgres, .. } = self;
        let gibibytes = *memory_bytes as f64 / f64::from(1 << 30);
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(
            "machine    {processors} x {processor}, {gibibytes:.0} GiB, Linux {kernel}\n\
             versions   outboxd {} ({}), PostgreSQL {postgres}\n\
             server     {}\n",
            env!("CARGO_PKG_VERSION"),
            build(),
            settings.join(" ")
        )
    }
}

/// Rates of a build for development say nothing.
fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug build" } else { "release build" }
}

/// The value behind the first line of that name.
fn field(text: &str, name: &str) -> String {
    let value = |line: &str| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value).unwrap_or_default()
}

fn kilobytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nmodel name\t: B\n";
        assert_eq!(field(text, "model name"), "A Processor @ 2 GHz");
        assert_eq!(field(text, "model"), "");
        assert_eq!(kilobytes(&field("MemTotal:       24684044 kB\n", "MemTotal")), 24_684_044);
    }
}
