//! What a checking command found: one line for each thing looked at, with the mend under what is
//! wrong; or one JSON object.

use std::borrow::Cow;

use serde_json::json;

use super::failure::Failure;
use super::output::{self, Format};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Right.
    Ok,
    /// It works, but somebody should know.
    Warn,
    /// It does not work.
    Fail,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub check: Cow<'static, str>,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub finding: String,
    /// What to do about it, where the finding does not say so itself; may have several lines.
    pub mend: Option<String>,
}

impl Check {
    /// It is right.
    pub fn ok(check: impl Into<Cow<'static, str>>, finding: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Ok, finding: finding.into(), mend: None }
    }

    /// It works, but.
    pub fn warn(check: impl Into<Cow<'static, str>>, finding: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Warn, finding: finding.into(), mend: None }
    }

    /// It does not work.
    pub fn fail(check: impl Into<Cow<'static, str>>, finding: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Fail, finding: finding.into(), mend: None }
    }

    /// With what to do about it.
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }

    /// For people. What servers and receivers said may be in it, and cannot act on the terminal.
    fn text(&self) -> String {
        let status = self.status.name().to_uppercase();
        let mut text = format!("{status:<4}  {}: {}\n", self.check, escaped(&self.finding));
        for line in self.mend.iter().flat_map(|mend| mend.lines()) {
            text.push_str(&format!("      {}\n", escaped(line)));
        }
        text
    }

    fn json(&self) -> String {
        let Self { check, status, finding, mend } = self;
        let status = status.name();
        let object = json!({ "check": check, "status": status, "finding": finding, "mend": mend });
        format!("{object}\n")
    }
}

/// A text in which control characters are spelled out.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Prints checks as they are made, and counts what is wrong.
#[derive(Debug)]
pub struct Report {
    format: Format,
    /// Checks that ended in a warning.
    pub warned: usize,
    /// Checks that failed.
    pub failed: usize,
}

impl Report {
    /// An empty report.
    pub fn new(format: Format) -> Self {
        Self { format, warned: 0, failed: 0 }
    }

    /// Prints one check.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn add(&mut self, check: &Check) -> Result<(), Failure> {
        match check.status {
            Status::Ok => {}
            Status::Warn => self.warned += 1,
            Status::Fail => self.failed += 1,
        }
        output::write_out(&if self.format.json { check.json() } else { check.text() })
    }

    /// Prints several.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn add_all(&mut self, checks: &[Check]) -> Result<(), Failure> {
        checks.iter().try_for_each(|check| self.add(check))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mend_stands_indented_under_what_is_wrong() {
        let check = Check::fail("schema", "there is none\x1b[2J").mend("outboxd migrate\nor ask");
        let text = "FAIL  schema: there is none\\u{1b}[2J\n      outboxd migrate\n      or ask\n";
        assert_eq!(check.text(), text);
        assert_eq!(Check::ok("server", "14").text(), "OK    server: 14\n");
    }

    #[test]
    fn as_json_every_check_has_the_same_fields() {
        assert_eq!(
            Check::warn("clock", "late").json(),
            "{\"check\":\"clock\",\"status\":\"warn\",\"finding\":\"late\",\"mend\":null}\n"
        );
    }
}
