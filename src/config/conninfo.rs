//! The two texts libpq accepts, taken apart into keywords and values: the URL
//! (`postgresql://user@host/db?sslmode=require`) and the list (`host=db user='my app'`).
//!
//! Nothing is judged here but the grammar. No message quotes the text: a password with an
//! unescaped character ends up in any part of it.

/// Keywords and values in the order of the text; a later one of the same name wins.
pub(super) type Pairs = Vec<(String, String)>;

/// Takes a connection string apart, whichever of the two forms it has.
pub(super) fn parse(text: &str) -> Result<Pairs, String> {
    let text = text.trim();
    let url = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
    match url {
        Some(rest) => parse_url(rest),
        None if has_a_scheme(text) => {
            Err("a database URL starts with postgresql:// or postgres://".to_owned())
        }
        None => parse_list(text),
    }
}

/// Whether the text is a URL of some kind, rather than a list whose values hold `://`.
fn has_a_scheme(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| !scheme.contains(|at: char| at == '=' || at.is_whitespace()))
}

/// Reads what follows the scheme of a URL: `[user[:password]@][host[:port],...][/db][?k=v&...]`.
fn parse_url(rest: &str) -> Result<Pairs, String> {
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = before.split_once('/').unwrap_or((before, ""));
    // An unescaped / or ? in a password would make the rest of it a database name or a keyword.
    if rest.contains('@') && !authority.contains('@') {
        return Err("in a URL, special characters are written with %: / as %2F, ? as %3F, \
                    @ as %40"
            .to_owned());
    }
    // The last @ ends the user part: hosts hold none, and people forget to escape passwords.
    let (user_info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));

    let mut pairs = Pairs::new();
    let mut add = |keyword: &str, value: String| {
        if !value.is_empty() {
            pairs.push((keyword.to_owned(), value));
        }
    };
    add("user", decode(user, "user")?);
    add("password", decode(password, "password")?);
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = split_port(host)?;
        names.push(decode(name, "host")?);
        ports.push(decode(port, "port")?);
    }
    add("host", joined(&names));
    add("port", joined(&ports));
    add("dbname", decode(dbname, "database")?);
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (keyword, value) =
            item.split_once('=').ok_or("the part of the URL after ? is written name=value&...")?;
        let (keyword, value) = (decode(keyword, "query")?, decode(value, "query")?);
        // libpq reads the JDBC spelling this way, in URLs only.
        if keyword == "ssl" && value == "true" {
            add("sslmode", "require".to_owned());
        } else {
            add(&keyword, value);
        }
    }
    Ok(pairs)
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(host: &str) -> Result<(&str, &str), String> {
    let Some(bracketed) = host.strip_prefix('[') else {
        return Ok(host.split_once(':').unwrap_or((host, "")));
    };
    let (name, rest) =
        bracketed.split_once(']').ok_or("an IPv6 address in the URL has no closing ]")?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((name, port)),
        None if rest.is_empty() => Ok((name, "")),
        None => Err("after the ] of an IPv6 address only :port may follow".to_owned()),
    }
}

/// Joins a list the way `host` and `port` hold it; nothing when every item is empty.
fn joined(items: &[String]) -> String {
    if items.iter().all(String::is_empty) { String::new() } else { items.join(",") }
}

/// Undoes percent-encoding.
fn decode(text: &str, part: &str) -> Result<String, String> {
    let broken =
        || format!("percent-encoding in the {part} of the URL is broken (write % itself as %25)");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or_else(broken)?;
        let value = u8::try_from(high * 16 + low).map_err(|_| broken())?;
        // Postgres ends texts at a zero byte, so one cannot be part of any value.
        if value == 0 {
            return Err(broken());
        }
        bytes.push(value);
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

/// Reads `keyword=value` items: values may stand in single quotes, a backslash escapes.
fn parse_list(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = pairs.len() + 1;
        let (keyword, after) = rest
            .split_once('=')
            .map(|(keyword, after)| (keyword.trim_end(), after.trim_start()))
            .filter(|(keyword, _)| !keyword.is_empty() && !keyword.contains(char::is_whitespace))
            .ok_or_else(|| {
                format!(
                    "item {number} is not keyword=value (write a postgresql:// URL, or a list \
                     such as host=db dbname=app; put a value with spaces in single quotes)"
                )
            })?;
        let (value, after) = take_value(after).ok_or_else(|| {
            format!("the value of item {number} has no closing quote (write ' itself as \\')")
        })?;
        pairs.push((keyword.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Takes one value off the front; `None`: its quote is never closed.
fn take_value(text: &str) -> Option<(String, &str)> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut letters = body.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if quoted => return Some((value, &body[at + 1..])),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            space if !quoted && space.is_whitespace() => return Some((value, &body[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_url_comes_apart_into_keywords() {
        for (text, expected) in [
            ("postgres://", &[][..]),
            ("postgresql://localhost", &[("host", "localhost")]),
            (
                "postgresql://app:s%3Acr%40t@db:5433/shop?sslmode=require&application_name=a%20b",
                &[
                    ("user", "app"),
                    ("password", "s:cr@t"),
                    ("host", "db"),
                    ("port", "5433"),
                    ("dbname", "shop"),
                    ("sslmode", "require"),
                    ("application_name", "a b"),
                ],
            ),
            ("postgres://h1:1,h2:2/db", &[("host", "h1,h2"), ("port", "1,2"), ("dbname", "db")]),
            ("postgres://h1,h2:2", &[("host", "h1,h2"), ("port", ",2")]),
            ("postgres://[::1]:6432,[fe80::1]", &[("host", "::1,fe80::1"), ("port", "6432,")]),
            (
                "postgres://%2Fvar%2Frun:5433/db",
                &[("host", "/var/run"), ("port", "5433"), ("dbname", "db")],
            ),
            ("postgres:///db?host=/var/run", &[("dbname", "db"), ("host", "/var/run")]),
            ("postgres://db?ssl=true", &[("host", "db"), ("sslmode", "require")]),
            ("postgres://u:p@ss@db", &[("user", "u"), ("password", "p@ss"), ("host", "db")]),
        ] {
            assert_eq!(pairs(text), owned(expected), "{text}");
        }
    }

    #[test]
    fn a_list_comes_apart_with_quotes_and_escapes() {
        for (text, expected) in [
            ("", &[][..]),
            ("host=db user=app", &[("host", "db"), ("user", "app")]),
            ("  host = db\n user\t= 'my app' ", &[("host", "db"), ("user", "my app")]),
            (r"password='it\'s \\ here'", &[("password", r"it's \ here")]),
            (r"password=a\ b dbname=x", &[("password", "a b"), ("dbname", "x")]),
            ("password='' dbname=x", &[("password", ""), ("dbname", "x")]),
            ("password=a=b", &[("password", "a=b")]),
            ("password=a://b", &[("password", "a://b")]),
        ] {
            assert_eq!(pairs(text), owned(expected), "{text}");
        }
    }

    #[test]
    fn broken_texts_are_refused_without_quoting_them() {
        for text in [
            "hunter2",
            "user=app hunter2",
            "password='hunter2",
            "mysql://app:hunter2@db/x",
            "postgres://app:hunter2%@db/x",
            "postgres://app:hunter2%00@db/x",
            "postgres://app:hunter2%ff@db/x",
            "postgres://[hunter2",
            "postgres://[::1]hunter2",
            "postgres://db?hunter2",
            "postgres://app:12345/hunter2@db/x",
            "postgres://app:12345?hunter=hunter2@db/x",
        ] {
            let reason = parse(text).expect_err(text);
            assert!(!reason.contains("hunter2"), "{text}: {reason}");
        }
    }

    #[test]
    fn no_text_whatever_makes_the_parser_panic() {
        let mut random = fastrand::Rng::with_seed(11);
        let alphabet: Vec<char> = "postgres://[]@:,%2F?&=' \\é\u{0}ab".chars().collect();
        for _ in 0..20_000 {
            let length = random.usize(0..24);
            let tail: String = (0..length).filter_map(|_| random.choice(&alphabet)).collect();
            let _ = parse(&tail);
            let _ = parse(&format!("postgres://{tail}"));
        }
    }
}
