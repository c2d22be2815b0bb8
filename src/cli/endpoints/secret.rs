//! Where a signing secret comes from: never from the command line, where others can see it.

use std::io::BufRead;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::desk::Desk;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format, Row};
use crate::sign;
use crate::sign::ed25519::{self, SigningKey};
use crate::store::secrets::Stored;

/// The variable that may hold a new secret.
const VARIABLE: &str = "OUTBOXD_ENDPOINT_SECRET";
/// The help on that.
pub const IN_ENVIRONMENT: &str = "The secret may also be in OUTBOXD_ENDPOINT_SECRET.";
/// The longest secret, in characters.
const MOST_CHARS: usize = 512;

/// Options that give a secret; without one it is generated.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct SecretSource {
    /// File with the secret: whsec_ or whsk_ and base64, or the text that the profile signs with
    /// [default: generate one]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Read the secret from the first line of stdin
    #[arg(long)]
    secret_stdin: bool,
    /// Generate an Ed25519 key pair and print its public key
    #[arg(long)]
    ed25519: bool,
}

/// Where a secret came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody has it already.
    Given,
    /// It was generated because none was given.
    Generated,
    /// It was asked for as a key pair, and generated.
    KeyPair,
}

/// A secret on its way into the database. Not `Debug`: it holds the secret.
pub struct NewSecret {
    /// Where it came from.
    pub origin: Origin,
    /// As it is written.
    pub stored: Stored,
    plain: String,
}

impl NewSecret {
    /// The secret itself, for judging whether a profile can use it.
    pub fn to_judge(&self) -> &str {
        &self.plain
    }

    /// Adds what people have to know of it: the public key, or the secret if it was generated here.
    pub fn show(self, row: &mut Row) {
        if let Some(public) = self.stored.public_key {
            row.insert("public_key".to_owned(), Value::String(public));
        } else if self.origin == Origin::Generated {
            row.insert("secret".to_owned(), Value::String(self.plain));
        }
    }

    /// Whether it is to be kept by whoever reads the output, for it is shown only once.
    pub fn is_news(&self) -> bool {
        self.origin == Origin::Generated
    }
}

/// Prints what people have to know of a secret, where there is anything.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_news(secret: NewSecret, format: Format) -> Result<(), Failure> {
    let is_news = secret.is_news();
    let mut row = Row::new();
    secret.show(&mut row);
    if !row.is_empty() {
        output::print_one(format, &row)?;
    }
    if is_news {
        eprintln!("keep the secret: it is shown only now");
    }
    Ok(())
}

impl SecretSource {
    /// The secret that was given, or a new one; in the form that the configuration stores it in.
    ///
    /// # Errors
    /// It cannot be read, or is none; or it cannot be sealed.
    pub async fn take(&self, desk: &Desk) -> Result<NewSecret, Failure> {
        self.make(desk, self.read()?).await
    }

    /// The same, with the environment as another place where a secret may be given.
    ///
    /// # Errors
    /// It cannot be read, or is none; or it cannot be sealed.
    pub async fn take_or_environment(&self, desk: &Desk) -> Result<NewSecret, Failure> {
        let mut given = self.read()?;
        if given.is_none() && !self.ed25519 {
            let variable = std::env::var(VARIABLE).unwrap_or_default();
            given = (!variable.is_empty()).then(|| checked(&variable)).transpose()?;
        }
        self.make(desk, given).await
    }

    async fn make(&self, desk: &Desk, given: Option<String>) -> Result<NewSecret, Failure> {
        let unlucky = |error: &dyn std::fmt::Display| Failure::failed(format!("secret: {error}"));
        let (origin, plain) = if let Some(given) = given {
            (Origin::Given, given)
        } else if self.ed25519 {
            (Origin::KeyPair, ed25519::generate().map_err(|error| unlucky(&error))?)
        } else {
            (Origin::Generated, sign::generate().map_err(|error| unlucky(&error))?)
        };
        let stored = desk.stored(&plain).await?;
        Ok(NewSecret { origin, stored, plain })
    }

    /// The secret, if an option gives one.
    fn read(&self) -> Result<Option<String>, Failure> {
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
}

/// What may be a secret; its profile decides how it is read.
fn checked(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let problem = if text.is_empty() {
        Some("is empty".to_owned())
    } else if text.lines().count() > 1 {
        Some("has several lines; write it on one".to_owned())
    } else if text.chars().any(char::is_control) {
        Some("holds a character that cannot be printed".to_owned())
    } else if text.chars().count() > MOST_CHARS {
        Some(format!("is longer than {MOST_CHARS} characters"))
    } else if text.starts_with("sealed:") {
        Some("is sealed; give it as the receiver knows it".to_owned())
    } else if text.starts_with(ed25519::PREFIX) {
        SigningKey::parse(text).err().map(|error| format!("cannot be used: {error}"))
    } else {
        None
    };
    match problem {
        Some(problem) => Err(Failure::failed(format!("the secret {problem}"))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_secret_do_not_belong_to_it() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a token, of words", "ü"] {
            assert_eq!(checked(&format!(" {secret}\r\n")).expect("a secret"), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        let long = "hunter2".repeat(74);
        for text in ["", " \n", "hunter2\nhunter2", "hunter2\x07", "whsk_hunter2", &long] {
            let failure = checked(text).expect_err(text);
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
        let failure = checked("sealed:v1:00000000:hunter2").expect_err("sealed");
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
    }
}
