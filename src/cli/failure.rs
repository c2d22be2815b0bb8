//! How a command fails: a message for people, and an exit code for scripts.

use std::process::ExitCode;

use crate::config::Problems;
use crate::store::error::StoreError;

/// Exit codes; 0 is success, and 2 (usage) is clap's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The command could not do what it was asked.
    Failed = 1,
    /// What was asked makes no sense.
    Usage = 2,
    /// The database cannot be reached, or its schema is another one.
    Database = 69,
    /// The configuration is wrong.
    Configuration = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        (code as u8).into()
    }
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What is wrong and what to do next; may have several lines.
    pub message: String,
}

impl Failure {
    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: Code::Failed, message: message.into() }
    }

    /// It was asked wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into() }
    }

    /// The configuration is wrong: one line per problem.
    pub fn configuration(problems: Problems) -> Self {
        Self { code: Code::Configuration, message: problems.to_string() }
    }

    /// The database refused, or cannot be reached. What the caller asked wrongly (an endpoint
    /// that does not exist, a name that is taken, an event in quarantine) is an ordinary failure.
    pub fn database(target: &str, error: &StoreError) -> Self {
        let asked_wrongly = error.code().is_some_and(|code| {
            let code = code.code();
            ["22", "23", "P0"].iter().any(|class| code.starts_with(class))
                || ["02000", "55000"].contains(&code)
        });
        if asked_wrongly {
            return Self::failed(error.to_string());
        }
        Self { code: Code::Database, message: format!("{target}: {error}") }
    }

    /// Tells on stderr.
    pub fn report(&self) {
        match self.code {
            // One line per problem, nothing around them.
            Code::Configuration => eprintln!("{}", self.message),
            _ => eprintln!("outboxd: {}", self.message),
        }
    }
}
