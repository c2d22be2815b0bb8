//! stand-in
use super::{Global, failure::Failure};
/// o
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// x
    List,
}
/// r
pub async fn run(_global: &Global, _args: Command) -> Result<(), Failure> {
    Ok(())
}
