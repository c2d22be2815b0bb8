//! `docs/hostile-receivers.md` and the tests say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outboxd::outcome::Outcome;

use crate::tls::Authority;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A line of the table.
struct Line {
    number: u8,
    outcomes: BTreeSet<String>,
    tests: String,
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn table() -> Vec<Line> {
    let document = Path::new(ROOT).join("docs/hostile-receivers.md");
    let document = fs::read_to_string(document).expect("the document");
    let cells = document.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let line = |cells: Vec<&str>| {
        let number = cells.get(1)?.parse().ok()?;
        let outcomes = quoted(cells[4]).map(str::to_owned).collect();
        Some(Line { number, outcomes, tests: cells[5].to_owned() })
    };
    cells.filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_every_receiver_and_its_outcomes() {
    let lines = table();
    let numbers: Vec<u8> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<u8>>());
    let rows = super::all_rows(&Authority::new()).await;
    for Line { number, outcomes, tests } in &lines {
        for outcome in outcomes {
            assert!(Outcome::ALL.iter().any(|it| it.as_str() == outcome), "{number}: {outcome}");
        }
        for file in quoted(tests) {
            assert!(Path::new(ROOT).join("tests/it").join(file).exists(), "{number}: {file}");
        }
        let of_number = rows.iter().filter(|row| row.number == *number);
        let tested: BTreeSet<String> = of_number
            .filter_map(|row| row.expected.split(' ').next())
            // A status that is none is told apart in the reason only.
            .map(str::to_owned)
            .collect();
        assert_eq!(tests.starts_with("zoo"), !tested.is_empty(), "{number}: {tests}");
        assert!(tested.is_empty() || tested == *outcomes, "{number}: {tested:?}, {outcomes:?}");
    }
}
