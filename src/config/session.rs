//! From libpq keywords to what connects: the settings of tokio-postgres, and the TLS settings
//! that tokio-postgres knows nothing of.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config as pg;

use super::connection::{RootCert, SslMode, Tls};
use super::keywords::{Params, servers};

/// The time limit for one address of one server, unless `connect_timeout` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be silent before the kernel asks whether the peer is there.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// Judges every value and builds both kinds of settings.
///
/// # Errors
/// Everything that is wrong, one reason each.
pub(super) fn build(params: &Params) -> Result<(tokio_postgres::Config, Tls), Vec<String>> {
    let mut reader = Reader { params, reasons: Vec::new() };
    let mut config = tokio_postgres::Config::new();
    reader.servers(&mut config);
    reader.identity(&mut config);
    reader.timeouts(&mut config);
    reader.session(&mut config);
    let tls = reader.tls(&mut config);
    if reader.reasons.is_empty() { Ok((config, tls)) } else { Err(reader.reasons) }
}

/// The settings of each server by itself; the whole has been judged already.
pub(super) fn each(params: &Params) -> Vec<tokio_postgres::Config> {
    let servers = servers(params);
    let addresses: Vec<&str> = params
        .get("hostaddr")
        .map_or_else(Vec::new, |addresses| addresses.split(',').map(str::trim).collect());
    let one = |(index, (host, port)): (usize, &(&str, &str))| {
        let mut own = params.clone();
        own.insert("port", (*port).to_owned());
        if own.contains_key("host") {
            own.insert("host", (*host).to_owned());
        }
        if let Some(address) = addresses.get(index) {
            own.insert("hostaddr", (*address).to_owned());
        }
        if servers.len() > 1 {
            own.entry("target_session_attrs").or_insert_with(|| "read-write".to_owned());
        }
        build(&own).ok().map(|(config, _)| config)
    };
    servers.iter().enumerate().filter_map(one).collect()
}

struct Reader<'a> {
    params: &'a Params,
    reasons: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, keyword: &str) -> Option<&str> {
        self.params.get(keyword).map(String::as_str)
    }

    /// A value out of a fixed list.
    fn choice<T: Copy>(&mut self, keyword: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(keyword)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.reasons.push(format!("{keyword} is {text:?}; write {}", names.join(" or ")));
        }
        found
    }

    /// A whole number; zero and less mean "the default", as in libpq.
    fn number(&mut self, keyword: &str) -> Option<u32> {
        match self.text(keyword)?.trim().parse::<i32>() {
            Ok(number) => u32::try_from(number).ok().filter(|number| *number > 0),
            Err(_) => {
                self.reasons.push(format!("{keyword} is not a whole number"));
                None
            }
        }
    }

    fn seconds(&mut self, keyword: &str) -> Option<Duration> {
        self.number(keyword).map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn servers(&mut self, config: &mut tokio_postgres::Config) {
        let servers = servers(self.params);
        for (_, port) in &servers {
            match port.parse::<u16>() {
                Ok(port) if port > 0 => {
                    config.port(port);
                }
                // The text is not repeated: an unescaped / in a password makes it the "port".
                _ => self.reasons.push(
                    "a port is not a number from 1 to 65535 (in a URL, write special characters \
                     of the password with %, such as %2F for /)"
                        .to_owned(),
                ),
            }
        }
        let ports = self.text("port").map_or(1, |ports| ports.split(',').count());
        if ports > 1 && ports != servers.len() {
            self.reasons.push(format!("{ports} ports are given for {} hosts", servers.len()));
        }
        if self.params.contains_key("host") {
            for (host, _) in &servers {
                config.host(*host);
            }
        }
        let Some(addresses) = self.text("hostaddr") else {
            return;
        };
        let addresses: Vec<_> =
            addresses.split(',').map(|text| text.trim().parse::<IpAddr>()).collect();
        if addresses.len() != servers.len() {
            let (given, hosts) = (addresses.len(), servers.len());
            self.reasons.push(format!("hostaddr lists {given} addresses for {hosts} hosts"));
        }
        for address in addresses {
            match address {
                Ok(address) => {
                    config.hostaddr(address);
                }
                Err(_) => self.reasons.push("hostaddr is not an IP address".to_owned()),
            }
        }
    }

    fn identity(&mut self, config: &mut tokio_postgres::Config) {
        if let Some(user) = self.text("user") {
            config.user(user);
        }
        if let Some(password) = self.text("password") {
            config.password(password);
        }
        if let Some(dbname) = self.text("dbname") {
            config.dbname(dbname);
        }
        if let Some(options) = self.text("options") {
            config.options(options);
        }
        let ours = concat!("outboxd/", env!("CARGO_PKG_VERSION"));
        config.application_name(self.text("application_name").unwrap_or(ours));
    }

    fn timeouts(&mut self, config: &mut tokio_postgres::Config) {
        config.connect_timeout(self.seconds("connect_timeout").unwrap_or(CONNECT_TIMEOUT));
        config.keepalives(self.text("keepalives") != Some("0"));
        self.number("keepalives");
        config.keepalives_idle(self.seconds("keepalives_idle").unwrap_or(KEEPALIVES_IDLE));
        if let Some(interval) = self.seconds("keepalives_interval") {
            config.keepalives_interval(interval);
        }
        if let Some(count) = self.number("keepalives_count") {
            config.keepalives_retries(count);
        }
        let unacknowledged = self.number("tcp_user_timeout").map(u64::from);
        config.tcp_user_timeout(unacknowledged.map_or(TCP_USER_TIMEOUT, Duration::from_millis));
    }

    fn session(&mut self, config: &mut tokio_postgres::Config) {
        // The daemon writes, so the kinds of session that may be read-only are not offered;
        // `primary` and `read-write` differ only on a primary that refuses writes.
        let attributes = [
            ("read-write", pg::TargetSessionAttrs::ReadWrite),
            ("primary", pg::TargetSessionAttrs::ReadWrite),
            ("any", pg::TargetSessionAttrs::Any),
        ];
        let several = servers(self.params).len() > 1;
        let default = attributes[if several { 0 } else { 2 }].1;
        let wanted = self.choice("target_session_attrs", &attributes);
        config.target_session_attrs(wanted.unwrap_or(default));
        let orders =
            [("disable", pg::LoadBalanceHosts::Disable), ("random", pg::LoadBalanceHosts::Random)];
        if let Some(order) = self.choice("load_balance_hosts", &orders) {
            config.load_balance_hosts(order);
        }
        let bindings = [
            ("disable", pg::ChannelBinding::Disable),
            ("prefer", pg::ChannelBinding::Prefer),
            ("require", pg::ChannelBinding::Require),
        ];
        if let Some(binding) = self.choice("channel_binding", &bindings) {
            config.channel_binding(binding);
        }
        // Kerberos encryption is not there, which both accepted values allow.
        self.choice("gssencmode", &[("disable", ()), ("prefer", ())]);
    }

    fn tls(&mut self, config: &mut tokio_postgres::Config) -> Tls {
        let root_cert = self.text("sslrootcert").map(|path| match path {
            "system" => RootCert::System,
            path => RootCert::File(PathBuf::from(path)),
        });
        let system = root_cert == Some(RootCert::System);
        let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let wanted = self.choice("sslmode", &SSL_MODES).unwrap_or(default);
        let mode = match (&root_cert, wanted) {
            (Some(RootCert::System), weaker) if weaker != SslMode::VerifyFull => {
                self.reasons.push("sslrootcert=system needs sslmode=verify-full".to_owned());
                weaker
            }
            // libpq, too, verifies the chain when it is told of a root to verify it with.
            (Some(RootCert::File(_)), SslMode::Require) => SslMode::VerifyCa,
            (_, mode) => mode,
        };
        if mode == SslMode::VerifyFull && !self.params.contains_key("host") {
            self.reasons.push("sslmode=verify-full needs host, the name to verify".to_owned());
        }
        let client_cert = match (self.text("sslcert"), self.text("sslkey")) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            _ => {
                self.reasons.push("sslcert and sslkey are only useful together".to_owned());
                None
            }
        };
        config.ssl_mode(match mode {
            SslMode::Disable => pg::SslMode::Disable,
            SslMode::Allow | SslMode::Prefer => pg::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => pg::SslMode::Require,
        });
        let negotiations =
            [("postgres", pg::SslNegotiation::Postgres), ("direct", pg::SslNegotiation::Direct)];
        if let Some(negotiation) = self.choice("sslnegotiation", &negotiations) {
            if negotiation == pg::SslNegotiation::Direct && mode < SslMode::Require {
                self.reasons.push("sslnegotiation=direct needs sslmode=require or more".to_owned());
            }
            config.ssl_negotiation(negotiation);
        }
        Tls { mode, root_cert, client_cert }
    }
}
