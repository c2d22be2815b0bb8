//! Patterns over event types: one by one and as an index, against a model without cleverness.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outboxd::matching::{Index, Pattern};

/// Subscribers that the patterns are dealt out to.
const SUBSCRIBERS: usize = 5;

fn wanted(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        // Events of outboxd's own have to be named.
        Some("") => !event_type.starts_with("outboxd."),
        Some(stem) => event_type.get(..stem.len()) == Some(stem),
        None => pattern == event_type,
    }
}

// The event type, and a pattern a line.
fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let event_type = lines.next().unwrap_or_default();
    let mut subscribers: Vec<(Vec<Pattern>, usize)> =
        (0..SUBSCRIBERS).map(|n| (Vec::new(), n)).collect();
    let mut expected = Vec::new();
    for (number, line) in lines.enumerate() {
        let Ok(pattern) = Pattern::parse(line) else { continue };
        assert_eq!(
            pattern.matches(event_type),
            wanted(line, event_type),
            "{line:?} {event_type:?}"
        );
        let subscriber = number % SUBSCRIBERS;
        if wanted(line, event_type) {
            expected.push(subscriber);
        }
        subscribers[subscriber].0.push(pattern);
    }
    expected.sort_unstable();
    expected.dedup();
    let mut found = Vec::new();
    Index::new(subscribers).lookup(event_type, &mut found);
    found.sort_unstable();
    assert_eq!(found, expected, "{text:?}");
});
