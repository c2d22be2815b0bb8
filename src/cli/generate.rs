//! `outboxd completions` and `outboxd man`: made from the one definition of the command line.

use std::path::PathBuf;

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

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder, which has to exist
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// When stdout or the folder cannot be written.
pub fn man(args: ManArgs, command: clap::Command) -> Result<(), Failure> {
    if let Some(folder) = args.dir {
        return clap_mangen::generate_to(command, &folder)
            .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::failed(error.to_string()))?;
    write_out(&String::from_utf8_lossy(&page))
}
