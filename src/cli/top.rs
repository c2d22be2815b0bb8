//! `outboxd top`: how deliveries stand, as it changes.

mod frame;
mod terminal;

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use super::desk::Desk;
use super::failure::Failure;
use super::output;
use crate::config::duration;
use frame::Frame;
use terminal::Terminal;

/// Lines of a frame where nobody says how many there is room for.
const LINES: usize = 24;
/// A look may take this part of the time at most; on a database that is slow it is looked less often.
const SHARE: u32 = 10;

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one frame and end, as when the output is no terminal
    #[arg(long)]
    once: bool,
    /// Time between two frames
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if interval < Duration::from_millis(200) {
        return Err("200ms is the least".to_owned());
    }
    Ok(interval)
}

/// Shows frames until somebody ends it: q, ctrl-C, or SIGTERM.
///
/// # Errors
/// Of the configuration; or of the database, for the first frame.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let desk = Desk::open(global).await?;
    let target = desk.target();
    let mut overview = desk.overview().await?;
    let Some(mut terminal) = Terminal::open().filter(|_| !args.once) else {
        let frame = Frame { target: &target, overview: &overview, problem: None };
        return output::write_out(&frame.text(usize::MAX, false));
    };
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut problem = None;
    loop {
        let lines = terminal.lines().unwrap_or(LINES);
        let frame = Frame { target: &target, overview: &overview, problem: problem.as_deref() };
        terminal.show(&frame.text(lines, true)).map_err(failed)?;
        let began = Instant::now();
        let next = async {
            tokio::time::sleep(args.interval).await;
            let asked = Instant::now();
            let fresh = desk.overview().await;
            // So that looking stays cheap for the database.
            let rest = (asked.elapsed() * SHARE).saturating_sub(began.elapsed());
            tokio::time::sleep(rest).await;
            fresh
        };
        tokio::select! {
            fresh = next => match fresh {
                Ok(fresh) => (overview, problem) = (fresh, None),
                // The last frame stays, marked as old.
                Err(failure) => problem = Some(failure.message),
            },
            () = terminal.quit() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}
