//! Configuration files and variables: whatever they hold, the answer is a configuration or a list of
//! what is wrong, one line each, without a secret.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use outboxd::config::{self, Sources};

/// Too long to be found by chance, and long enough for a token.
const TOKEN: &str = "canary-4b1f0c9d-canary-4b1f0c9d-canary";

/// `scripts/fuzz` names a place in memory, and removes it.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("outboxd-{}.toml", std::process::id())));

// The file, and after a NUL a variable a line.
fuzz_target!(|text: &str| {
    let (toml, variables) = text.split_once('\0').unwrap_or((text, ""));
    std::fs::write(&*FILE, toml).expect("a temporary file");
    let mut env: std::collections::BTreeMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.insert("OUTBOXD_ADMIN__TOKEN".to_owned(), TOKEN.to_owned());
    let sources = Sources { file: Some(FILE.clone()), env, ..Sources::default() };
    let shown = match config::load(&sources) {
        Ok(loaded) => {
            assert_eq!(loaded.settings.len(), config::KEYS.len());
            assert!(config::changed(&loaded, &loaded).is_empty());
            format!("{loaded:?}")
        }
        Err(problems) => {
            let shown = problems.to_string();
            assert!(!problems.0.is_empty());
            assert_eq!(shown.lines().count(), problems.0.len(), "{shown}");
            shown
        }
    };
    if !toml.contains(TOKEN) {
        assert!(!shown.contains(TOKEN), "{shown}");
    }
});
