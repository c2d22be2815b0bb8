//! stand-in
use super::{Global, failure::Failure};
/// o
#[derive(Debug, clap::Args)]
pub struct Args {}
/// r
pub async fn run(_global: &Global, _args: Args) -> Result<(), Failure> {
    Ok(())
}
