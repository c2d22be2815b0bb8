//! Endpoint URLs: what is accepted means the same wherever it is read, and is nowhere forbidden.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use outboxd::guard::{self, Policy};

/// Whether an address is out of the public network, by a list that is not that of the product.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => is_inside_v6(address),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || matches!(
            (a, b, c),
            (0 | 240.., _, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _)
        )
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last = |at: usize| {
        let [high, low] = [segments[at], segments[at + 1]].map(u16::to_be_bytes);
        Ipv4Addr::new(high[0], high[1], low[0], low[1])
    };
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last(6)),
        [0x2002, ..] => Some(last(1)),
        _ => None,
    };
    embedded.is_some_and(is_inside_v4)
        || address.is_loopback()
        || address.is_unspecified()
        || matches!(segments[0], 0xfc00..=0xfdff | 0xfe80..=0xffff)
}

fuzz_target!(|raw: &str| {
    let policy = Policy::default();
    let Ok(url) = policy.check_url(raw) else { return };
    assert_eq!(policy.check_url(url.as_str()).as_ref(), Ok(&url), "not the same when read again");
    assert!(raw.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte != b'\\'));
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let host = url.host_str().expect("a host");
    let port = url.port_or_known_default().expect("a port");
    if let Some(address) = guard::literal(&url) {
        assert!(!is_inside(address), "{address}");
        assert_eq!(policy.check(SocketAddr::new(address, port)), Ok(()));
    } else {
        // What the system's resolver would take for an address is not left for a name.
        let parts: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
        let is_number = |part: &&str| part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty();
        assert!(parts.len() > 4 || !parts.iter().all(is_number), "{host}");
        assert!(host.trim_matches(['[', ']']).parse::<IpAddr>().is_err(), "{host}");
    }
});
