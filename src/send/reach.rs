//! The last judgement of addresses before one of them is dialled.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::guard::{Blocked, Policy, destination};

/// Why an address is not dialled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The policy forbids it.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// Whether it may be dialled cannot be found out, so it is not.
    #[error("cannot find out whether {0} is an address of this machine: {1}")]
    Unknown(IpAddr, io::Error),
}

/// Judges addresses by the policy, which also wants to know which of them are this machine's own:
/// that is asked now, because interfaces come and go. One refused address refuses them all.
///
/// # Errors
/// The first refused address and its reason.
pub fn admit(policy: &Policy, addresses: &[SocketAddr]) -> Result<(), Refusal> {
    policy.check_all(addresses)?;
    for &address in addresses {
        let ip = address.ip();
        if is_here(ip).map_err(|error| Refusal::Unknown(ip, error))? {
            policy.check_here(address)?;
        }
    }
    Ok(())
}

/// Whether packets to this address stay on this machine: then the kernel would send them from that
/// very address. Connecting a datagram socket asks for the route, and sends nothing.
fn is_here(ip: IpAddr) -> io::Result<bool> {
    let ip = destination(ip);
    if ip.is_loopback() || ip.is_unspecified() {
        return Ok(true);
    }
    let bind = |any: IpAddr| UdpSocket::bind((any, 0));
    let socket = match ip {
        IpAddr::V4(_) => bind(Ipv4Addr::UNSPECIFIED.into())?,
        IpAddr::V6(_) => match bind(Ipv6Addr::UNSPECIFIED.into()) {
            Ok(socket) => socket,
            // There are sockets, but no IPv6, and so no way there.
            Err(_) if bind(Ipv4Addr::UNSPECIFIED.into()).is_ok() => return Ok(false),
            Err(error) => return Err(error),
        },
    };
    // Any port: 9 throws away what it gets. Where there is no route, there is none for TCP either.
    Ok(socket.connect((ip, 9)).is_ok() && socket.local_addr()?.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of an interface of this machine, if it has a way out.
    fn own_interface() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect("198.51.100.1:9").ok()?;
        Some(socket.local_addr().expect("an address").ip())
    }

    #[test]
    fn addresses_of_interfaces_are_here_and_others_are_not() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "::"]
        {
            assert!(is_here(ip.parse().expect("an address")).expect("an answer"), "{ip}");
        }
        for ip in ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "255.255.255.255"] {
            assert!(!is_here(ip.parse().expect("an address")).expect("an answer"), "{ip}");
        }
        if let Some(ip) = own_interface() {
            assert!(is_here(ip).expect("an answer"), "{ip}");
        }
    }

    #[test]
    fn a_port_of_ours_is_refused_on_every_address_of_this_machine() {
        let policy = Policy {
            allow: vec!["127.0.0.0/8".parse().expect("a rule")],
            own: vec!["10.0.0.5:9464".parse().expect("an address")],
            ..Policy::default()
        };
        let admitted = |text: &str| admit(&policy, &[text.parse().expect("an address")]);
        assert!(admitted("127.0.0.1:8080").is_ok());
        for address in ["127.0.0.1:9464", "127.8.0.1:9464"] {
            let refusal = admitted(address).expect_err(address).to_string();
            assert!(refusal.contains("belongs to outboxd"), "{refusal}");
        }
    }
}
