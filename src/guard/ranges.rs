//! Which IP addresses are somebody's public server, by the IANA special-purpose registries.
//!
//! The standard library's helpers are not used: `is_private` and its kin know nothing of NAT64,
//! 6to4, Teredo or cloud metadata services, and that gap is the usual cause of SSRF advisories.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Why an address is no public server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// `0.0.0.0/8` and `::` (RFC 1122, RFC 4291); Linux connects them to itself.
    #[error("unspecified address (\"this network\")")]
    Unspecified,
    /// `127.0.0.0/8` and `::1` (RFC 1122, RFC 4291).
    #[error("loopback address")]
    Loopback,
    /// `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` (RFC 1918).
    #[error("private network (RFC 1918)")]
    Private,
    /// `100.64.0.0/10` (RFC 6598).
    #[error("shared address space (CGNAT, RFC 6598)")]
    Shared,
    /// `169.254.0.0/16` and `fe80::/10` (RFC 3927, RFC 4291).
    #[error("link-local address")]
    LinkLocal,
    /// The address at which a cloud hands credentials to its machines.
    #[error("cloud metadata service")]
    Metadata,
    /// `192.0.0.0/24` and `2001::/23` (RFC 6890, RFC 2928).
    #[error("IETF protocol assignment")]
    Protocol,
    /// `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24` (RFC 5737), `2001:db8::/32`
    /// (RFC 3849) and `3fff::/20` (RFC 9637).
    #[error("documentation address")]
    Documentation,
    /// `198.18.0.0/15` (RFC 2544).
    #[error("benchmarking network (RFC 2544)")]
    Benchmarking,
    /// `224.0.0.0/4` and `ff00::/8`.
    #[error("multicast address")]
    Multicast,
    /// `255.255.255.255`.
    #[error("broadcast address")]
    Broadcast,
    /// `240.0.0.0/4` and every IPv6 block that IANA has not given out as global unicast.
    #[error("reserved address")]
    Reserved,
    /// `::/8` except NAT64: mapped, compatible and translated forms (RFC 4291, RFC 7915).
    #[error("IPv4 address in an IPv6 form")]
    EmbeddedIpv4,
    /// `64:ff9b:1::/48` (RFC 8215).
    #[error("local-use NAT64 prefix (RFC 8215)")]
    LocalNat64,
    /// 6to4 and its relay `192.88.99.0/24` (RFC 3056, RFC 7526), Teredo (RFC 4380) and
    /// ISATAP (RFC 5214).
    #[error("IPv6 transition tunnel (6to4, Teredo or ISATAP)")]
    Tunnel,
    /// `100::/64` and `100:0:0:1::/64` (RFC 6666, RFC 9780).
    #[error("discard-only prefix")]
    Discard,
    /// `fc00::/7` (RFC 4193).
    #[error("unique local address (RFC 4193)")]
    UniqueLocal,
    /// `fec0::/10` (RFC 3879).
    #[error("site-local address")]
    SiteLocal,
    /// `5f00::/16` (RFC 9602).
    #[error("segment routing identifier (RFC 9602)")]
    SegmentRouting,
}

/// Judges one address: public, or why not. Deny by default where IANA's registries of
/// special-purpose addresses (RFC 6890) leave room.
///
/// # Errors
/// The reason, when the address is not global unicast or is a known metadata service.
pub const fn classify(ip: IpAddr) -> Result<(), Forbidden> {
    match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

/// The address that a packet to `ip` finally reaches: the IPv4 address inside an IPv4-mapped
/// (RFC 4291) or NAT64 (RFC 6052) one, else `ip` itself.
#[must_use]
pub const fn destination(ip: IpAddr) -> IpAddr {
    if let IpAddr::V6(v6) = ip
        && let [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] =
            v6.segments()
    {
        return IpAddr::V4(join(high, low));
    }
    ip
}

// A `match` rather than a list: the compiler refuses an arm that an earlier one shadows.
const fn classify_v4(ip: Ipv4Addr) -> Result<(), Forbidden> {
    Err(match ip.octets() {
        // AWS (also ECS and EKS), Alibaba, Oracle; Azure's is a public address.
        [169, 254, 169, 254] | [169, 254, 170, 2 | 23] => Forbidden::Metadata,
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Forbidden::Metadata,
        [0, ..] => Forbidden::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Forbidden::Private,
        [100, 64..=127, ..] => Forbidden::Shared,
        [127, ..] => Forbidden::Loopback,
        [169, 254, ..] => Forbidden::LinkLocal,
        [192, 0, 0, _] => Forbidden::Protocol,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Forbidden::Documentation,
        [192, 88, 99, _] => Forbidden::Tunnel,
        [198, 18..=19, ..] => Forbidden::Benchmarking,
        [224..=239, ..] => Forbidden::Multicast,
        [255, 255, 255, 255] => Forbidden::Broadcast,
        [240..=255, ..] => Forbidden::Reserved,
        _ => return Ok(()),
    })
}

// Only `2000::/3` is global unicast; inside it the exceptions, outside it only the reason.
const fn classify_v6(ip: Ipv6Addr) -> Result<(), Forbidden> {
    Err(match ip.segments() {
        // AWS (metadata, EKS credentials) and Google.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] => Forbidden::Metadata,
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Forbidden::Metadata,
        [0, 0, 0, 0, 0, 0, 0, 0] => Forbidden::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Forbidden::Loopback,
        // Never acceptable, but what it hides is the better reason.
        [0, 0, 0, 0, 0, 0xffff, high, low] => match classify_v4(join(high, low)) {
            Err(why) => why,
            Ok(()) => Forbidden::EmbeddedIpv4,
        },
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return classify_v4(join(high, low)),
        [0x64, 0xff9b, 1, ..] => Forbidden::LocalNat64,
        [0..=0x00ff, ..] => Forbidden::EmbeddedIpv4,
        [0x100, 0, 0, 0 | 1, ..] => Forbidden::Discard,
        // ISATAP is an interface identifier, so it can stand behind any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Forbidden::Tunnel,
        [0x2001, 0, ..] | [0x2002, ..] => Forbidden::Tunnel,
        [0x2001, 1..=0x1ff, ..] => Forbidden::Protocol,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Forbidden::Documentation,
        [0x2000..=0x3fff, ..] => return Ok(()),
        [0x5f00, ..] => Forbidden::SegmentRouting,
        [0xfc00..=0xfdff, ..] => Forbidden::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Forbidden::LinkLocal,
        [0xfec0..=0xfeff, ..] => Forbidden::SiteLocal,
        [0xff00..=0xffff, ..] => Forbidden::Multicast,
        _ => Forbidden::Reserved,
    })
}

const fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((high as u32) << 16 | low as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    // First and last refused address of each range, written from the registry, not from `match`.
    const REFUSED_V4: [(&str, &str); 20] = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("168.63.129.16", "168.63.129.16"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.18.255.255"),
        ("198.19.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "231.255.255.255"),
        ("232.0.0.0", "239.255.255.255"),
        ("240.0.0.0", "247.255.255.255"),
        ("248.0.0.0", "255.255.255.254"),
        ("255.255.255.255", "255.255.255.255"),
    ];

    fn naive() -> Vec<(u32, u32)> {
        let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
        REFUSED_V4.map(|(first, last)| (bits(first), bits(last))).to_vec()
    }

    fn agrees(naive: &[(u32, u32)], bits: u32) {
        let refused = naive.iter().any(|&(first, last)| first <= bits && bits <= last);
        let ip = Ipv4Addr::from_bits(bits);
        assert_eq!(classify(ip.into()).is_err(), refused, "{ip}");
    }

    fn v6(text: &str) -> Result<(), Forbidden> {
        classify(text.parse().unwrap())
    }

    #[test]
    fn ipv4_agrees_with_an_independent_table_in_every_24_bit_block() {
        // No range but the single addresses is finer than /24, so one address of each block, at
        // a changing place in it, decides the block. Sorted ranges make the oracle a cursor.
        let naive = naive();
        let mut at = 0;
        for block in 0..1_u32 << 24 {
            let bits = block << 8 | (block.wrapping_mul(167) >> 3) & 0xff;
            while naive[at].1 < bits {
                at += 1;
            }
            let refused = naive[at].0 <= bits;
            let verdict = classify(IpAddr::V4(Ipv4Addr::from_bits(bits)));
            assert_eq!(verdict.is_err(), refused, "{}", Ipv4Addr::from_bits(bits));
        }
    }

    #[test]
    fn ipv4_agrees_around_every_boundary_and_by_a_prime_stride() {
        let naive = naive();
        let edges = naive.iter().flat_map(|&(first, last)| [first, last]);
        for edge in edges.chain((0..=0xffff).map(|high: u32| high << 16)) {
            for bits in [edge.wrapping_sub(1), edge, edge.wrapping_add(1)] {
                agrees(&naive, bits);
            }
        }
        for bits in (0..=u32::MAX).step_by(65_537) {
            agrees(&naive, bits);
        }
        for last in 0..=255 {
            agrees(&naive, u32::from_be_bytes([168, 63, 129, last]));
        }
    }

    #[test]
    fn metadata_services_are_named_in_every_disguise() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::168.63.129.16",
        ] {
            assert_eq!(v6(text), Err(Forbidden::Metadata), "{text}");
        }
    }

    #[test]
    fn ipv6_forms_of_ipv4_and_special_blocks_are_refused_by_class() {
        use Forbidden::*;
        for (text, why) in [
            ("::", Unspecified),
            ("::1", Loopback),
            ("::2", EmbeddedIpv4),
            ("::7f00:1", EmbeddedIpv4),
            ("::8.8.8.8", EmbeddedIpv4),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:10.1.2.3", Private),
            ("::ffff:8.8.8.8", EmbeddedIpv4),
            ("::ffff:0:7f00:1", EmbeddedIpv4),
            ("::ffff:0:8.8.8.8", EmbeddedIpv4),
            ("::5efe:7f00:1", EmbeddedIpv4),
            ("64:ff9b::7f00:1", Loopback),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::", Unspecified),
            ("64:ff9b:0:0:1::1", EmbeddedIpv4),
            ("64:ff9b:1::8.8.8.8", LocalNat64),
            ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", LocalNat64),
            ("64:ff9b:2::1", EmbeddedIpv4),
            ("ff:ffff::", EmbeddedIpv4),
            ("100::1", Discard),
            ("100:0:0:1::1", Discard),
            ("100:0:0:2::1", Reserved),
            ("1fff:ffff::", Reserved),
            ("2001::1", Tunnel),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Tunnel),
            ("2001:1::1", Protocol),
            ("2001:2::1", Protocol),
            ("2001:10::1", Protocol),
            ("2001:20::1", Protocol),
            ("2001:1ff:ffff::1", Protocol),
            ("2001:db8::1", Documentation),
            ("2001:db8:ffff::1", Documentation),
            ("2002:7f00:1::", Tunnel),
            ("2002:a9fe:a9fe::1", Tunnel),
            ("2002:ffff::1", Tunnel),
            ("2a00:1450:4001:800:0:5efe:7f00:1", Tunnel),
            ("2a00:1450:4001:800:200:5efe:0a00:1", Tunnel),
            ("3fff::1", Documentation),
            ("3fff:fff:ffff::", Documentation),
            ("4000::1", Reserved),
            ("5f00::1", SegmentRouting),
            ("5f01::1", Reserved),
            ("8000::", Reserved),
            ("fbff::1", Reserved),
            ("fc00::1", UniqueLocal),
            ("fd12:3456:789a::1", UniqueLocal),
            ("fe00::1", Reserved),
            ("fe80::1", LinkLocal),
            ("fe80::5efe:192.168.0.1", Tunnel),
            ("febf:ffff::1", LinkLocal),
            ("fec0::1", SiteLocal),
            ("feff::1", SiteLocal),
            ("ff02::1", Multicast),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ] {
            assert_eq!(v6(text), Err(why), "{text}");
        }
    }

    #[test]
    fn ipv6_outside_2000_3_is_refused_whatever_follows_except_public_nat64() {
        for first in (0..=u16::MAX).filter(|first| !(0x2000..=0x3fff).contains(first)) {
            for tail in [0, 1, 0x5efe, 0x0808_0808, u128::MAX >> 16] {
                let ip = Ipv6Addr::from_bits(u128::from(first) << 112 | tail);
                assert!(classify(ip.into()).is_err(), "{ip}");
            }
        }
        assert_eq!(v6("64:ff9b::8.8.8.8"), Ok(()));
    }

    #[test]
    fn blocks_beside_the_exceptions_are_public() {
        for text in [
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2620:4f:8000::1",
            "3ffe:ffff::1",
            "3fff:1000::1",
        ] {
            assert_eq!(v6(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn destination_unwraps_mapped_and_nat64_and_nothing_else() {
        let unwrapped = |text: &str| destination(text.parse().unwrap()).to_string();
        assert_eq!(unwrapped("::ffff:1.2.3.4"), "1.2.3.4");
        assert_eq!(unwrapped("64:ff9b::1.2.3.4"), "1.2.3.4");
        assert_eq!(unwrapped("1.2.3.4"), "1.2.3.4");
        assert_eq!(unwrapped("2001:4860:4860::8888"), "2001:4860:4860::8888");
    }
}
