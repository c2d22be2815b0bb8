//! `outboxd completions` and `outboxd man`: made from the one definition of the command line.

use super::failure::Failure;
use super::output::write_out;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints completions.
///
/// # Errors
/// When stdout cannot be written.
pub fn completions(args: CompletionsArgs, mut command: clap::Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "outboxd", &mut text);
    write_out(&String::from_utf8_lossy(&text))
}

/// Prints the manual page.
///
/// # Errors
/// When stdout cannot be written.
pub fn man(command: clap::Command) -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::failed(error.to_string()))?;
    write_out(&String::from_utf8_lossy(&page))
}
