//! What is wrong with a configuration, and where a value came from.

use std::fmt;
use std::path::PathBuf;

/// What stands for a secret wherever a value is shown.
pub(super) const MASK: &str = "***";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
    /// A command-line flag.
    Flag {
        /// The flag as typed, with its dashes.
        flag: String,
    },
    /// A file that another key (`database.url_file`, `admin.token_file`) names.
    SecretFile {
        /// The file.
        path: PathBuf,
    },
    /// A systemd credential.
    Credential {
        /// The file in the credentials directory.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line } => write!(out, "{} line {line}", path.display()),
            Origin::Env { name } => write!(out, "environment {name}"),
            Origin::Flag { flag } => write!(out, "flag {flag}"),
            Origin::SecretFile { path } => write!(out, "file {}", path.display()),
            Origin::Credential { path } => write!(out, "credential {}", path.display()),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key; for an unknown variable its name; empty when a whole file is meant.
    pub key: String,
    /// The value as TOML would write it, `***` for a secret; `None`: there is none to show.
    pub value: Option<String>,
    /// What is wrong, and what to write instead.
    pub reason: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// One line: `delivery.timeout = "abc" (environment OUTBOXD_DELIVERY__TIMEOUT): not a duration`.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (self.key.as_str(), &self.value) {
            ("", _) => format!("{}: {}", self.origin, self.reason),
            (key, None) => format!("{key} ({}): {}", self.origin, self.reason),
            (key, Some(value)) => format!("{key} = {value} ({}): {}", self.origin, self.reason),
        };
        // A control character in a key, a path or a value must not break the line.
        text.chars().try_for_each(|letter| {
            if letter.is_control() {
                write!(out, "{}", letter.escape_default())
            } else {
                write!(out, "{letter}")
            }
        })
    }
}

/// Everything that is wrong with a configuration, never empty; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_exactly_one_line() {
        let problem = |key: &str, value: Option<&str>, origin| Problem {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            reason: "bad\nin two lines".to_owned(),
            origin,
        };
        let path = PathBuf::from("/etc/outboxd/out\nboxd.toml");
        let problems = Problems(vec![
            problem("delivery.timeout", Some("\"a\tb\""), Origin::Env { name: "X".to_owned() }),
            problem("a\rb", None, Origin::Flag { flag: "--x".to_owned() }),
            problem("", None, Origin::File { path, line: 7 }),
        ]);
        let text = problems.to_string();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                r#"delivery.timeout = "a\tb" (environment X): bad\nin two lines"#,
                r"a\rb (flag --x): bad\nin two lines",
                r"/etc/outboxd/out\nboxd.toml line 7: bad\nin two lines",
            ]
        );
    }
}
