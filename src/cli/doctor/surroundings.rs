//! The admin address: free, answered by an outboxd, or somebody else's.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::cli::checks::Check;
use crate::config::Listen;

const CHECK: &str = "admin address";
/// Longest wait for whoever listens there.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read.
const ANSWER_READ: u64 = 4096;

/// Whether the admin listener can be had, or a running outboxd has it.
pub(super) async fn admin(listen: &Listen) -> Check {
    match listen {
        Listen::Off => Check::ok(CHECK, "off; there are no metrics and no health checks"),
        Listen::Tcp(address) => tcp(*address).await,
        Listen::Unix(path) => unix(path).await,
    }
}

async fn tcp(address: SocketAddr) -> Check {
    let Err(error) = TcpListener::bind(address).await else {
        return Check::ok(CHECK, format!("{address} is free"));
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let answer = match timeout(ANSWER_WAIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => ask(stream).await,
                _ => None,
            };
            let port = address.port();
            taken(&address.to_string(), answer)
                .unwrap_or_else(|bad| bad.mend(elsewhere(&format!("ss -ltnp 'sport = :{port}'"))))
        }
        ErrorKind::AddrNotAvailable => {
            Check::fail(CHECK, format!("{address}: this host does not have that address"))
                .mend("set admin.listen to one that 'ip address' shows, or 127.0.0.1:9464")
        }
        ErrorKind::PermissionDenied => {
            Check::fail(CHECK, format!("{address}: ports below 1024 are for privileged users"))
                .mend("set admin.listen to a higher port")
        }
        _ => Check::fail(CHECK, format!("{address}: {error}")),
    }
}

/// The daemon replaces a socket that nobody listens on; here it is only looked at.
async fn unix(path: &Path) -> Check {
    let shown = path.display().to_string();
    if let Ok(Ok(stream)) = timeout(ANSWER_WAIT, UnixStream::connect(path)).await {
        return taken(&shown, ask(stream).await)
            .unwrap_or_else(|bad| bad.mend(elsewhere(&format!("ss -lxp src {shown}"))));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if directory.is_dir() {
        return Check::ok(CHECK, format!("{shown} is free"));
    }
    Check::warn(CHECK, format!("the directory {} does not exist", directory.display())).mend(
        "start outboxd by systemd, which creates /run/outboxd, or create the directory for the \
         user of the daemon",
    )
}

fn elsewhere(command: &str) -> String {
    format!("find out who that is: {command}\nor set admin.listen to another address")
}

/// What it means that somebody listens; the error still needs its mend.
fn taken(address: &str, answer: Option<String>) -> Result<Check, Check> {
    let answer = answer.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    if let Some(stuck) = body.strip_prefix("stuck: ") {
        let finding = format!("an outboxd runs at {address}, and is stuck: {stuck}");
        return Ok(Check::warn(CHECK, finding).mend("systemctl restart outboxd"));
    }
    if answer.starts_with("HTTP/1.1 200 ") && body == "ok" {
        return Ok(Check::ok(CHECK, format!("an outboxd runs already, and answers at {address}")));
    }
    Err(Check::fail(CHECK, format!("{address} is taken by something that is no outboxd")))
}

/// What whoever listens there answers to the question whether it lives.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    let exchange = async {
        let question = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(question).await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER_READ).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(ANSWER_WAIT, exchange).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::checks::Status;

    async fn serving(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.is_ok_and(|read| read > 0));
            stream.write_all(answer.as_bytes()).await.expect("somebody who listens");
        });
        address
    }

    #[tokio::test]
    async fn a_taken_port_is_right_only_when_an_outboxd_has_it() {
        for (answer, status, part) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n", Status::Ok, "answers at"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nstuck: claim\n", Status::Warn, "claim"),
            ("HTTP/1.1 404 Not Found\r\n\r\nok\n", Status::Fail, "no outboxd"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", Status::Fail, "no outboxd"),
            ("220 mail ESMTP\r\n", Status::Fail, "no outboxd"),
            ("", Status::Fail, "no outboxd"),
        ] {
            let check = admin(&Listen::Tcp(serving(answer).await)).await;
            assert_eq!(check.status, status, "{answer}: {check:?}");
            assert!(check.finding.contains(part), "{answer}: {check:?}");
        }
    }

    #[tokio::test]
    async fn free_and_impossible_addresses_are_told_apart() {
        let status = async |text: &str| {
            let listen = match text.parse() {
                Ok(address) => Listen::Tcp(address),
                Err(_) => Listen::Unix(text.into()),
            };
            admin(&listen).await.status
        };
        assert_eq!(status("127.0.0.1:0").await, Status::Ok);
        assert_eq!(status("192.0.2.1:9464").await, Status::Fail);
        assert_eq!(status("/tmp/outboxd-nobody.sock").await, Status::Ok);
        assert_eq!(status("/nowhere/admin.sock").await, Status::Warn);
        assert_eq!(admin(&Listen::Off).await.status, Status::Ok);
    }
}
