//! Where nothing is delivered, because it is ours.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::send;

/// Our own listener and the database: nothing is delivered there.
pub(crate) async fn own_addresses(config: &Config, admin: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut own: Vec<SocketAddr> = admin.into_iter().collect();
    for (host, port) in config.database.url.hosts() {
        match host.parse::<IpAddr>() {
            Ok(ip) => own.push(SocketAddr::new(ip, port)),
            // One that does not resolve now may later, and is looked up again then.
            Err(_) => own.extend(send::look_up(&host, port).await.unwrap_or_default()),
        }
    }
    own
}
