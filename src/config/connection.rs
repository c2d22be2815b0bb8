//! How to reach the database: a libpq connection string, completed from the PG* environment
//! and the password file, because tokio-postgres reads only a part of what libpq does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keywords::{self, Params, SOCKET_DIRECTORY, dialled, given, servers};
use super::passfile::{self, Wanted};
use super::session;

/// What stands in for a password wherever a connection string is shown.
const MASK: &str = "***";

/// A checked connection string with everything filled in. Shown or debugged, it hides the
/// password.
#[derive(Clone, PartialEq)]
pub struct ConnectionString {
    params: Params,
    tokio: tokio_postgres::Config,
    tls: Tls,
    warnings: Vec<String>,
}

/// How the connection is encrypted and the server verified; the part of a connection string
/// that whoever connects must see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// How much is asked of TLS.
    pub mode: SslMode,
    /// What the server's certificate is verified with; `None`: the roots of the system.
    pub root_cert: Option<RootCert>,
    /// PEM files of the client's own certificate and of its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Handled as [`SslMode::Prefer`].
    Allow,
    /// TLS when the server offers it, without verification.
    Prefer,
    /// Always TLS, without verification. With a root certificate file it becomes
    /// [`SslMode::VerifyCa`], as in libpq.
    Require,
    /// Always TLS; the chain of the server's certificate is verified.
    VerifyCa,
    /// Always TLS; the chain and the host name are verified.
    VerifyFull,
}

/// What to verify a server's certificate with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    /// `sslrootcert=system`: the roots of the operating system.
    System,
    /// A PEM file.
    File(PathBuf),
}

/// Why a text is no connection string; no reason repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.join("; "))]
pub struct ConnectionError {
    /// Everything that is wrong, one reason each, at least one.
    pub reasons: Vec<String>,
}

impl ConnectionString {
    /// Reads a URL or a `keyword=value` list; an empty text is the libpq default.
    ///
    /// What the text leaves out comes from the PG* variables in `env`, the password then from
    /// the password file (`passfile`, `PGPASSFILE`, or `.pgpass` in `HOME`), which is the only
    /// file read. A password file cannot fail: what is wrong with it is a warning.
    ///
    /// # Errors
    /// Everything wrong with the text or with a PG* variable.
    pub fn parse(
        text: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<ConnectionString, ConnectionError> {
        let mut params =
            keywords::gather(text, env).map_err(|reasons| ConnectionError { reasons })?;
        let mut warnings = keywords::not_honoured(env);
        if !params.contains_key("password") {
            match from_password_file(&params, env) {
                Ok(Some(password)) => drop(params.insert("password", password)),
                Ok(None) => {}
                Err(warning) => warnings.push(warning),
            }
        }
        let (tokio, tls) =
            session::build(&params).map_err(|reasons| ConnectionError { reasons })?;
        Ok(ConnectionString { params, tokio, tls, warnings })
    }

    /// What whoever connects must do about TLS.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// The settings for tokio-postgres, with our time limits where the text has none.
    ///
    /// `sslmode` is reduced to what tokio-postgres knows: verification is up to the caller, see
    /// [`ConnectionString::tls`].
    pub fn to_tokio(&self) -> tokio_postgres::Config {
        self.tokio.clone()
    }

    /// The same for each server by itself, in their order.
    pub fn each_server(&self) -> Vec<tokio_postgres::Config> {
        session::each(&self.params)
    }

    /// The hosts and ports that are dialled, socket directories left out.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        dialled(&self.params)
            .into_iter()
            .filter(|(host, _)| !host.starts_with('/'))
            .map(|(host, port)| (host.to_string(), port.parse().unwrap_or_default()))
            .collect()
    }

    /// What a person should know and that stops nothing, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The whole as one URL, with `***` for the password.
    pub fn redacted(&self) -> String {
        let param = |keyword| self.params.get(keyword).map_or("", String::as_str);
        let mut url = format!("postgresql://{}", encoded(param("user")));
        if self.params.contains_key("password") {
            url.push(':');
            url.push_str(MASK);
        }
        url.push('@');
        let servers = servers(&self.params);
        let sockets = servers.iter().any(|(host, _)| host.starts_with('/'));
        let in_place = !sockets && self.params.contains_key("host");
        if in_place {
            url.push_str(&addresses(&servers));
        }
        url.push('/');
        url.push_str(&encoded(param("dbname")));
        let mut separator = '?';
        for (keyword, value) in &self.params {
            let shown = match *keyword {
                "user" | "password" | "dbname" => false,
                "host" | "port" => !in_place,
                _ => true,
            };
            if shown {
                url.push_str(&format!("{separator}{keyword}={}", encoded(value)));
                separator = '&';
            }
        }
        url
    }

    /// Whom and where, short, for messages: `app@db:5432/shop`.
    pub fn target(&self) -> String {
        let param = |keyword| self.params.get(keyword).map_or("", String::as_str);
        let servers = addresses(&servers(&self.params));
        format!("{}@{servers}/{}", param("user"), param("dbname"))
    }
}

impl fmt::Display for ConnectionString {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.redacted())
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ConnectionString({})", self.redacted())
    }
}

/// Servers as `host:port,host:port`, IPv6 addresses in brackets.
fn addresses(servers: &[(&str, &str)]) -> String {
    let one = |(host, port): &(&str, &str)| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    servers.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Percent-encodes what has a meaning in a URL; separators of paths and lists stay readable.
fn encoded(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/,".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// The password of the first server that the password file knows. tokio-postgres takes one
/// password for all servers, which is also how replicas of one database are set up.
fn from_password_file(
    params: &Params,
    env: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let path = match (params.get("passfile"), given(env, "HOME")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => Path::new(home).join(".pgpass"),
        (None, None) => return Ok(None),
    };
    let Some(text) = passfile::read(&path)? else {
        return Ok(None);
    };
    let param = |keyword| params.get(keyword).map_or("", String::as_str);
    Ok(servers(params).into_iter().find_map(|(host, port)| {
        let host = if host == SOCKET_DIRECTORY { "localhost" } else { host };
        let wanted = Wanted { host, port, dbname: param("dbname"), user: param("user") };
        passfile::lookup(&text, wanted)
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_postgres::config::{Host, SslMode as PgSslMode, TargetSessionAttrs};

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn parse(text: &str, variables: &[(&str, &str)]) -> ConnectionString {
        ConnectionString::parse(text, &env(variables))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn reasons(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        ConnectionString::parse(text, &env(variables)).expect_err(text).reasons
    }

    #[test]
    fn nothing_at_all_is_the_local_socket_as_the_current_user() {
        let connection = parse("", &[("LOGNAME", "ann")]);
        assert_eq!(connection.target(), "ann@/var/run/postgresql:5432/ann");
        let tokio = connection.to_tokio();
        assert_eq!(tokio.get_hosts(), [Host::Unix("/var/run/postgresql".into())]);
        assert_eq!((tokio.get_user(), tokio.get_dbname()), (Some("ann"), Some("ann")));
        assert!(reasons("", &[])[0].contains("set DATABASE_URL"));
    }

    #[test]
    fn our_limits_apply_where_the_text_sets_none() {
        let tokio = parse("postgres://u@db", &[]).to_tokio();
        assert_eq!(tokio.get_connect_timeout(), Some(&Duration::from_secs(5)));
        assert_eq!(tokio.get_tcp_user_timeout(), Some(&Duration::from_secs(30)));
        assert_eq!(tokio.get_keepalives_idle(), Duration::from_secs(30));
        let name = concat!("outboxd/", env!("CARGO_PKG_VERSION"));
        assert_eq!(tokio.get_application_name(), Some(name));
        let text = "host=db user=u connect_timeout=9 tcp_user_timeout=1500 keepalives=0 \
                    keepalives_count=4 application_name=x";
        let tokio = parse(text, &[]).to_tokio();
        assert_eq!(tokio.get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(tokio.get_tcp_user_timeout(), Some(&Duration::from_millis(1_500)));
        assert_eq!(tokio.get_keepalives_retries(), Some(4));
        assert!(!tokio.get_keepalives());
        let tokio = parse("host=db user=u connect_timeout=0", &[]).to_tokio();
        assert_eq!(tokio.get_connect_timeout(), Some(&Duration::from_secs(5)));
    }

    #[test]
    fn the_environment_fills_what_the_text_leaves_out() {
        let variables =
            [("PGHOST", "other"), ("PGPORT", "6000"), ("PGPASSWORD", "pw"), ("PGUSER", "app")];
        let connection = parse("postgres://db/shop", &variables);
        assert_eq!(connection.target(), "app@db:6000/shop");
        assert_eq!(connection.to_tokio().get_password(), Some(&b"pw"[..]));
        assert_eq!(parse("", &variables).target(), "app@other:6000/app");
    }

    #[test]
    fn several_hosts_ask_for_the_one_that_takes_writes() {
        let attributes = |text: &str| parse(text, &[]).to_tokio().get_target_session_attrs();
        assert_eq!(attributes("postgres://u@h1:1,h2:2"), TargetSessionAttrs::ReadWrite);
        assert_eq!(attributes("postgres://u@h1"), TargetSessionAttrs::Any);
        let asked = "postgres://u@h1,h2?target_session_attrs=any";
        assert_eq!(attributes(asked), TargetSessionAttrs::Any);
        assert_eq!(parse("postgres://u@h1,h2:2", &[]).to_tokio().get_ports(), [5432, 2]);
        assert_eq!(parse("host=a,b port=7 user=u", &[]).target(), "u@a:7,b:7/u");
        assert_eq!(parse("host=a hostaddr=::1 user=u", &[]).hosts(), [("::1".into(), 5432)]);
    }

    #[test]
    fn sslmode_reaches_both_tokio_and_whoever_verifies() {
        for (text, mode, tokio) in [
            ("", SslMode::Prefer, PgSslMode::Prefer),
            ("sslmode=disable", SslMode::Disable, PgSslMode::Disable),
            ("sslmode=allow", SslMode::Allow, PgSslMode::Prefer),
            ("sslmode=require", SslMode::Require, PgSslMode::Require),
            ("sslmode=require sslrootcert=/ca.pem", SslMode::VerifyCa, PgSslMode::Require),
            ("sslmode=verify-full", SslMode::VerifyFull, PgSslMode::Require),
            ("sslrootcert=system", SslMode::VerifyFull, PgSslMode::Require),
        ] {
            let connection = parse(&format!("host=db user=u {text}"), &[]);
            assert_eq!(connection.tls().mode, mode, "{text}");
            assert_eq!(connection.to_tokio().get_ssl_mode(), tokio, "{text}");
        }
        let tls = parse("host=db user=u sslcert=/c sslkey=/k sslrootcert=/ca", &[]).tls();
        assert_eq!(tls.client_cert, Some(("/c".into(), "/k".into())));
        assert_eq!(tls.root_cert, Some(RootCert::File("/ca".into())));
    }

    #[test]
    fn the_password_is_never_shown() {
        for text in [
            "postgres://app:hunter2@db/shop",
            "host=db user=app dbname=shop password=hunter2",
            "postgres://app@db/shop?password=hunter2",
        ] {
            let connection = parse(text, &[]);
            assert_eq!(connection.redacted(), "postgresql://app:***@db:5432/shop");
            let shown = format!("{connection} {connection:?} {}", connection.target());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn the_shown_url_means_the_same_connection() {
        for text in [
            "postgres://app@db:5433/shop?sslmode=verify-full&options=-c%20a%3Db",
            "postgres://a%40b@[::1]:1,db:2/x%2Fy",
            "host=/run/pg,/tmp port=1,2 user=u dbname='a b'",
            "hostaddr=::1 user=u keepalives_idle=9",
        ] {
            let connection = parse(text, &[]);
            assert_eq!(parse(&connection.redacted(), &[]), connection, "{connection}");
        }
    }

    #[test]
    fn every_mistake_is_a_reason_of_its_own() {
        for (text, parts) in [
            ("user=u sslmod=require host=db", &["keyword sslmod is not supported; supported"][..]),
            ("user=u service=x", &["keyword service"]),
            ("user=u host=db port=x sslmode=verify", &["1 to 65535", "sslmode is \"verify\""]),
            ("user=u host=a,b port=1,2,3", &["3 ports are given for 2 hosts"]),
            ("user=u hostaddr=db sslmode=verify-full", &["not an IP address", "needs host"]),
            ("user=u host=a,b hostaddr=::1", &["1 addresses for 2 hosts"]),
            ("user=u target_session_attrs=standby", &["read-write or primary or any"]),
            ("user=u gssencmode=require", &["gssencmode"]),
            ("user=u sslcert=/c", &["sslcert and sslkey"]),
            ("user=u sslmode=require sslrootcert=system", &["needs sslmode=verify-full"]),
            ("user=u connect_timeout=5s keepalives=on", &["connect_timeout", "keepalives"]),
            ("user=u sslnegotiation=direct", &["needs sslmode=require"]),
        ] {
            let reasons = reasons(text, &[]);
            assert_eq!(reasons.len(), parts.len(), "{text}: {reasons:?}");
            for (reason, part) in reasons.iter().zip(parts) {
                assert!(reason.contains(part), "{text}: {reason}");
            }
        }
    }

    #[test]
    fn an_unescaped_password_is_refused_and_not_repeated() {
        for text in ["postgres://app:hunter2/x@db/shop", "postgres://app:a?hunter2=x@db/shop"] {
            let text_of_reasons = reasons(text, &[]).join("\n");
            assert!(!text_of_reasons.contains("hunter2"), "{text_of_reasons}");
        }
    }

    #[test]
    fn what_would_pick_another_server_is_refused_and_what_is_ignored_is_said() {
        assert!(reasons("", &[("USER", "u"), ("PGSERVICE", "x")])[0].contains("service files"));
        let variables = [("PGSERVICE", "x"), ("PGSSLCRL", "/crl")];
        let connection = parse("postgres://u@db", &variables);
        assert!(connection.warnings()[0].starts_with("PGSSLCRL"), "{:?}", connection.warnings());
    }

    #[test]
    fn the_password_file_serves_a_connection_without_a_password() {
        use std::os::unix::fs::PermissionsExt;
        let home = std::env::temp_dir().join(format!("outboxd-home-{}", std::process::id()));
        std::fs::create_dir_all(&home).expect("the temporary directory takes a directory");
        let path = home.join(".pgpass");
        std::fs::write(&path, "h2:*:shop:app:two\nlocalhost:5432:*:*:local\n").expect("own");
        let set_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("own file");
        };
        set_mode(0o600);
        let variables = [("HOME", home.to_str().expect("a UTF-8 path"))];
        let password =
            |text: &str| parse(text, &variables).to_tokio().get_password().map(<[u8]>::to_vec);
        assert_eq!(password("postgres://app@h1,h2/shop"), Some(b"two".to_vec()));
        assert_eq!(password("user=app"), Some(b"local".to_vec()));
        assert_eq!(password("postgres://app:own@h2/shop"), Some(b"own".to_vec()));
        assert_eq!(password("postgres://app@h9/shop"), None);
        set_mode(0o644);
        let connection = parse("user=app", &variables);
        assert!(connection.warnings()[0].contains("chmod 0600"), "{:?}", connection.warnings());
        std::fs::remove_dir_all(&home).expect("own directory");
    }
}
