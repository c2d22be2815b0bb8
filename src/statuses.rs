//! Which HTTP statuses count as success: `2xx`, `200`, `200-204 409`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses {
    source: String,
    ranges: Vec<RangeInclusive<u16>>,
}

/// Most items of a set.
const MOST: usize = 20;

/// Why a text is no set of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusesError {
    /// Nothing would ever succeed.
    #[error("empty; write statuses such as 2xx, 200 or 200-204")]
    Empty,
    /// An item is no status.
    #[error("`{0}` is neither a status such as 200, a class such as 2xx, nor a range 200-204")]
    Item(String),
    /// An item is outside of what a final reply has.
    #[error("`{0}` is outside of 200 to 599")]
    OutOfBounds(String),
    /// More items than a person writes.
    #[error("more than {MOST} items; write ranges")]
    TooMany,
}

impl Statuses {
    /// Whether this status counts as success.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&status))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self { source: "2xx".to_owned(), ranges: vec![200..=299] }
    }
}

impl FromStr for Statuses {
    type Err = StatusesError;

    /// Reads items separated by spaces or commas.
    fn from_str(text: &str) -> Result<Self, StatusesError> {
        let items: Vec<&str> =
            text.split([' ', ',']).filter(|item| !item.is_empty()).take(MOST + 1).collect();
        if items.is_empty() {
            return Err(StatusesError::Empty);
        }
        if items.len() > MOST {
            return Err(StatusesError::TooMany);
        }
        let ranges = items.iter().map(|item| range(item)).collect::<Result<_, _>>()?;
        Ok(Self { source: items.join(" "), ranges })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.source)
    }
}

fn range(item: &str) -> Result<RangeInclusive<u16>, StatusesError> {
    let number = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let found = if let Some(class) = item.strip_suffix("xx") {
        number(&format!("{class}00")).map(|first| first..=first + 99)
    } else if let Some((first, last)) = item.split_once('-') {
        number(first).zip(number(last)).map(|(first, last)| first..=last)
    } else {
        number(item).map(|status| status..=status)
    };
    let range = found.filter(|range| !range.is_empty());
    let range = range.ok_or_else(|| StatusesError::Item(item.to_owned()))?;
    if *range.start() < 200 || *range.end() > 599 {
        return Err(StatusesError::OutOfBounds(item.to_owned()));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Vec<u16> {
        let statuses: Statuses = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(statuses.to_string().parse(), Ok(statuses.clone()), "{text}");
        (0..1000).filter(|status| statuses.contains(*status)).collect()
    }

    #[test]
    fn classes_statuses_and_ranges_are_read() {
        assert_eq!(members("2xx"), (200..300).collect::<Vec<_>>());
        assert_eq!(members("200"), [200]);
        assert_eq!(members("200-202, 409  418"), [200, 201, 202, 409, 418]);
        assert_eq!(Statuses::default(), "2xx".parse().expect("the default"));
    }

    #[test]
    fn what_is_no_set_is_refused_with_the_item() {
        for (text, part) in [
            ("", "empty"),
            (" , ", "empty"),
            ("ok", "`ok`"),
            ("2x", "`2x`"),
            ("20", "`20`"),
            ("2000", "`2000`"),
            ("-200", "`-200`"),
            ("204-200", "`204-200`"),
            ("+20xx", "`+20xx`"),
            ("1xx", "200 to 599"),
            ("500-600", "200 to 599"),
            ("600", "200 to 599"),
        ] {
            let error = text.parse::<Statuses>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!("200 ".repeat(21).parse::<Statuses>(), Err(StatusesError::TooMany));
    }
}
