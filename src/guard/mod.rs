//! The address policy: where a webhook may go, and what it may carry ("SSRF guard").
//!
//! One judgement, used at every gate: when an endpoint is written and when it is loaded
//! ([`Policy::check_url`]), before each attempt ([`Policy::check_parsed`]), and for the addresses
//! a name resolved to, just before dialling exactly those ([`Policy::check_all`]). Only the last
//! stops DNS rebinding; the others give early answers.

mod allow;
#[cfg(test)]
mod census;
mod header;
mod ports;
mod ranges;
mod url;

use std::net::SocketAddr;

use thiserror::Error;

pub use self::allow::{AllowRule, AllowRuleError};
pub use self::header::{
    HeaderError, MAX_HEADER_NAME_BYTES, MAX_HEADER_VALUE_BYTES, MAX_HEADERS, check_header,
};
pub use self::ports::PortForbidden;
pub use self::ranges::{Forbidden, classify, destination};
pub use self::url::{MAX_URL_BYTES, UrlError, literal};

/// What the operator decided about where requests may go.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Exceptions from the refusal of non-public addresses (`delivery.allow`).
    pub allow: Vec<AllowRule>,
    /// Refuse `http` URLs (`delivery.https_only`).
    pub https_only: bool,
    /// Our own bound listeners and the database. Port 0 stands for every port of that address,
    /// an unspecified address for every address (so never pass an unbound `0.0.0.0:0`).
    pub own: Vec<SocketAddr>,
}

/// An address that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{addr} is refused: {reason}; if it is meant, add \"{addr}\" to delivery.allow")]
pub struct Blocked {
    /// What would have been dialled.
    pub addr: SocketAddr,
    /// Why it is not.
    pub reason: Reason,
}

/// Why the policy refuses an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// It is no public server.
    #[error("{0}")]
    Address(Forbidden),
    /// The port is no web port.
    #[error("{0}")]
    Port(PortForbidden),
    /// It is outboxd itself or its database.
    #[error("it belongs to outboxd or its database")]
    Own,
    /// It is a public address, but this machine's own.
    #[error("it is an address of this machine")]
    Here,
}

impl Policy {
    /// Judges one address that is about to be dialled. Allocates nothing.
    ///
    /// A rule that names the port permits everything about the address. A rule without one
    /// permits a non-public address on web ports, but neither our own addresses nor a cloud's
    /// metadata service: `fd00::/8` and `100.64.0.0/10` contain some, and whoever writes those
    /// means a network of their own. Rules speak of the address as dialled: `10.0.0.0/8` does not
    /// permit `::ffff:10.0.0.1`.
    ///
    /// # Errors
    /// The address and the reason, when it is refused.
    pub fn check(&self, addr: SocketAddr) -> Result<(), Blocked> {
        if self.allow.iter().any(|rule| rule.names(addr)) {
            return Ok(());
        }
        self.judge(addr).map_err(|reason| Blocked { addr, reason })
    }

    /// Judges an address that [`Policy::check`] admits and that is this machine's own, which only
    /// the machine knows. What listens here may trust whoever comes from here; and a port of ours or
    /// of the database is reached through every address of the machine.
    ///
    /// # Errors
    /// The address and the reason, unless a rule speaks of it.
    pub fn check_here(&self, addr: SocketAddr) -> Result<(), Blocked> {
        if self.allow.iter().any(|rule| rule.names(addr)) {
            return Ok(());
        }
        if self.own.iter().any(|own| own.port() == addr.port()) {
            return Err(Blocked { addr, reason: Reason::Own });
        }
        if self.allow.iter().any(|rule| rule.covers(addr.ip())) {
            return Ok(());
        }
        Err(Blocked { addr, reason: Reason::Here })
    }

    /// Judges everything a name resolved to. One forbidden address refuses the whole set: a name
    /// that mixes public and private answers is an attack or a mistake.
    ///
    /// # Errors
    /// The first refused address and its reason. No address at all is no error.
    pub fn check_all(&self, addrs: &[SocketAddr]) -> Result<(), Blocked> {
        addrs.iter().try_for_each(|&addr| self.check(addr))
    }

    fn judge(&self, addr: SocketAddr) -> Result<(), Reason> {
        if self.is_own(addr) {
            return Err(Reason::Own);
        }
        if let Err(why) = classify(addr.ip()) {
            let liftable = why != Forbidden::Metadata;
            if !(liftable && self.allow.iter().any(|rule| rule.covers(addr.ip()))) {
                return Err(Reason::Address(why));
            }
        }
        ports::check(addr.port()).map_err(Reason::Port)
    }

    fn is_own(&self, addr: SocketAddr) -> bool {
        let target = ranges::destination(addr.ip());
        self.own.iter().any(|own| {
            let ip = ranges::destination(own.ip());
            // Dialling an unspecified address reaches this machine.
            (ip == target || ip.is_unspecified() || target.is_unspecified())
                && (own.port() == addr.port() || own.port() == 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What names of large sites, clouds, resolvers and webhook products resolve to.
    const PUBLIC: &str = "
        1.0.0.1 1.1.1.1 8.8.4.4 8.8.8.8 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220
        94.140.14.14 76.76.2.0 64.6.64.6 4.2.2.2 93.184.215.14 93.184.216.34 23.192.228.80
        142.250.185.78 142.250.74.206 172.217.16.142 172.253.115.100 216.58.206.46 216.239.38.120
        74.125.24.100 64.233.160.1 108.177.8.1 209.85.128.1 34.98.64.218 34.117.59.81 35.186.224.25
        35.190.247.1 104.154.1.1 130.211.0.1 140.82.112.3 140.82.121.4 185.199.108.153
        185.199.111.153 192.30.255.113 20.205.243.166 151.101.1.69 151.101.65.140 151.101.193.67
        199.232.45.140 146.75.28.1 104.16.0.1 104.16.132.229 104.17.96.13 104.18.32.7 104.21.48.1
        172.64.0.1 172.67.0.1 172.67.74.152 162.159.135.232 188.114.96.0 141.101.64.1 190.93.240.1
        197.234.240.1 198.41.128.1 173.245.48.1 52.0.0.1 52.94.236.248 52.216.0.1 54.187.174.169
        54.187.205.235 54.187.216.72 54.239.28.85 3.5.0.1 3.18.12.63 3.130.192.231 13.32.0.1
        13.107.42.14 13.235.14.237 18.64.0.1 44.228.85.26 99.84.0.1 100.20.0.1 100.63.255.255
        100.128.0.1 40.76.4.15 40.112.72.205 51.105.0.1 65.52.0.1 104.40.0.1 168.61.1.1
        168.63.129.15 168.63.129.17 191.232.0.1 207.46.0.1 157.240.1.35 31.13.66.35 69.171.250.35
        104.244.42.1 199.16.156.1 108.174.10.10 17.253.144.10 17.32.0.1 23.15.0.1 95.100.0.1
        96.16.0.1 184.24.0.1 2.16.0.1 91.198.174.192 185.15.59.224 198.35.26.96 207.241.224.2
        192.0.1.1 192.0.3.1 192.0.43.8 192.0.66.2 192.0.78.9 192.31.196.1 192.52.193.1
        192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.48.1 198.17.255.255
        198.20.0.0 198.51.99.1 198.51.101.1 203.0.112.1 203.0.114.1 223.255.255.254 169.253.255.255
        169.255.0.0 172.15.255.255 172.32.0.0 9.255.255.255 11.0.0.0 126.255.255.255 128.0.0.0
        5.9.0.1 78.46.0.1 95.216.0.1 116.202.0.1 51.15.0.1 51.68.0.1 137.74.0.1 46.101.0.1
        138.197.0.1 159.89.0.1 165.227.0.1 45.33.0.1 139.162.0.1 172.104.0.1 149.154.167.220
        2001:4860:4860::8888 2001:4860:4802:32::78 2606:4700:4700::1111 2606:4700:10::6816:1
        2606:2800:21f:cb07:6820:80da:af6b:8b2c 2606:50c0:8000::153 2620:fe::fe 2620:0:ccc::2
        2620:1ec:c11::200 2603:1030:b:3::152 2a00:1450:4001:828::200e
        2a03:2880:f12f:83:face:b00c:0:25de 2a04:4e42::485 2a01:4f8:c17:b8f::2 2a05:d014:275::1
        2600:1f18:1::1 2600:9000:2000::1 2400:cb00:2048::1 2404:6800:4003::1 2803:f800:50::1
        2c0f:fb50:4002::1 2001:67c:4e8:f004::9
        2001:200::1 2003:e2::1 64:ff9b::8.8.8.8 64:ff9b::5db8:d822";

    fn policy(allow: &[&str], own: &[&str]) -> Policy {
        Policy {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            https_only: false,
            own: own.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn verdict(policy: &Policy, addr: &str) -> Option<Reason> {
        policy.check(addr.parse().unwrap()).err().map(|blocked| blocked.reason)
    }

    #[test]
    fn addresses_of_well_known_public_names_pass() {
        let policy = policy(&[], &["127.0.0.1:9464", "10.0.0.5:5432"]);
        let public: Vec<&str> = PUBLIC.split_whitespace().collect();
        assert!(public.len() >= 100);
        for ip in public {
            for port in [80, 443, 8443] {
                let addr = SocketAddr::new(ip.parse().unwrap(), port);
                assert_eq!(policy.check(addr), Ok(()));
            }
        }
    }

    #[test]
    fn without_rules_private_addresses_and_foreign_ports_are_refused() {
        let policy = Policy::default();
        for (addr, reason) in [
            ("10.0.0.5:443", Reason::Address(Forbidden::Private)),
            ("127.0.0.1:80", Reason::Address(Forbidden::Loopback)),
            ("127.0.0.1:22", Reason::Address(Forbidden::Loopback)),
            ("[::1]:443", Reason::Address(Forbidden::Loopback)),
            ("[64:ff9b::a00:5]:443", Reason::Address(Forbidden::Private)),
            ("8.8.8.8:25", Reason::Port(PortForbidden::System)),
            ("8.8.8.8:6379", Reason::Port(PortForbidden::Service("Redis"))),
            ("8.8.8.8:0", Reason::Port(PortForbidden::Zero)),
        ] {
            assert_eq!(verdict(&policy, addr), Some(reason), "{addr}");
        }
    }

    #[test]
    fn a_rule_without_a_port_lifts_the_address_but_not_the_port() {
        let policy = policy(&["10.0.0.0/8", "fd00::/8"], &[]);
        for addr in ["10.1.2.3:80", "10.1.2.3:8080", "[fd00::1]:65535"] {
            assert_eq!(verdict(&policy, addr), None, "{addr}");
        }
        for addr in ["10.1.2.3:6379", "10.1.2.3:22", "11.0.0.1:22", "192.168.0.1:80"] {
            assert!(verdict(&policy, addr).is_some(), "{addr}");
        }
    }

    #[test]
    fn a_rule_with_a_port_lifts_both_on_that_port_only() {
        let policy = policy(&["10.0.0.0/8:25", "8.8.8.8:2525", "1.1.1.1:22"], &[]);
        for addr in ["10.1.2.3:25", "1.1.1.1:22", "8.8.8.8:443", "8.8.8.8:2525"] {
            assert_eq!(verdict(&policy, addr), None, "{addr}");
        }
        for addr in ["10.1.2.3:443", "1.1.1.1:25", "1.1.1.2:22"] {
            assert!(verdict(&policy, addr).is_some(), "{addr}");
        }
    }

    #[test]
    fn rules_do_not_reach_into_ipv6_forms_of_ipv4() {
        let policy = policy(&["10.0.0.0/8", "127.0.0.0/8:80"], &[]);
        for addr in ["[::ffff:10.0.0.1]:443", "[64:ff9b::10.0.0.1]:443", "[::ffff:127.0.0.1]:80"] {
            assert!(verdict(&policy, addr).is_some(), "{addr}");
        }
    }

    #[test]
    fn metadata_needs_a_rule_with_its_port() {
        let wide = policy(&["0.0.0.0/0", "::/0"], &[]);
        for ip in ["169.254.169.254", "100.100.100.200", "168.63.129.16", "[fd00:ec2::254]"] {
            let metadata = Some(Reason::Address(Forbidden::Metadata));
            assert_eq!(verdict(&wide, &format!("{ip}:80")), metadata, "{ip}");
        }
        assert_eq!(verdict(&policy(&["169.254.169.254:80"], &[]), "169.254.169.254:80"), None);
    }

    #[test]
    fn own_addresses_are_refused_unless_a_rule_names_the_port() {
        let own = ["127.0.0.1:9464", "34.1.2.3:9464", "[2a01:4f8::5]:0"];
        let wide = policy(&["0.0.0.0/0", "::/0"], &own);
        for addr in [
            "127.0.0.1:9464",
            "34.1.2.3:9464",
            "[::ffff:127.0.0.1]:9464",
            "[64:ff9b::34.1.2.3]:9464",
            "0.0.0.0:9464",
            "[::]:9464",
            "[2a01:4f8::5]:443",
        ] {
            assert_eq!(verdict(&wide, addr), Some(Reason::Own), "{addr}");
        }
        for addr in ["127.0.0.1:9465", "34.1.2.4:9464", "[2a01:4f8::6]:443"] {
            assert_eq!(verdict(&wide, addr), None, "{addr}");
        }
        assert_eq!(verdict(&policy(&["127.0.0.0/8:9464"], &own), "127.0.0.1:9464"), None);
    }

    #[test]
    fn an_own_listener_on_every_address_takes_its_port_from_every_address() {
        let policy = policy(&["0.0.0.0/0"], &["0.0.0.0:9464"]);
        for addr in ["127.0.0.1:9464", "192.168.1.1:9464", "8.8.8.8:9464", "[2a01:4f8::5]:9464"] {
            assert_eq!(verdict(&policy, addr), Some(Reason::Own), "{addr}");
        }
        assert_eq!(verdict(&policy, "192.168.1.1:9465"), None);
    }

    #[test]
    fn an_address_of_this_machine_needs_a_rule_and_a_port_of_ours_one_that_names_it() {
        let here = |allow: &[&str], addr: &str| {
            let policy = policy(allow, &["127.0.0.1:9464", "10.0.0.5:5433"]);
            policy.check_here(addr.parse().unwrap()).err().map(|blocked| blocked.reason)
        };
        assert_eq!(here(&[], "34.1.2.3:443"), Some(Reason::Here));
        assert_eq!(here(&["34.1.2.3"], "34.1.2.3:443"), None);
        assert_eq!(here(&["34.1.2.3:443"], "34.1.2.3:443"), None);
        for port in [9464, 5433] {
            let addr = format!("34.1.2.3:{port}");
            assert_eq!(here(&["34.1.2.3"], &addr), Some(Reason::Own));
            assert_eq!(here(&[&addr], &addr), None);
        }
    }

    #[test]
    fn one_forbidden_address_refuses_the_set_in_any_order() {
        let policy = Policy::default();
        let public: SocketAddr = "8.8.8.8:443".parse().unwrap();
        let private: SocketAddr = "192.168.0.1:443".parse().unwrap();
        assert_eq!(policy.check_all(&[public, public]), Ok(()));
        for set in [[public, private], [private, public]] {
            assert_eq!(policy.check_all(&set).unwrap_err().addr, private);
        }
    }

    #[test]
    fn the_message_names_address_reason_and_a_rule_that_works() {
        for addr in ["10.0.0.5:443", "[fd00::1]:8443", "8.8.8.8:22", "169.254.169.254:80"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let message = Policy::default().check(addr).unwrap_err().to_string();
            let rule = message.split('"').rev().nth(1).unwrap();
            assert_eq!(policy(&[rule], &[]).check(addr), Ok(()), "{message}");
        }
        let blocked = Policy::default().check("10.0.0.5:443".parse().unwrap()).unwrap_err();
        assert_eq!(
            blocked.to_string(),
            "10.0.0.5:443 is refused: private network (RFC 1918); \
             if it is meant, add \"10.0.0.5:443\" to delivery.allow"
        );
    }
}
