//! The operator's exceptions to the guard: the entries of `delivery.allow`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

/// One entry of `delivery.allow`: a network, perhaps on one port only.
///
/// Read from `10.20.0.0/16`, `10.20.0.0/16:8443`, `10.20.0.5`, `10.20.0.5:8443`, `fd00::/8`,
/// `[fd00::/8]:8443`, `[fd00::1]:8443` or `[fd00::]/8:8443`; bits behind the prefix are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    net: IpNet,
    port: Option<u16>,
}

/// A text that is no [`AllowRule`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?}: {problem}; write it like 10.20.0.0/16, 10.20.0.5:8443 or [fd00::/8]:8443")]
pub struct AllowRuleError {
    text: String,
    problem: &'static str,
}

impl AllowRule {
    /// The one port this rule is for; none: every port.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this rule speaks of exactly this port of this address.
    pub(super) fn names(&self, addr: SocketAddr) -> bool {
        self.port == Some(addr.port()) && self.net.contains(&addr.ip())
    }

    /// Whether this rule speaks of this address whatever the port.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        self.port.is_none() && self.net.contains(&ip)
    }
}

impl FromStr for AllowRule {
    type Err = AllowRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| AllowRuleError { text: text.to_owned(), problem })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.net, self.port) {
            (net, None) => write!(f, "{net}"),
            (IpNet::V4(net), Some(port)) => write!(f, "{net}:{port}"),
            (IpNet::V6(net), Some(port)) => write!(f, "[{net}]:{port}"),
        }
    }
}

fn parse(text: &str) -> Result<AllowRule, &'static str> {
    let (address, prefix, port) = split(text)?;
    let ip: IpAddr = address.parse().map_err(|_| "not an IP address or network")?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => whole,
        Some(digits) => number(digits).ok_or("the prefix length is not a number")?,
    };
    let net =
        IpNet::new(ip, prefix).map_err(|_| "the prefix length is at most 32, or 128 for IPv6")?;
    let port = match port.map(number) {
        None => None,
        Some(None | Some(0)) => return Err("the port is not a number from 1 to 65535"),
        Some(port) => port,
    };
    Ok(AllowRule { net: net.trunc(), port })
}

/// Address, prefix length and port, each as written.
type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']').ok_or("`[` without `]`")?;
        let (behind, port) = split_optional(behind, ':');
        return match (split_optional(inside, '/'), behind.strip_prefix('/')) {
            ((address, prefix), None) if behind.is_empty() => Ok((address, prefix, port)),
            ((address, None), prefix @ Some(_)) => Ok((address, prefix, port)),
            _ => Err("after `]` comes a prefix length, a port or nothing"),
        };
    }
    if let Some((address, behind)) = text.split_once('/') {
        let (prefix, port) = split_optional(behind, ':');
        return Ok((address, Some(prefix), port));
    }
    // Without brackets `fd00::1:8443` is an address, as everywhere else.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None, None));
    }
    let (address, port) = split_optional(text, ':');
    Ok((address, None, port))
}

fn split_optional(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

// `str::parse` alone would take `+8`.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> AllowRule {
        text.parse().unwrap()
    }

    #[test]
    fn every_spelling_is_read_and_shown_in_one_way_that_reads_back() {
        for (text, shown) in [
            ("10.20.0.0/16", "10.20.0.0/16"),
            ("10.20.0.0/16:8443", "10.20.0.0/16:8443"),
            ("10.20.0.5", "10.20.0.5/32"),
            ("10.20.0.5:8443", "10.20.0.5/32:8443"),
            ("10.20.3.4/16", "10.20.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("fd00::/8:8443", "[fd00::/8]:8443"),
            ("[fd00::/8]", "fd00::/8"),
            ("[fd00::/8]:8443", "[fd00::/8]:8443"),
            ("[fd00::]/8:8443", "[fd00::/8]:8443"),
            ("[::1]/128:80", "[::1/128]:80"),
            ("[::1]:80", "[::1/128]:80"),
            ("::1", "::1/128"),
            ("::1:80", "::1:80/128"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8/128"),
            ("10.0.0.1:65535", "10.0.0.1/32:65535"),
        ] {
            assert_eq!(rule(text).to_string(), shown);
            assert_eq!(rule(shown), rule(text));
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "/",
            ":",
            "[]",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]x:80",
            "[fd00::/8]/8",
            "[fd00::/8]:",
            "[fd00::/8]:0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/8:",
            "10.0.0.0/8:0",
            "10.0.0.0/8:+80",
            "10.0.0.0/8:65536",
            "10.0.0.0/8:80:81",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.256",
            " 10.0.0.1",
            "fd00::/129",
            "fd00:::/8",
            "fe80::1%eth0",
            "localhost",
            "localhost:80",
            "hooks.corp.example:443",
            "*",
        ] {
            let error = text.parse::<AllowRule>().unwrap_err().to_string();
            assert!(error.contains("[fd00::/8]:8443"), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_with_a_port_names_only_that_port_and_one_without_covers_all() {
        let inside: SocketAddr = "10.20.9.9:8443".parse().unwrap();
        let outside: SocketAddr = "10.21.0.0:8443".parse().unwrap();
        let other_port: SocketAddr = "10.20.9.9:8444".parse().unwrap();
        let narrow = rule("10.20.0.0/16:8443");
        assert!(narrow.names(inside) && !narrow.names(outside) && !narrow.names(other_port));
        assert!(!narrow.covers(inside.ip()));
        let wide = rule("10.20.0.0/16");
        assert!(wide.covers(inside.ip()) && !wide.covers(outside.ip()) && !wide.names(inside));
    }

    #[test]
    fn families_do_not_mix() {
        assert!(!rule("0.0.0.0/0").covers("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!rule("::/0").covers("127.0.0.1".parse().unwrap()));
    }
}
