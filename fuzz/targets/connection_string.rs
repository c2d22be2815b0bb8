//! Connection strings and the variables of libpq: nothing panics, and no password is shown.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use outboxd::config::ConnectionString;

/// Too long to be found by chance.
const PASSWORD: &str = "canary-4b1f0c9d";

// The string, and a variable a line. `%` alone stands for the password.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let string = lines.next().unwrap_or_default().replace("%%", PASSWORD);
    let mut env: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.insert("PGPASSWORD".to_owned(), PASSWORD.to_owned());
    let shown = match ConnectionString::parse(&string, &env) {
        Ok(read) => {
            // These decide where to connect, and must hold for whatever was accepted.
            drop((read.to_tokio(), read.tls(), read.hosts()));
            format!("{} {} {:?} {:?}", read.redacted(), read.target(), read.warnings(), read)
        }
        Err(error) => format!("{error} {error:?}"),
    };
    // Elsewhere than in its place, the text is none that could be known for a password. The fuzzer
    // learns it from what is compared, and may put it anywhere.
    if !string.contains(PASSWORD) && !text.contains(PASSWORD) {
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
});
