//! `outboxd health`: asks the running daemon how it is, for containers without an HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Global;
use super::failure::Failure;
use super::output::write_out;
use crate::config::Listen;

/// How long the daemon is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of its answer that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// Options of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask whether it can deliver (/readyz), not only whether it lives (/livez)
    #[arg(long)]
    ready: bool,
}

/// Asks the daemon that has this configuration, at its admin.listen, and prints its answer.
///
/// # Errors
/// When it says that it is not well, or does not say anything.
pub async fn run(global: &Global, args: Args) -> Result<(), Failure> {
    let listen = global.listen()?;
    let path = if args.ready { "/readyz" } else { "/livez" };
    let answer = tokio::time::timeout(PATIENCE, ask(&listen, path))
        .await
        .map_err(|_| Failure::failed(format!("no answer from {listen} within {PATIENCE:?}")))?
        .map_err(|error| Failure::failed(format!("{listen}: {error}; does the daemon run?")))?;
    match said(&answer) {
        Some((200, text)) => write_out(text),
        Some((_, text)) => Err(Failure::failed(text.trim_end())),
        None => Err(Failure::failed(format!("what answers at {listen} does not speak HTTP"))),
    }
}

async fn ask(listen: &Listen, path: &str) -> std::io::Result<String> {
    match listen {
        Listen::Tcp(address) => talk(TcpStream::connect(reachable(*address)).await?, path).await,
        Listen::Unix(socket) => talk(UnixStream::connect(socket).await?, path).await,
        Listen::Off => Err(std::io::Error::other("admin.listen is off, so nothing can be asked")),
    }
}

/// Where a listener is found that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// HTTP/1.0: the answer ends with the connection.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status and body.
fn said(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 6\r\n\r\nstuck\n";
        assert_eq!(said(answer), Some((503, "stuck\n")));
        for other in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 2x0 \r\n\r\n"] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listens, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            let address = listens.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), asked);
        }
    }
}
