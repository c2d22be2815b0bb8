//! Connections of the admin listener: how many, how long, how large. A client that is slow, or many
//! that are, cost what is said here and keep nobody else out.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Connections at once; beyond them, the oldest is closed for the newest.
const MOST_OPEN: usize = 128;
/// Time for the head of a request, from the end of the one before.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may last, busy or not.
const LIFETIME: Duration = Duration::from_secs(300);
/// Time that open connections have at the end.
const CLOSE: Duration = Duration::from_millis(500);
/// Bytes of the head of a request.
const HEAD_BYTES: usize = 16 * 1024;
/// Header fields of a request.
const HEAD_FIELDS: usize = 64;

/// Serves until it is stopped. `app` makes what answers on one connection.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    app: impl Fn(&L::Io, L::Addr) -> Router,
    stop: CancellationToken,
) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let (io, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_OPEN
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let app = app(&io, peer);
        open.push_back(tokio::spawn(converse(io, app, stop.clone())));
    }
    drop(listener);
    let deadline = Instant::now() + CLOSE;
    for mut connection in open {
        if timeout_at(deadline, &mut connection).await.is_err() {
            connection.abort();
        }
    }
}

/// Answers on one connection. What its client does wrong ends it, and concerns nobody else.
async fn converse(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS);
    let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(app));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(CLOSE, connection).await.ok();
}
