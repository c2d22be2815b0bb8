//! The sample events: one of every type that real affiliate and referral platforms send.

use serde::Deserialize;
use serde_json::Value;

/// A type and a payload, ready to insert.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) event_type: String,
    pub(super) payload: String,
}

#[derive(Deserialize)]
struct Entry {
    r#type: String,
    payload: Value,
}

/// All of them, in the order of the file.
pub(super) fn samples() -> Result<Vec<Sample>, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_str(include_str!("events.json"))?;
    let sample =
        |entry: Entry| Sample { event_type: entry.r#type, payload: entry.payload.to_string() };
    Ok(entries.into_iter().map(sample).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_one_event_of_every_type() {
        let samples = samples().expect("a file that parses");
        assert_eq!(samples.len(), 38);
        let payload = r#"{"id":"12345","store_id":"store_abc","total":99.95,"#;
        assert_eq!(samples[0].event_type, "order.created");
        assert!(samples[0].payload.starts_with(payload), "{}", samples[0].payload);
    }
}
