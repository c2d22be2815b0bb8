//! `outboxd verify`: is a captured request signed as it should be, and if not, which part is wrong.

mod capture;
mod judge;
mod mistakes;
mod secrets;
mod verifier;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Global;
use super::checks::{Check, Report};
use super::failure::Failure;
use super::output::Format;
use crate::config::duration;
use crate::profile::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use capture::Capture;
pub use judge::Clock;
pub use secrets::SecretArgs;
pub use verifier::{ProfileArgs, Verifier};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Whole captured request: request line, headers, a blank line, body; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["headers", "body"])]
    request: Option<PathBuf>,
    /// Captured headers, one `Name: value` a line; - for stdin
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// Captured body, byte for byte; - for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "request")]
    body: Option<PathBuf>,
    /// The webhook-id, instead of the header that Standard Webhooks has for it
    #[arg(long)]
    id: Option<String>,
    /// The webhook-timestamp, likewise
    #[arg(long)]
    timestamp: Option<String>,
    /// The webhook-signature, likewise
    #[arg(long)]
    signature: Option<String>,
    /// How far the timestamp may be from now
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    tolerance: Duration,
    /// Let the timestamp be any
    #[arg(long, conflicts_with_all = ["tolerance", "at"])]
    no_time_check: bool,
    /// Check as if now were this moment, such as the one of the capture
    #[arg(long, value_name = "UNIX SECONDS")]
    at: Option<i64>,
    #[command(flatten)]
    format: Format,
}

/// Checks the request, part by part.
///
/// # Errors
/// When it is not verified, or cannot be read.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    args.one_stdin()?;
    let Some(secrets) = args.secret.read()? else {
        return Err(Failure::usage("give the secret with --secret-file, or set OUTBOXD_SECRET"));
    };
    let verifier = Verifier::new(global, &args.profile, secrets)?;
    let capture = args.capture()?;
    let mut report = Report::new(args.format);
    report.add(&body(&capture))?;
    let clock = Clock {
        now: args.at.unwrap_or_else(|| jiff::Timestamp::now().as_second()),
        tolerance: (!args.no_time_check).then_some(args.tolerance),
    };
    let headers = args.headers(capture.headers);
    report.add_all(&verifier.judge(&headers, &capture.body, clock))?;
    if report.failed > 0 {
        return Err(Failure::failed("not verified"));
    }
    eprintln!("verified");
    Ok(())
}

impl Args {
    fn one_stdin(&self) -> Result<(), Failure> {
        let files = [&self.request, &self.headers, &self.body, &self.secret.secret_file];
        let stdin = files.into_iter().flatten().filter(|path| *path == Path::new("-"));
        match stdin.count() {
            0 | 1 => Ok(()),
            _ => Err(Failure::usage("only one input can come from stdin (-)")),
        }
    }

    fn capture(&self) -> Result<Capture, Failure> {
        let failed =
            |path: &Path, reason: String| Failure::failed(format!("{}: {reason}", path.display()));
        if let Some(path) = &self.request {
            return Capture::of_request(&read(path)?).map_err(|reason| failed(path, reason));
        }
        let headers = match &self.headers {
            Some(path) => capture::headers(&read(path)?).map_err(|reason| failed(path, reason))?,
            None => Vec::new(),
        };
        let body = self.body.as_deref().map_or(Ok(Vec::new()), read)?;
        Ok(Capture { headers, body })
    }

    /// The headers; what was given by hand goes before those that were captured.
    fn headers(&self, captured: Vec<(String, String)>) -> Vec<(String, String)> {
        let given = [
            (ID_HEADER, &self.id),
            (TIMESTAMP_HEADER, &self.timestamp),
            (SIGNATURE_HEADER, &self.signature),
        ];
        let given = given.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        given.map(|(name, text)| (name.to_owned(), text)).chain(captured).collect()
    }
}

/// Whether the body is as long as it was when it was sent.
fn body(capture: &Capture) -> Check {
    let length = capture.body.len();
    match capture.header("content-length") {
        Some(sent) if sent.parse() != Ok(length) => {
            let finding = format!("{length} bytes, but content-length says {sent}");
            Check::warn("body", finding).mend("capture it byte for byte, before anything parses it")
        }
        _ => Check::ok("body", format!("{length} bytes")),
    }
}

/// A whole file, or stdin.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let outcome = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    outcome.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    Ok(bytes)
}
