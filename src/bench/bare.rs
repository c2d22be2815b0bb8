//! The bare client: a loop around the HTTP library, in a process of its own, that signs and sends the
//! same bodies to the same receivers. What a daemon could reach if everything else cost nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use url::Url;

use super::body;
use super::process::{PART, this_program};
use super::receiver::{Receivers, tally};
use super::{BenchError, SECRET};
use crate::send::bare::Bare;
use crate::sign::Secret;

/// Requests of a trial: enough for a second or so.
const TRIAL: u32 = 20_000;
/// The same where bodies are large: so many bytes in all.
const TRIAL_BYTES: usize = 200_000_000;
/// Requests at once that are tried.
const TASKS: [usize; 3] = [16, 32, 64];

/// What to send.
#[derive(Clone, Debug)]
pub struct Job {
    /// The URLs, in turn; each gets the numbers of the endpoints behind it.
    pub bases: Vec<String>,
    /// Endpoints, in turn.
    pub endpoints: u32,
    /// Requests.
    pub requests: u32,
    /// Bytes of each body.
    pub body_bytes: usize,
    /// A PEM file to verify receivers with.
    pub ca_file: Option<PathBuf>,
}

/// How to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Requests at once.
    pub tasks: usize,
    /// Threads of the runtime.
    pub threads: usize,
}

/// The shape that is fastest here, of 16, 32 and 64 requests at once, on one thread and on as many as
/// there are processors.
///
/// # Errors
/// See [`rate`].
pub async fn best(receivers: &mut Receivers, job: &Job) -> Result<Shape, BenchError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let by_size = u32::try_from(TRIAL_BYTES / job.body_bytes.max(1)).unwrap_or(TRIAL);
    let trial = Job { requests: job.requests.min(TRIAL).min(by_size), ..job.clone() };
    let mut threads = vec![1, processors];
    threads.dedup();
    let mut best = (0.0, Shape { tasks: TASKS[0], threads: 1 });
    for threads in threads {
        for tasks in TASKS {
            let shape = Shape { tasks, threads };
            let rate = rate(receivers, &trial, shape).await?;
            if rate > best.0 {
                best = (rate, shape);
            }
        }
    }
    Ok(best.1)
}

/// Requests a second, from the start of the first to the arrival of the last. The receivers' log must
/// be empty, and is afterwards.
///
/// # Errors
/// When the client fails, or not every request arrives exactly once.
pub async fn rate(receivers: &mut Receivers, job: &Job, shape: Shape) -> Result<f64, BenchError> {
    let mut command = this_program()?;
    command
        .args([PART, "client", "--endpoints", &job.endpoints.to_string()])
        .args(["--requests", &job.requests.to_string(), "--body", &job.body_bytes.to_string()])
        .args(["--tasks", &shape.tasks.to_string(), "--threads", &shape.threads.to_string()]);
    if let Some(path) = &job.ca_file {
        command.arg("--ca-file").arg(path);
    }
    let output = command.args(&job.bases).stderr(Stdio::inherit()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let started: u64 = match text.trim().parse() {
        Ok(started) if output.status.success() => started,
        _ => return Err(BenchError::Client(format!("it ended with {}", output.status))),
    };
    let arrivals = receivers.take().await?;
    let tally = tally(&arrivals);
    if (tally.distinct, tally.duplicates) != (u64::from(job.requests), 0) {
        let (requests, arrived) = (job.requests, arrivals.len());
        return Err(BenchError::Client(format!("of {requests} requests {arrived} arrived")));
    }
    let last = arrivals.iter().map(|one| one.at).max().unwrap_or(started);
    Ok(f64::from(job.requests) * 1e6 / last.saturating_sub(started).max(1) as f64)
}

/// The process of the bare client: sends, and prints when it began.
///
/// # Errors
/// When a request fails.
pub fn main(job: &Job, shape: Shape) -> io::Result<()> {
    let mut builder = if shape.threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.worker_threads(shape.threads).enable_all().build()?;
    runtime.block_on(send_all(job, shape.tasks))
}

async fn send_all(job: &Job, tasks: usize) -> io::Result<()> {
    let secret = Secret::parse(SECRET).map_err(io::Error::other)?;
    let client = client(secret, job.ca_file.as_deref(), tasks)?;
    let bases = job.bases.iter().cycle();
    let url = |(number, base): (u32, &String)| Url::parse(&format!("{base}{number}"));
    let urls: Result<Vec<Url>, _> = (0..job.endpoints).zip(bases).map(url).collect();
    let urls = Arc::new(urls.map_err(io::Error::other)?);
    let body = body::body(job.body_bytes);
    let next = Arc::new(AtomicU32::new(0));
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let sending = (0..tasks).map(|_| {
        let (client, urls, body, next) = (client.clone(), urls.clone(), body.clone(), next.clone());
        let requests = job.requests;
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok(());
                }
                let url = &urls[number as usize % urls.len()];
                client.post(url, &body::id(number), &body).await?;
            }
        })
    });
    for task in sending.collect::<Vec<_>>() {
        task.await?.map_err(|error: String| io::Error::other(error))?;
    }
    println!("{}", started.as_micros());
    Ok(())
}

fn client(secret: Secret, ca_file: Option<&Path>, tasks: usize) -> io::Result<Arc<Bare>> {
    Bare::new(secret, ca_file, tasks).map(Arc::new).map_err(io::Error::other)
}
