//! Secrets for checking: from a file, stdin or the environment, never by flag.

use std::path::PathBuf;

use super::read;
use crate::cli::failure::Failure;

/// The variable that may hold the secret.
const VARIABLE: &str = "OUTBOXD_SECRET";

/// Where the secret is.
#[derive(Debug, clap::Args)]
pub struct SecretArgs {
    /// File of the endpoint's secret, or of several, one a line; - for stdin [default: the
    /// environment variable OUTBOXD_SECRET]
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// The secrets as they were written; `None` when none was given.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn read(&self) -> Result<Option<Vec<String>>, Failure> {
        let text = match (&self.secret_file, std::env::var(VARIABLE)) {
            (Some(path), _) => String::from_utf8_lossy(&read(path)?).into_owned(),
            (None, Ok(text)) if !text.trim().is_empty() => text,
            (None, _) => return Ok(None),
        };
        let secrets = lines(&text);
        if secrets.is_empty() {
            return Err(Failure::failed("there is no secret in --secret-file"));
        }
        Ok(Some(secrets))
    }
}

/// One secret a line; blank lines and lines that start with # do not count.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_several_secrets_and_remarks() {
        assert_eq!(lines("# newest\nwhsec_a\r\n\n  whsec_b \n"), ["whsec_a", "whsec_b"]);
        assert!(lines("\n# none\n").is_empty());
    }
}
