//! The admin listener: metrics and health. The API and the console will join here.
//!
//! Every route is behind the guard (`admin/guard.rs`), which lets nothing through without a token
//! that it does not name; connections are bounded in `admin/connections.rs`.

mod connections;
mod guard;

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Listen};
use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::store::Store;
use guard::{Door, Guard};

/// Who may connect to a unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// What the listener shows.
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether deliveries can be made.
    pub health: Arc<Health>,
    /// For the state of the pool.
    pub store: Store,
    /// For the tokens, which a reload changes.
    pub config: watch::Receiver<Arc<Config>>,
}

/// A bound listener, not yet served.
pub enum Bound {
    /// On TCP.
    Tcp(TcpListener),
    /// On a unix socket; the path is removed at the end.
    Unix(UnixListener, PathBuf),
    /// Switched off.
    Off,
}

/// Why the listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {address}: {error}")]
pub struct BindError {
    address: String,
    error: std::io::Error,
}

impl Bound {
    /// Binds.
    ///
    /// # Errors
    /// When the address is taken or not ours; names it.
    pub async fn bind(listen: &Listen) -> Result<Self, BindError> {
        let failed = |error| BindError { address: listen.to_string(), error };
        match listen {
            Listen::Off => Ok(Self::Off),
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp).map_err(failed),
            Listen::Unix(path) => {
                // A socket that a killed daemon left behind is in the way; a living one answers.
                // Anything else at that path is somebody's file.
                let is_socket = std::fs::symlink_metadata(path)
                    .is_ok_and(|about| about.file_type().is_socket());
                if is_socket && tokio::net::UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                let listener = UnixListener::bind(path).map_err(failed)?;
                let permissions = Permissions::from_mode(SOCKET_MODE);
                std::fs::set_permissions(path, permissions).map_err(failed)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// The address on TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) | Self::Off => None,
        }
    }

    /// Where it listens, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Tcp(_) => self.address().map_or_else(String::new, |a| format!("http://{a}")),
            Self::Unix(_, path) => path.display().to_string(),
            Self::Off => "off".to_owned(),
        }
    }

    /// Serves until it is stopped.
    pub async fn serve(self, admin: Admin, stop: CancellationToken) {
        let guard = Arc::new(Guard::new(admin.config.clone(), self.address()));
        let routes = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .with_state(Arc::new(admin));
        match self {
            Self::Off => {}
            Self::Tcp(listener) => {
                let app = |stream: &TcpStream, peer: SocketAddr| {
                    let door = Door::Tcp { local: stream.local_addr().ok(), peer };
                    guard::protected(routes.clone(), guard.clone(), door)
                };
                connections::serve(listener, app, stop).await;
            }
            Self::Unix(listener, path) => {
                let app = |_: &_, _| guard::protected(routes.clone(), guard.clone(), Door::Unix);
                connections::serve(listener, app, stop).await;
                std::fs::remove_file(path).ok();
            }
        }
    }
}

async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.metrics.database.pool(admin.store.pool_status());
    admin.metrics.process.ready(admin.health.problem().is_none());
    let text = admin.metrics.render();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn live(State(admin): State<Arc<Admin>>) -> Response {
    let stuck = admin.health.stuck();
    if stuck.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let text = format!("stuck: {}\n", stuck.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match admin.health.problem() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(problem) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")).into_response()
        }
    }
}
