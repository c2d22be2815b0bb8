//! The libpq keywords that outboxd supports, and where the value of each comes from: the
//! connection string, then the PG* environment, then the defaults of libpq.

use std::collections::BTreeMap;

use super::conninfo;

/// Where libpq on Debian and its relatives looks for the server when no host is given.
pub(super) const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
/// The port when none is given.
const PORT: &str = "5432";

/// Every supported keyword, with the environment variable that fills it.
const KEYWORDS: [(&str, Option<&str>); 24] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("dbname", Some("PGDATABASE")),
    ("passfile", Some("PGPASSFILE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("application_name", Some("PGAPPNAME")),
    ("options", Some("PGOPTIONS")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
];

/// Variables that make psql stricter and that are not supported here: named in a warning, so
/// that nobody relies on them.
const NOT_HONOURED: [&str; 6] = [
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
];

/// Values by keyword; a keyword without a value is absent, never empty.
pub(super) type Params = BTreeMap<&'static str, String>;

/// Variables whose presence alone says which server to use, in the order of their weight.
const NAMING: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"];

/// The first PG* variable that says where to connect, if there is one.
pub fn naming_variable(env: &BTreeMap<String, String>) -> Option<&'static str> {
    NAMING.into_iter().find(|name| given(env, name).is_some())
}

/// The value of a variable; libpq reads an empty one as absent.
pub(super) fn given<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The values of all keywords: from the text, from the environment, and the defaults for host,
/// port, user and database.
///
/// # Errors
/// Everything that is wrong: the grammar, or each keyword that is not supported.
pub(super) fn gather(text: &str, env: &BTreeMap<String, String>) -> Result<Params, Vec<String>> {
    let pairs = conninfo::parse(text).map_err(|reason| vec![reason])?;
    let mut params = Params::new();
    let mut reasons = Vec::new();
    for (keyword, value) in pairs {
        match KEYWORDS.iter().find(|(known, _)| *known == keyword) {
            Some((known, _)) if value.is_empty() => drop(params.remove(known)),
            Some((known, _)) => drop(params.insert(*known, value)),
            None => reasons.push(unsupported(&keyword)),
        }
    }
    // A service would come before the environment, so ignoring it would pick another server.
    if given(env, "PGSERVICE").is_some() && !params.contains_key("host") {
        reasons.push(
            "PGSERVICE is set and service files are not supported; write the values of the \
             service into DATABASE_URL"
                .to_owned(),
        );
    }
    for (keyword, variable) in KEYWORDS {
        if let Some(value) = variable.and_then(|name| given(env, name)) {
            params.entry(keyword).or_insert_with(|| value.to_owned());
        }
    }
    if !params.contains_key("host") && !params.contains_key("hostaddr") {
        params.insert("host", SOCKET_DIRECTORY.to_owned());
    }
    params.entry("port").or_insert_with(|| PORT.to_owned());
    let login = given(env, "USER").or_else(|| given(env, "LOGNAME"));
    match params.get("user").map(String::as_str).or(login).map(str::to_owned) {
        Some(user) => {
            params.entry("dbname").or_insert_with(|| user.clone());
            params.insert("user", user);
        }
        None => reasons.push("no user name; set DATABASE_URL, or PGUSER".to_owned()),
    }
    if reasons.is_empty() { Ok(params) } else { Err(reasons) }
}

/// What the environment asks for and does not get, one line each.
pub(super) fn not_honoured(env: &BTreeMap<String, String>) -> Vec<String> {
    NOT_HONOURED
        .into_iter()
        .filter(|name| given(env, name).is_some())
        .map(|name| format!("{name} is set and has no effect: outboxd does not support it"))
        .collect()
}

/// Hosts and ports as texts, one pair per server; a host is an address when only `hostaddr` is
/// given. The port of a server that names none is the default.
pub(super) fn servers(params: &Params) -> Vec<(&str, &str)> {
    listed(params, ["host", "hostaddr"])
}

/// The same, but a host is its address where it has one: that is what is dialled, whatever the name
/// resolves to.
pub(super) fn dialled(params: &Params) -> Vec<(&str, &str)> {
    listed(params, ["hostaddr", "host"])
}

fn listed<'a>(params: &'a Params, [first, second]: [&str; 2]) -> Vec<(&'a str, &'a str)> {
    let list = |keyword: &str| -> Vec<&'a str> {
        params.get(keyword).map_or_else(Vec::new, |value| value.split(',').map(str::trim).collect())
    };
    let (hosts, others, ports) = (list(first), list(second), list("port"));
    let hosts = if hosts.is_empty() { others } else { hosts };
    let port_of = |index: usize| match ports[..] {
        [only] => only,
        _ => ports.get(index).copied().unwrap_or_default(),
    };
    let numbered = hosts.into_iter().enumerate().map(|(index, host)| (host, port_of(index)));
    numbered
        .map(|(host, port)| {
            let host = if host.is_empty() { SOCKET_DIRECTORY } else { host };
            (host, if port.is_empty() { PORT } else { port })
        })
        .collect()
}

fn unsupported(keyword: &str) -> String {
    // Only what looks like a keyword is repeated: the rest may be a piece of a password.
    let looks_right = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let name = if !keyword.is_empty() && keyword.len() <= 40 && keyword.bytes().all(looks_right) {
        format!("keyword {keyword}")
    } else {
        "a keyword".to_owned()
    };
    let known: Vec<&str> = KEYWORDS.iter().map(|(known, _)| *known).collect();
    format!("{name} is not supported; supported are {}", known.join(", "))
}
