//! Endpoint URLs: what is accepted, and what the accepted text really means.
//!
//! The parser follows WHATWG and repairs much: it deletes tabs and line ends, turns `\` into `/`,
//! and reads `0x7f.1` and `①②⑦.0.0.1` as `127.0.0.1`. So bytes are judged before parsing, and
//! hosts only after it.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use url::{Host, ParseError, Url};

use super::{Blocked, Policy, PortForbidden, ports};

/// Longest URL, in bytes, both as given and as stored.
pub const MAX_URL_BYTES: usize = 2048;

/// Why a URL is refused. The URL itself is never shown: its path is often a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Longer than [`MAX_URL_BYTES`].
    #[error("the URL has more than {MAX_URL_BYTES} bytes; shorten it")]
    Length,
    /// A blank, a control character or DEL.
    #[error("byte {position} of the URL is a blank or control character; percent-encode it")]
    Byte {
        /// Where, counted from 1.
        position: usize,
    },
    /// `\`, which parsers disagree about.
    #[error("the URL contains a backslash; write / or %5C")]
    Backslash,
    /// No URL at all.
    #[error("not a URL ({0}); write it like https://example.com/hooks")]
    Syntax(ParseError),
    /// Neither `https` nor `http`.
    #[error("the scheme is not supported; use https or http")]
    Scheme,
    /// `http` under `delivery.https_only`.
    #[error("delivery.https_only is set; use https")]
    HttpsOnly,
    /// User name or password.
    #[error("the URL carries a user name or password; send it as an Authorization header")]
    UserInfo,
    /// `#…`, which is never sent.
    #[error("the URL has a fragment (#), which is never sent; remove it")]
    Fragment,
    /// No host.
    #[error("the URL has no host; write it like https://example.com/hooks")]
    Host,
    /// The host is neither an address nor a name that DNS could have.
    #[error("the host name has other characters than letters, digits, . - and _; correct it")]
    Name,
    /// A port that no entry of `delivery.allow` could permit for this host.
    #[error("port {0} is refused: {1}; use a web port, or name it in delivery.allow")]
    Port(u16, PortForbidden),
    /// An IP address that the policy refuses.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The parser reads its own output in another way.
    #[error("the URL can be read in two ways; write it plainly, like https://example.com/hooks")]
    Ambiguous,
}

impl Policy {
    /// Judges the URL of an endpoint and gives it in the form to store and use (host in lower
    /// case and punycode). Parsing that form again gives the same URL (URL Standard, RFC 3986).
    ///
    /// A literal address is judged like a resolved one. A name is not resolved here, so
    /// [`Policy::check_all`] has to judge what it resolves to, at every attempt.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check_url(&self, raw: &str) -> Result<Url, UrlError> {
        check_bytes(raw)?;
        let url = Url::parse(raw).map_err(|error| match error {
            ParseError::EmptyHost => UrlError::Host,
            error => UrlError::Syntax(error),
        })?;
        self.check_scheme(&url)?;
        if !url.username().is_empty() || url.password().is_some() || empty_userinfo(raw) {
            return Err(UrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        self.check_host(&url)?;
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(UrlError::Length);
        }
        // The parser promises this; what was judged being what is dialled rests on it.
        if Url::parse(url.as_str()).as_ref() != Ok(&url) {
            return Err(UrlError::Ambiguous);
        }
        Ok(url)
    }

    /// Judges a URL once more that [`Policy::check_url`] gave, perhaps of another policy.
    ///
    /// # Errors
    /// What this policy finds wrong with its scheme, its port or its literal address.
    pub fn check_parsed(&self, url: &Url) -> Result<(), UrlError> {
        self.check_scheme(url)?;
        self.check_host(url)
    }

    fn check_scheme(&self, url: &Url) -> Result<(), UrlError> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if !self.https_only => Ok(()),
            "http" => Err(UrlError::HttpsOnly),
            _ => Err(UrlError::Scheme),
        }
    }

    fn check_host(&self, url: &Url) -> Result<(), UrlError> {
        if url.host_str().is_none_or(|host| host.trim_matches('.').is_empty()) {
            return Err(UrlError::Host);
        }
        if url.domain().is_some_and(|name| !name.bytes().all(is_of_names)) {
            return Err(UrlError::Name);
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if let Some(ip) = literal(url) {
            return Ok(self.check(SocketAddr::new(ip, port))?);
        }
        match ports::check(port) {
            Err(why) if !self.allow.iter().any(|rule| rule.port() == Some(port)) => {
                Err(UrlError::Port(port, why))
            }
            _ => Ok(()),
        }
    }
}

/// The address that stands in place of a host name, if one does. A resolver is never asked
/// about such a URL, so whoever guards only the resolver misses it.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn check_bytes(raw: &str) -> Result<(), UrlError> {
    if raw.len() > MAX_URL_BYTES {
        return Err(UrlError::Length);
    }
    if let Some(at) = raw.bytes().position(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(UrlError::Byte { position: at + 1 });
    }
    if raw.contains('\\') {
        return Err(UrlError::Backslash);
    }
    Ok(())
}

/// The parser lets through more, such as `{` and `*`, which the HTTP library reads in its own way.
const fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

// The parser drops the `@` of `http://@host` and `http://:@host` without a trace.
fn empty_userinfo(raw: &str) -> bool {
    let (_, rest) = raw.split_once(':').unwrap_or_default();
    let authority = rest.trim_start_matches('/').split(['/', '?', '#']).next();
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Reason, classify};

    // All of them name a loopback, private, link-local or metadata address.
    const SPELLINGS: &str = "
        127.0.0.1 127.1 127.0.1 127.0.0.1. 127.1. 2130706433 2130706433. 017700000001
        0x7f000001 0x7F.1 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7f.00.0.0x1 0177.0.0.1 0177.1
        00000177.0.0.01 127.0x1 127.65535 127.0.0.0x01 0 0. 0x 0x0 00 0.0.0.0 ①②⑦.0.0.1
        ⑫7.⓪.⓪.① １２７.０.０.１ 𝟏𝟐𝟕.0.0.1 ¹²⁷.0.0.1 127。0。0。1 127．0．0．1 127｡0｡0｡1
        %31%32%37.0.0.1 127%2e0%2e0%2e1 %30x7f.1 12\u{ad}7.0.0.1 127.0.0.1\u{200b}
        10.1 0xa.1 167772161 0xac100001 0300.0250.1 169.254.169.254 2852039166
        0xa9.0xfe.0xa9fe 168.63.129.16
        0xa83f8110 100.64.1 255.255.255.255 4294967295 [::1] [0:0:0:0:0:0:0:1]
        [0000:0000:0000:0000:0000:0000:0000:0001] [::] [::127.0.0.1] [::7f00:1]
        [::ffff:127.0.0.1] [::FFFF:7f00:1] [::ffff:0:7f00:1] [64:ff9b::7f00:1]
        [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001::1] [2001:0:7f00:1::] [::5efe:127.0.0.1]
        [fec0::1] [5f00::1] [fe80::1] [fd00:ec2::254] [ff02::1]";

    // What the generator of the last test joins.
    const PIECES: &str = "
        http https : / // @ # ? \\ . % [ ] %2f %31 0x7f 127 1 0 :: ::1 ffff example com xn-- ü ß
        ① 。 \u{ad} \u{200d} - _ a A & = | ^ { \" ' < ; , .. /../ :80";

    fn policy(allow: &[&str], https_only: bool) -> Policy {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        let own = Vec::new();
        Policy { allow, https_only, own }
    }

    fn refusal(raw: &str) -> UrlError {
        Policy::default().check_url(raw).unwrap_err()
    }

    #[test]
    fn ordinary_urls_pass_and_are_stored_in_one_form() {
        for (raw, stored) in [
            ("https://example.com/hooks", "https://example.com/hooks"),
            ("http://example.com", "http://example.com/"),
            ("HTTPS://EXAMPLE.com:443/A?b=c&d", "https://example.com/A?b=c&d"),
            ("https://a.b:8443/", "https://a.b:8443/"),
            ("https://bücher.b/ü", "https://xn--bcher-kva.b/%C3%BC"),
            ("https://a.b./x", "https://a.b./x"),
            ("https://a.b/c/../d@e:f", "https://a.b/d@e:f"),
            ("https://a.b/?c=http://10.0.0.1", "https://a.b/?c=http://10.0.0.1"),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://[2606:4700:0::1111]", "https://[2606:4700::1111]/"),
            ("https://10.0.0.1.nip.io/", "https://10.0.0.1.nip.io/"),
        ] {
            assert_eq!(Policy::default().check_url(raw).unwrap().as_str(), stored);
        }
    }

    #[test]
    fn every_spelling_of_a_forbidden_address_is_refused() {
        assert!(SPELLINGS.split_whitespace().count() >= 40);
        for host in SPELLINGS.split_whitespace() {
            for raw in [
                format!("http://{host}/"),
                format!("https://{host}:8443/x"),
                format!("http:{host}"),
                format!("http:///{host}/?a"),
            ] {
                let error = refusal(&raw);
                let UrlError::Blocked(blocked) = error else {
                    panic!("{raw}: {error:?}");
                };
                assert!(matches!(blocked.reason, Reason::Address(_)), "{raw}");
            }
        }
    }

    #[test]
    fn broken_numeric_hosts_are_no_urls() {
        for host in "256.1.1.1 127.0.0.0.1 4294967296 0x100000000 1.2.3.0x100 1.2.3.09 \
                     [::1 [fe80::1%25eth0] [127.0.0.1] [::1].x [::g] [1::2::3]"
            .split(' ')
        {
            assert!(matches!(refusal(&format!("http://{host}/")), UrlError::Syntax(_)), "{host}");
        }
    }

    #[test]
    fn every_byte_below_0x21_and_del_is_refused_wherever_it_stands() {
        for byte in (0..=0x20).chain([0x7f_u8]) {
            for (raw, position) in
                [("https://fo*o.b/", 11), ("*https://a.b/", 1), ("http://a.b/*", 12)]
            {
                let raw = raw.replace('*', &char::from(byte).to_string());
                assert_eq!(refusal(&raw), UrlError::Byte { position }, "{raw:?}");
            }
        }
    }

    #[test]
    fn a_host_name_has_only_characters_that_names_have() {
        for host in "a{b} a.b,c a*b a'b a\"b a`b a!b $a (a) a;b a=b a&b a+b ~a".split(' ') {
            assert_eq!(refusal(&format!("https://{host}.example/")), UrlError::Name, "{host}");
        }
    }

    #[test]
    fn another_policy_judges_a_parsed_url_again() {
        let url = policy(&["10.0.0.0/8", "8.8.8.8:22"], false).check_url("http://10.1/").unwrap();
        assert!(policy(&["10.0.0.0/8"], false).check_parsed(&url).is_ok());
        assert_eq!(policy(&["10.0.0.0/8"], true).check_parsed(&url), Err(UrlError::HttpsOnly));
        assert!(matches!(Policy::default().check_parsed(&url), Err(UrlError::Blocked(_))));
    }

    #[test]
    fn dangerous_or_useless_parts_are_refused() {
        let system = UrlError::Port(22, PortForbidden::System);
        let redis = UrlError::Port(6379, PortForbidden::Service("Redis"));
        for (urls, expected) in [
            (
                "ftp://a.b/ gopher://a.b/ file:///etc/passwd ws://a.b httpss://a.b \
                 javascript:alert(1) unix:/run/x.sock data:,x about:blank",
                UrlError::Scheme,
            ),
            (
                "https://u:pw@a.b/ https://u@a.b/ https://:pw@a.b/ https://u:@a.b \
                 https://@a.b/ https://:@a.b https:@a.b https:///@a.b \
                 https://a.b%40@10.0.0.1/ https://10.0.0.1%2f@a.b/",
                UrlError::UserInfo,
            ),
            ("https://127.0.0.1#@a.b/ https://a.b/# https://a.b/#x", UrlError::Fragment),
            ("https://a\\@evil.example/ http:/\\127.0.0.1 https://a.b/\\", UrlError::Backslash),
            ("https://a.b:0/ http://a.b:00/", UrlError::Port(0, PortForbidden::Zero)),
            ("https://a.b:22/ http://a.b:022", system),
            ("http://a.b:6379/", redis),
            ("https:// https://:443/ https://./ https://../", UrlError::Host),
        ] {
            for raw in urls.split_whitespace() {
                assert_eq!(refusal(raw), expected, "{raw}");
            }
        }
        assert!(matches!(refusal(""), UrlError::Syntax(_)));
        for raw in "a.b /hooks //a.b/ https://a<b/ https://a:99999/ https://%00/".split(' ') {
            assert!(matches!(refusal(raw), UrlError::Syntax(_)), "{raw}");
        }
    }

    #[test]
    fn length_is_bounded_before_and_after_encoding() {
        let fitting = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES - 18));
        assert!(Policy::default().check_url(&fitting).is_ok());
        assert_eq!(refusal(&(fitting + "x")), UrlError::Length);
        let growing = format!("https://a.example/{}", "ü".repeat(400));
        assert_eq!(refusal(&growing), UrlError::Length);
    }

    #[test]
    fn https_only_refuses_http() {
        let strict = policy(&[], true);
        assert_eq!(strict.check_url("http://a.b/"), Err(UrlError::HttpsOnly));
        assert_eq!(strict.check_url("ftp://a.b/"), Err(UrlError::Scheme));
        assert!(strict.check_url("https://example.com/").is_ok());
    }

    #[test]
    fn rules_open_literals_and_ports_that_they_name() {
        let policy = policy(&["10.0.0.0/8", "[fd00::/8]:8443", "192.168.0.0/16:25"], false);
        for raw in "http://10.1/ http://10.0.0.1:8080/ https://[fd00::5]:8443/ \
                    http://192.168.1.1:25/ http://mail.internal:25/"
            .split(' ')
        {
            assert!(policy.check_url(raw).is_ok(), "{raw}");
        }
        for raw in "http://10.0.0.1:25/ https://[fd00::5]/ http://127.1/ http://a.b:22/".split(' ')
        {
            assert!(policy.check_url(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn messages_tell_what_to_do_and_never_repeat_the_url() {
        for raw in "https://u:s3cret@a.b/s3cret ftp://s3cret.b/s3cret \
                    https://s3cret.b:22/s3cret https://10.0.0.1/s3cret https://a.b/\ts3cret s3cret"
            .split(' ')
        {
            let message = refusal(raw).to_string();
            assert!(message.contains(';') && !message.contains("s3cret"), "{message}");
        }
        assert!(refusal("http://10.1/").to_string().starts_with("10.0.0.1:80 is refused: private"));
    }

    #[test]
    fn literal_is_the_parsed_address_or_nothing() {
        let of = |raw| literal(&Url::parse(raw).unwrap()).map(|ip| ip.to_string());
        assert_eq!(of("http://0x7f.1/").as_deref(), Some("127.0.0.1"));
        assert_eq!(of("http://[::1]/").as_deref(), Some("::1"));
        assert_eq!(of("http://127.0.0.1.nip.io/"), None);
        assert_eq!(of("mailto:a@b"), None);
    }

    #[test]
    fn what_is_accepted_reads_back_equal_and_is_accepted_again() {
        let pieces: Vec<&str> = PIECES.split_whitespace().collect();
        // xorshift64: repeatable and without a crate.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let policy = Policy::default();
        let mut accepted = 0;
        for round in 0..60_000 {
            let start = ["https://", "http://", "https://a", ""][round % 4];
            let tail = (0..next(9)).map(|_| pieces[next(pieces.len())]);
            let raw: String = std::iter::once(start).chain(tail).collect();
            let Ok(url) = policy.check_url(&raw) else {
                continue;
            };
            accepted += 1;
            assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "{raw}");
            assert_eq!(policy.check_url(url.as_str()).as_ref(), Ok(&url), "{raw}");
            assert!(literal(&url).is_none_or(|ip| classify(ip).is_ok()), "{raw}");
        }
        assert!(accepted > 5_000, "only {accepted} accepted: the generator tests nothing");
    }
}
