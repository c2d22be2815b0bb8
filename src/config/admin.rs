//! `admin.*`: where the admin listener is, and whom it answers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::check::Checker;
use super::sections::shown_list;
use super::token::{TOKEN_LENGTH, Token};
use super::values;

/// `admin.*`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where metrics, health, API and console are.
    pub listen: Listen,
    /// The bearer tokens; without one, API and console are off.
    pub tokens: Vec<Token>,
    /// Names, besides its own, that requests over TCP may be addressed to; in lower case.
    pub hosts: Vec<String>,
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

impl Listen {
    /// Whether other machines can get there.
    pub fn is_network(&self) -> bool {
        matches!(self, Listen::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(out, "{address}"),
            Listen::Unix(path) => write!(out, "{}", path.display()),
            Listen::Off => out.write_str("off"),
        }
    }
}

impl Checker<'_> {
    /// `None`: something in the section is wrong, which has been noted.
    pub(super) fn admin(&mut self) -> Option<Admin> {
        let listen = self.read("admin.listen", values::listen, Listen::to_string);
        let tokens = self.tokens();
        let hosts = self.optional("admin.hosts", values::hosts, |hosts| shown_list(hosts));
        let (listen, tokens) = (listen?, tokens?);
        let network = listen.is_network();
        if network && tokens.is_empty() {
            let reason = "metrics and health on a non-loopback address need admin.token or \
                          admin.token_file; or listen on 127.0.0.1";
            self.refuse("admin.listen", reason.to_owned());
        }
        if tokens.iter().any(Token::is_short) {
            let reason = format!(
                "a token has fewer than {TOKEN_LENGTH} characters, so it can be guessed; make one \
                 with 'openssl rand -base64 32'"
            );
            // Who can reach a loopback address is on this machine already.
            if network {
                self.refuse("admin.token", reason);
            } else {
                self.warn(format!("admin.token: {reason}"));
            }
        }
        Some(Admin { listen, tokens, hosts: hosts?.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, sources};
    use super::super::{Config, Loaded, Problem, Problems, Sources, load};
    use super::*;

    fn of_file(text: &str) -> Result<Loaded, Problems> {
        let directory = Directory::new();
        let file = Some(directory.file("outboxd.toml", text));
        load(&Sources { file, ..sources(&[("DATABASE_URL", "postgres://app@db/shop")]) })
    }

    fn lines(text: &str) -> Vec<String> {
        of_file(text).expect_err(text).0.iter().map(Problem::to_string).collect()
    }

    fn config(text: &str) -> Config {
        of_file(text).unwrap_or_else(|problems| panic!("{text}: {problems}")).config
    }

    #[test]
    fn the_admin_listener_takes_sockets_names_and_off() {
        let listen = |text: &str| config(&format!("admin.listen = '{text}'")).admin.listen;
        assert_eq!(listen("off"), Listen::Off);
        assert_eq!(listen("/run/outboxd/admin.sock").to_string(), "/run/outboxd/admin.sock");
        assert_eq!(listen("unix:/run/a.sock"), Listen::Unix("/run/a.sock".into()));
        assert_eq!(listen("localhost:1").to_string(), "127.0.0.1:1");
        let open = config(
            "admin.listen = '0.0.0.0:9464'\nadmin.token = '0123456789abcdef0123456789abcdef'",
        )
        .admin;
        assert_eq!(open.tokens.len(), 1);
    }

    #[test]
    fn a_short_token_is_a_warning_where_only_this_machine_can_try_it() {
        let warnings = |token: &str| {
            of_file(&format!("admin.token = '{token}'")).expect("legal on loopback").warnings
        };
        let said = warnings("hunter2").join("\n");
        assert!(said.contains("fewer than 32") && !said.contains("hunter2"), "{said}");
        assert_eq!(warnings("0123456789abcdef0123456789abcdef"), [""; 0]);
    }

    #[test]
    fn hosts_are_names_without_scheme_port_or_path() {
        let hosts = |text: &str| config(&format!("admin.hosts = {text}")).admin.hosts;
        assert_eq!(hosts("'Outboxd.example, outboxd'"), ["outboxd.example", "outboxd"]);
        assert_eq!(hosts("['192.0.2.1', '::1']"), ["192.0.2.1", "::1"]);
        for text in ["'http://a'", "'a:80'", "['a/b']", "'*'", "'*.example'", "'a b.é'"] {
            let found = lines(&format!("admin.hosts = {text}"));
            assert!(found.len() == 1 && found[0].contains("host name"), "{text}: {found:?}");
        }
    }
}
