//! Why the database cannot be reached, and what mends that.

use crate::config::ConnectionString;
use crate::store::error::StoreError;

/// What went wrong, without the general advice that [`mend`] betters.
pub(super) fn finding(error: &StoreError) -> String {
    let text = error.to_string();
    let advice = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    text.strip_suffix(&advice).unwrap_or(&text).to_owned()
}

/// What to do when no session could be had.
pub(super) fn mend(error: &StoreError, url: &ConnectionString) -> String {
    let settings = url.to_tokio();
    let user = settings.get_user().unwrap_or_default();
    let database = settings.get_dbname().unwrap_or(user);
    match error.code().map(|code| code.code()) {
        Some(code) => refused(code, routine(error), user, database),
        None => unreached(error, url, user, database),
    }
}

/// The function of the server that refused. Unlike the message it is the same in all languages.
fn routine(error: &StoreError) -> &str {
    match error {
        StoreError::Database(error) => {
            error.as_db_error().and_then(|error| error.routine()).unwrap_or_default()
        }
        _ => "",
    }
}

/// The server answered, and would not have us.
fn refused(code: &str, routine: &str, user: &str, database: &str) -> String {
    let role = identifier(user);
    match (code, routine) {
        ("28P01", _) => format!(
            "correct the password in database.url (or its file); or, as a superuser: \
             \\password {role}\n\
             or, for a missing role the server says the same: CREATE ROLE {role} LOGIN \
             PASSWORD '...';"
        ),
        ("28000", "InitializeSessionUserId") => format!(
            "as a superuser: CREATE ROLE {role} LOGIN PASSWORD '...';\n\
             or, when it exists and may not log in: ALTER ROLE {role} LOGIN;"
        ),
        ("28000", _) => format!(
            "allow it in pg_hba.conf (where that is: SHOW hba_file), for example with the line\n\
             host {} {role} samenet scram-sha-256\n\
             (for a unix socket: local {0} {role} peer, when the system user has that name), \
             then: SELECT pg_reload_conf();",
            identifier(database)
        ),
        ("3D000", _) => format!(
            "as a superuser: CREATE DATABASE {} OWNER {role} ENCODING 'UTF8' TEMPLATE template0;\n\
             or correct its name in database.url",
            identifier(database)
        ),
        ("42501", _) => {
            format!("as a superuser: GRANT CONNECT ON DATABASE {} TO {role};", identifier(database))
        }
        ("53300", _) => "raise max_connections of the server (or the CONNECTION LIMIT of the role \
                         or database), or end sessions that nobody needs: \
                         SELECT pid, usename, application_name, state FROM pg_stat_activity;"
            .to_owned(),
        ("57P03", _) => "the server starts or stops; try again in a moment".to_owned(),
        _ => "look into the log of the server".to_owned(),
    }
}

/// There is no server, or nothing to talk to it with.
fn unreached(error: &StoreError, url: &ConnectionString, user: &str, database: &str) -> String {
    let text = error.to_string();
    if text.contains("does not allow writes") {
        return "every server that answered is read-only: add the primary to the hosts in \
                database.url, or promote a standby: SELECT pg_promote();"
            .to_owned();
    }
    if text.contains("password missing") {
        return "add the password to database.url (or its file), or set PGPASSWORD, or add a line \
                to ~/.pgpass"
            .to_owned();
    }
    if text.contains("does not support TLS") {
        return "let the server have a certificate, and: ALTER SYSTEM SET ssl = on; SELECT \
                pg_reload_conf();\nor, where the network is your own, sslmode=prefer in \
                database.url"
            .to_owned();
    }
    if matches!(error, StoreError::Tls(_)) || text.contains("TLS") {
        return "name the certificate that signed the server's in database.url: \
                sslmode=verify-full&sslrootcert=/path/root.crt (or sslrootcert=system)"
            .to_owned();
    }
    let (host, port) = match url.hosts().into_iter().next() {
        Some(server) => server,
        None => {
            let settings = url.to_tokio();
            let port = settings.get_ports().first().copied().unwrap_or(5432);
            return format!(
                "is the server up, and is its socket there? try: psql -p {port} -U {user} \
                 -d {database}, and: systemctl status postgresql"
            );
        }
    };
    format!(
        "is the server up, does it listen there (SHOW listen_addresses), and does a firewall let \
         us through? try: pg_isready -h {host} -p {port}"
    )
}

/// A name as SQL takes it.
pub(super) fn identifier(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
    if name.bytes().all(plain) && name.starts_with(|first: char| !first.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_server_has_a_mend_with_the_names_in_it() {
        for (code, routine, part) in [
            ("28P01", "auth_failed", "\\password \"Ann\""),
            ("28000", "InitializeSessionUserId", "CREATE ROLE \"Ann\" LOGIN"),
            ("28000", "ClientAuthentication", "host shop \"Ann\" samenet"),
            ("3D000", "InitPostgres", "CREATE DATABASE shop OWNER \"Ann\""),
            ("42501", "InitPostgres", "GRANT CONNECT ON DATABASE shop TO \"Ann\";"),
            ("53300", "InitProcess", "max_connections"),
            ("57P03", "", "try again"),
            ("XX000", "", "log of the server"),
        ] {
            let mend = refused(code, routine, "Ann", "shop");
            assert!(mend.contains(part), "{code} {routine}: {mend}");
        }
    }

    #[test]
    fn names_are_quoted_where_sql_wants_that() {
        for (name, quoted) in
            [("app", "app"), ("a\"b", "\"a\"\"b\""), ("1st", "\"1st\""), ("", "\"\"")]
        {
            assert_eq!(identifier(name), quoted);
        }
    }
}
