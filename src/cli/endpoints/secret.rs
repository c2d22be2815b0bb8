//! Where a signing secret comes from: never from the command line, where others can see it.

use std::io::BufRead;
use std::path::PathBuf;

use crate::cli::failure::Failure;
use crate::sign::Secret;

/// The variable that `endpoints add` looks at.
const VARIABLE: &str = "OUTBOXD_ENDPOINT_SECRET";
/// The help on that.
pub const IN_ENVIRONMENT: &str = "The secret may also be in OUTBOXD_ENDPOINT_SECRET.";

/// Options that give a secret; without one it is generated.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct SecretSource {
    /// File with the secret: whsec_ and base64 [default: generate one]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Read the secret from the first line of stdin
    #[arg(long)]
    secret_stdin: bool,
}

impl SecretSource {
    /// The secret, if one was given.
    ///
    /// # Errors
    /// It cannot be read, or it is none.
    pub fn read(&self) -> Result<Option<String>, Failure> {
        let text = if let Some(path) = &self.secret_file {
            std::fs::read_to_string(path)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?
        } else if self.secret_stdin {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(|error| Failure::failed(format!("stdin: {error}")))?;
            line
        } else {
            return Ok(None);
        };
        checked(&text).map(Some)
    }

    /// The secret, if one was given or is in the environment.
    ///
    /// # Errors
    /// It cannot be read, or it is none.
    pub fn read_or_environment(&self) -> Result<Option<String>, Failure> {
        if let Some(given) = self.read()? {
            return Ok(Some(given));
        }
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        if variable.is_empty() { Ok(None) } else { checked(&variable).map(Some) }
    }
}

fn checked(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    Secret::parse(text).map_err(|error| Failure::failed(format!("secret: {error}")))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_secret_do_not_belong_to_it() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(checked(&format!(" {secret}\r\n")).expect("a secret"), secret);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        let failure = checked("whsec_hunter2").expect_err("too short");
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
    }
}
