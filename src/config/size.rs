//! Sizes as people write them: `512MiB`, `20GiB`, `100GB`.

/// The units, the largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a whole number and a unit.
///
/// # Errors
/// The reason, made to follow the text it is about: `not a size; write it like 512MiB or 20GiB`.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    const NOT_A_SIZE: &str = "not a size; write it like 512MiB or 20GiB";
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| NOT_A_SIZE)?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err("a size needs a unit; write a unit, for example 20GiB");
    }
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or("not a unit of size; write KiB, MiB, GiB or TiB")?;
    number.checked_mul(*bytes).ok_or("too large")
}

/// Writes a size the short way that [`parse`] reads, in the largest unit it is a whole number of.
pub fn short(bytes: u64) -> String {
    let whole = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_the_way_people_write_them_and_back() {
        for (text, bytes, shown) in [
            ("20GiB", 20 << 30, "20GiB"),
            (" 512 MiB ", 512 << 20, "512MiB"),
            ("1024mib", 1 << 30, "1GiB"),
            ("100GB", 100_000_000_000, "100GB"),
            ("1500kB", 1_500_000, "1500kB"),
            ("7B", 7, "7B"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(short(bytes), shown, "{text}");
            assert_eq!(parse(shown), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "not a size"),
            ("GiB", "not a size"),
            ("-1GiB", "not a size"),
            ("1.5GiB", "not a unit"),
            ("20G", "not a unit"),
            ("20", "needs a unit"),
            ("99999999999TiB", "too large"),
        ] {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
