//! The whole address space against tables written independently, and what must not be refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Forbidden, Policy, classify};

/// Set when the tests are built: every single IPv4 address; else all that can make a difference.
const EXHAUSTIVE: Option<&str> = option_env!("OUTBOXD_TEST_EXHAUSTIVE");

/// The registry of special IPv4 addresses, and the public address of a metadata service.
const SPECIAL_V4: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32
    169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16
    198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4";

/// What of `2000::/3` is refused; of the rest everything but public NAT64 addresses.
const SPECIAL_V6: &str = "2001::/23 2001:db8::/32 2002::/16 3fff::/20";

fn special_v4() -> Vec<Ipv4Net> {
    SPECIAL_V4.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

fn refused_v4(table: &[Ipv4Net], bits: u32) -> bool {
    table.iter().any(|net| net.contains(&Ipv4Addr::from_bits(bits)))
}

fn refused_v6(table: &[Ipv6Net], of_v4: &[Ipv4Net], ip: Ipv6Addr) -> bool {
    let nat64: Ipv6Net = "64:ff9b::/96".parse().unwrap();
    let unicast: Ipv6Net = "2000::/3".parse().unwrap();
    let low = u32::try_from(ip.to_bits() & u128::from(u32::MAX)).unwrap();
    if nat64.contains(&ip) {
        return refused_v4(of_v4, low);
    }
    // ISATAP: 0000:5efe or 0200:5efe before an IPv4 address, behind any prefix.
    let isatap = matches!((ip.to_bits() >> 32) & 0xffff_ffff, 0x5efe | 0x0200_5efe);
    !unicast.contains(&ip) || isatap || table.iter().any(|net| net.contains(&ip))
}

/// Walks from `first` to `last` with the sorted table as a cursor, so that the oracle costs nothing.
fn walk(table: &[Ipv4Net], first: u32, last: u32) {
    let mut at = 0;
    for bits in first..=last {
        while at < table.len() && table[at].broadcast().to_bits() < bits {
            at += 1;
        }
        let refused = table.get(at).is_some_and(|net| net.network().to_bits() <= bits);
        let verdict = classify(IpAddr::V4(Ipv4Addr::from_bits(bits)));
        assert_eq!(verdict.is_err(), refused, "{}", Ipv4Addr::from_bits(bits));
    }
}

#[test]
fn every_ipv4_address_is_judged_as_the_registry_says() {
    let table = special_v4();
    assert!(table.is_sorted());
    if EXHAUSTIVE.is_some() {
        std::thread::scope(|scope| {
            for quarter in 0..4_u32 {
                let table = &table;
                scope.spawn(move || walk(table, quarter << 30, quarter << 30 | 0x3fff_ffff));
            }
        });
        return;
    }
    // Every address of the /24 that a block begins and ends in, and of those beside them.
    for net in &table {
        for edge in [net.network().to_bits(), net.broadcast().to_bits()] {
            let block = edge & !0xff;
            walk(&table, block.saturating_sub(0x100), block.saturating_add(0x1ff));
        }
    }
}

#[test]
fn ipv6_addresses_in_and_around_every_block_are_judged_as_the_registry_says() {
    let of_v4 = special_v4();
    let table: Vec<Ipv6Net> =
        SPECIAL_V6.split_whitespace().map(|net| net.parse().unwrap()).collect();
    let forms = "::/0 ::/8 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64
        100:0:0:1::/64 2000::/3 2001::/32 2001:10::/28 2001:20::/28 5f00::/16 fc00::/7 fe80::/10
        fec0::/10 ff00::/8 fd00:ec2::/64 fd20:ce::/64";
    let nets: Vec<Ipv6Net> = forms.split_whitespace().map(|net| net.parse().unwrap()).collect();
    let mut random = fastrand::Rng::with_seed(0x6a09_e667);
    let (mut public, mut private) = (0, 0);
    let mut judge = |bits: u128| {
        let ip = Ipv6Addr::from_bits(bits);
        let refused = refused_v6(&table, &of_v4, ip);
        assert_eq!(classify(ip.into()).is_err(), refused, "{ip}");
        if refused { private += 1 } else { public += 1 }
    };
    for net in nets.iter().chain(&table) {
        let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
        for edge in [first, last] {
            for bits in [edge.wrapping_sub(1), edge, edge.wrapping_add(1)] {
                judge(bits);
            }
        }
        for _ in 0..5_000 {
            let inside = first | random.u128(..) & (last ^ first);
            judge(inside);
            // Of an interface identifier that hides an IPv4 address.
            judge(inside & !0xffff_ffff_ffff_ffff | 0x5efe_0000_0000 | u128::from(random.u32(..)));
        }
    }
    for v4 in &of_v4 {
        let inside = v4.network().to_bits() | random.u32(..) & v4.hostmask().to_bits();
        for prefix in ["64:ff9b::", "::", "::ffff:0:0", "::ffff:0:0:0", "2002::", "64:ff9b:1::"] {
            let prefix: Ipv6Addr = prefix.parse().unwrap();
            judge(prefix.to_bits() | u128::from(inside));
        }
    }
    assert!(public > 10_000 && private > 100_000, "{public} public, {private} not");
}

/// Names as they are met: short and long, with digits, hyphens and other scripts.
fn names() -> impl Iterator<Item = String> {
    let labels = [
        "a",
        "x1",
        "api",
        "hooks",
        "www2",
        "my-shop",
        "1password",
        "9gag",
        "0x7f",
        "127",
        "10",
        "xn--bcher-kva",
        "bücher",
        "例え",
        "пример",
        "café-münchen",
        "straße",
        "_dmarc",
        "a--b",
        "receiver-0042",
        "localhost-not",
        "internal-tools",
        "a-label-of-sixty-three-characters-which-is-the-longest-possible",
    ];
    let ends = [
        "com",
        "io",
        "dev",
        "co.uk",
        "com.br",
        "museum",
        "xn--p1ai",
        "рф",
        "テスト",
        "cloud",
        "amazonaws.com",
        "europe-west1.run.app",
        "ngrok-free.app",
        "local",
        "internal",
    ];
    labels.into_iter().flat_map(move |label| {
        ends.into_iter().flat_map(move |end| {
            [format!("{label}.{end}"), format!("a.{label}.{end}"), format!("{label}.{end}.")]
        })
    })
}

#[test]
fn a_thousand_public_names_and_addresses_are_not_refused() {
    let policy = Policy::default();
    let ports = ["", ":80", ":443", ":8080", ":8443"];
    let mut admitted = 0;
    for (number, name) in names().enumerate() {
        let port = ports[number % ports.len()];
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{name}{port}/hooks/{number}?token=a%20b");
            assert!(policy.check_url(&url).is_ok(), "{url}: {:?}", policy.check_url(&url));
            admitted += 1;
        }
    }
    assert!(admitted >= 1_000, "{admitted} URLs");
    // What hosting companies and clouds give to servers.
    let given = "1.1.1.0/24 3.0.0.0/9 5.9.0.0/16 8.8.0.0/16 13.32.0.0/15 17.0.0.0/8 20.33.0.0/16
        23.192.0.0/11 31.13.24.0/21 34.64.0.0/10 35.184.0.0/13 40.64.0.0/10 44.192.0.0/11
        46.4.0.0/16 51.15.0.0/16 52.0.0.0/11 54.64.0.0/11 64.233.160.0/19 78.46.0.0/15
        91.198.174.0/24 93.184.216.0/24 95.216.0.0/16 99.84.0.0/16 103.21.244.0/22 104.16.0.0/13
        116.202.0.0/15 128.199.0.0/16 138.68.0.0/16 140.82.112.0/20 151.101.0.0/16 157.240.0.0/16
        159.65.0.0/16 162.158.0.0/15 165.22.0.0/16 172.64.0.0/13 178.128.0.0/16 185.199.108.0/22
        188.114.96.0/20 192.30.252.0/22 198.41.128.0/17 199.232.0.0/16 207.154.192.0/18
        216.58.192.0/19 217.160.0.0/16";
    let mut random = fastrand::Rng::with_seed(7);
    let mut public = 0;
    for net in given.split_whitespace() {
        let net: Ipv4Net = net.parse().unwrap();
        for _ in 0..30 {
            let ip = Ipv4Addr::from_bits(
                net.network().to_bits() | random.u32(..) & net.hostmask().to_bits(),
            );
            assert_eq!(classify(ip.into()), Ok::<(), Forbidden>(()), "{ip}");
            public += 1;
        }
    }
    assert!(public >= 1_000, "{public} addresses");
}
