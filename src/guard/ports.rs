//! Which TCP ports may be an HTTP receiver. A request body that a customer chooses, sent to a
//! line-based service, is read by it as commands (protocol smuggling).

use thiserror::Error;

/// Why a port is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PortForbidden {
    /// Port 0, which names none.
    #[error("port 0 is no port")]
    Zero,
    /// Below 1024, but neither 80 nor 443.
    #[error("of the ports below 1024 only 80 and 443 are web ports")]
    System,
    /// The customary port of this service.
    #[error("this is the port of {0}")]
    Service(&'static str),
}

/// Customary ports of services that are not webhook receivers, sorted. The last kind answer HTTP,
/// but obey anybody who reaches them.
const SERVICES: [(u16, &str); 34] = [
    (1080, "SOCKS"),
    (1433, "SQL Server"),
    (1521, "Oracle Database"),
    (1883, "MQTT"),
    (2049, "NFS"),
    (2181, "ZooKeeper"),
    (2375, "Docker"),
    (2376, "Docker"),
    (2379, "etcd"),
    (2380, "etcd"),
    (3306, "MySQL"),
    (3389, "Remote Desktop"),
    (4222, "NATS"),
    (4369, "the Erlang port mapper"),
    (5060, "SIP"),
    (5061, "SIP"),
    (5432, "PostgreSQL"),
    (5672, "AMQP"),
    (5900, "VNC"),
    (6000, "X11"),
    (6379, "Redis"),
    (6380, "Redis"),
    (6432, "PgBouncer"),
    (6667, "IRC"),
    (6697, "IRC"),
    (9042, "Cassandra"),
    (9092, "Kafka"),
    (9200, "Elasticsearch"),
    (9300, "Elasticsearch"),
    (10250, "the Kubernetes node agent"),
    (11211, "memcached"),
    (26379, "Redis Sentinel"),
    (27017, "MongoDB"),
    (33060, "MySQL"),
];

/// Judges a port: 80, 443 and those from 1024 upwards that no other service is known by.
///
/// # Errors
/// The reason, for every other port.
pub(super) fn check(port: u16) -> Result<(), PortForbidden> {
    match port {
        80 | 443 => Ok(()),
        0 => Err(PortForbidden::Zero),
        1..1024 => Err(PortForbidden::System),
        _ => match SERVICES.binary_search_by_key(&port, |&(port, _)| port) {
            Ok(at) => Err(PortForbidden::Service(SERVICES[at].1)),
            Err(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_repetition() {
        assert!(SERVICES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn below_1024_only_80_and_443_pass() {
        let passing: Vec<u16> = (0..1024).filter(|&port| check(port).is_ok()).collect();
        assert_eq!(passing, [80, 443]);
    }

    #[test]
    fn from_1024_everything_passes_but_the_table() {
        let refused = (1024..=u16::MAX).filter(|&port| check(port).is_err()).count();
        assert_eq!(refused, SERVICES.len());
        assert_eq!(check(6379), Err(PortForbidden::Service("Redis")));
        for port in [1024, 3000, 5000, 8000, 8080, 8443, 9000, 9464, 32768, 65535] {
            assert_eq!(check(port), Ok(()), "{port}");
        }
    }
}
