//! URLs that lead to forbidden places, in the spellings that filters have been known to miss.

/// Hosts that are forbidden addresses, however they are spelled.
const HOSTS: &str = "
    127.0.0.1 127.1 127.0.1 127.0.0.1. 127.1. 2130706433 2130706433. 017700000001 0x7f000001 0x7F.1
    0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7f.00.0.0x1 0177.0.0.1 0177.1 00000177.0.0.01 127.0x1 127.65535
    127.0.0.0x01 127.127.127.127 0 0. 0x 0x0 00 0.0.0.0 ①②⑦.0.0.1 ⑫7.⓪.⓪.① １２７.０.０.１
    𝟏𝟐𝟕.0.0.1 ¹²⁷.0.0.1 127。0。0。1 127．0．0．1 127｡0｡0｡1 %31%32%37.0.0.1 127%2e0%2e0%2e1
    %30x7f.1 12\u{ad}7.0.0.1 127.0.0.1\u{200b} 10.1 10.0.0.1 10.255.255.255 0xa.1 167772161
    0xac100001 172.16.0.1 172.31.255.255 0300.0250.1 192.168.0.1 192.168.1.1 169.254.169.254
    2852039166 0xa9.0xfe.0xa9fe 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 169.254.170.2
    169.254.170.23 169.254.1.1 168.63.129.16 0xa83f8110 100.64.1 100.100.100.200 192.0.0.192
    192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255 4294967295
    [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [0::1] [::0:1] [::]
    [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::FFFF:7f00:1] [0:0:0:0:0:ffff:7f00:1]
    [::ffff:0:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254] [::ffff:a9fe:a9fe]
    [::ffff:8.8.8.8] [64:ff9b::7f00:1] [64:ff9b::a9fe:a9fe] [64:ff9b::10.0.0.1] [64:ff9b:1::7f00:1]
    [64:ff9b:1::8.8.8.8] [2002:7f00:1::] [2002:a9fe:a9fe::] [2001::1] [2001:0:7f00:1::]
    [2001:0:4136:e378:8000:63bf:80ff:fffe] [::5efe:127.0.0.1] [2a00:1450::5efe:7f00:1]
    [2a00:1450::200:5efe:7f00:1] [100::1] [2001:db8::1] [3fff::1] [fec0::1] [5f00::1] [fe80::1]
    [fc00::1] [fd00::1] [fd00:ec2::254] [fd00:ec2::23] [fd20:ce::254] [ff02::1] [4000::1]";

/// URLs that are refused for how they are written.
const WHOLE: &str = "
    http://user:pw@127.0.0.1/ http://example.com@127.0.0.1/ http://127.0.0.1@example.com/
    http://@127.0.0.1/ http://:@127.0.0.1/ http://example.com:80@127.0.0.1/ http:127.0.0.1
    http:/127.0.0.1 http:///127.0.0.1/ http:////127.0.0.1/ http:/\\127.0.0.1 http:\\\\127.0.0.1
    http://example.com\\@127.0.0.1/ http://127.0.0.1\\@example.com/ http://127.0.0.1#@example.com/
    http://127.0.0.1/#x http://127.0.0.1?@example.com/ http://127.0.0.1;@example.com/
    http://127.0.0.1%2f@example.com/ http://127.0.0.1%00.example.com/ http://127.0.0.1%0d%0a/
    http://[::1%25lo]/ http://[fe80::1%25eth0]/ http://[::1]%25lo/ http://[127.0.0.1]/
    http://[::ffff:127.0.0.1/ http://[[::1]]/ http://127.0.0.1:0/ http://8.8.8.8:0/
    http://8.8.8.8:65536/ http://8.8.8.8:4294967376/ http://8.8.8.8:22/ http://8.8.8.8:25/
    http://8.8.8.8:6379/ http://8.8.8.8:11211/ http://8.8.8.8:5432/ ftp://8.8.8.8/
    FTP://127.0.0.1/ gopher://127.0.0.1:6379/_x file:///etc/passwd file://127.0.0.1/etc/passwd
    data:text/plain,x dict://127.0.0.1/ ldap://127.0.0.1/ tftp://127.0.0.1/ sftp://127.0.0.1/
    jar:http://127.0.0.1/ ws://127.0.0.1/ unix:/run/x.sock javascript:alert(1) //127.0.0.1/ /
    127.0.0.1 127.0.0.1:80 localhost HTTP://127.0.0.1/ hTTpS://0x7f.1/ https://127.0.0.1/
    http://127.0.0.1:8443/ http://[::1]:8443/ http://127.0.0.1:443/x?y=z http://{127.0.0.1}/
    http://127.0.0.1.*/ http://127.0.0.1,example.com/ http://127.0.0.1`/ http://256.0.0.1/
    http://127.0.0.1.1/ http://0x100000000/ http://./ http://../ http:// https://";

/// Names that the name server of the test has forbidden addresses for.
pub const NAMES: &str = "
    http://localhost/ http://LOCALHOST/ http://localhost./ http://127.0.0.1.nip.test/
    http://10.0.0.1.nip.test/ http://169.254.169.254.nip.test/ http://127-0-0-1.nip.test/
    http://7f000001.nip.test/ http://metadata.test/ http://metadata.google.internal/
    http://lοcalhοst/ http://ⓛocalhost/ http://localhost.test/";

/// Those that no gate may admit: a bad URL, or a literal of a forbidden address.
pub fn refused() -> Vec<String> {
    let mut urls: Vec<String> =
        HOSTS.split_whitespace().map(|host| format!("http://{host}/")).collect();
    urls.extend(WHOLE.split_whitespace().map(str::to_owned));
    let blanks = ["\t", "\n", "\r\n", " ", "\u{1}", "\u{7f}"];
    urls.extend(blanks.map(|blank| format!("http://127.0.{blank}0.1/")));
    urls.extend(blanks.map(|blank| format!("{blank}http://127.0.0.1/")));
    urls.push(format!("http://127.0.0.1/{}", "x".repeat(8_000)));
    urls.push(format!("http://example.com/{}", "x".repeat(2_048)));
    urls
}

/// Those that are judged when their name has been resolved.
pub fn names() -> Vec<String> {
    NAMES.split_whitespace().map(str::to_owned).collect()
}
