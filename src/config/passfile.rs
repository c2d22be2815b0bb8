//! The libpq password file: lines of `host:port:database:user:password`, `*` for any.

use std::io::Read;
use std::path::Path;

use super::files::open_to_others;

/// A password file larger than this is not read.
const MOST_BYTES: u64 = 1024 * 1024;

/// What a password is looked up for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The host as libpq would name it: `localhost` for the default socket directory.
    pub host: &'a str,
    /// The port, in decimal.
    pub port: &'a str,
    /// The database name.
    pub dbname: &'a str,
    /// The user name.
    pub user: &'a str,
}

/// The text of a password file, `None` when there is none.
///
/// # Errors
/// Why the file is there and cannot be used: unreadable, or readable by others (libpq ignores
/// such a file too, and says so).
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let ignored = |reason: String| format!("password file {} ignored: {reason}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ignored(error.to_string())),
    };
    let about = file.metadata().map_err(|error| ignored(error.to_string()))?;
    if !about.is_file() {
        return Err(ignored("it is not a plain file".to_owned()));
    }
    if open_to_others(&about) {
        return Err(ignored("others may read it; run chmod 0600 on it".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| ignored(error.to_string()))?;
    String::from_utf8(bytes).map(Some).map_err(|_| ignored("it is not UTF-8 text".to_owned()))
}

/// The password of the first line that fits.
pub(super) fn lookup(text: &str, wanted: Wanted<'_>) -> Option<String> {
    let fields = [wanted.host, wanted.port, wanted.dbname, wanted.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for field in fields {
            let (value, after) = take_field(rest)?;
            if rest[..rest.len() - after.len()] != *"*:" && value != field {
                return None;
            }
            rest = after;
        }
        let password = unescape(rest);
        (!password.is_empty()).then_some(password)
    })
}

/// Takes one field and the colon behind it off the front; `None`: no colon ends it.
fn take_field(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = text.find(|letter| {
        let ends = letter == ':' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?;
    Some((unescape(&text[..end]), &text[end + 1..]))
}

/// Drops the backslash of `\:` and `\\`.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'static> =
        Wanted { host: "db", port: "5432", dbname: "shop", user: "app" };

    fn found(text: &str) -> Option<String> {
        lookup(text, WANTED)
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let text =
            "# a comment\nother:*:*:*:no\ndb:5433:*:*:no\nshort\n\n*:*:shop:app:yes\n*:*:*:*:late";
        assert_eq!(found(text).as_deref(), Some("yes"));
        assert_eq!(found("db:5432:shop:someone:no"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn a_backslash_escapes_colons_and_itself() {
        let wanted = Wanted { host: "::1", user: r"a\b", ..WANTED };
        let text = "\\:\\:1:5432:shop:a\\\\b:p\\:w\\\\d:rest\r\n";
        assert_eq!(lookup(text, wanted).as_deref(), Some(r"p:w\d:rest"));
    }

    #[test]
    fn an_escaped_star_is_only_itself() {
        assert_eq!(found(r"\*:*:*:*:no"), None);
        assert_eq!(lookup(r"\*:*:*:*:yes", Wanted { host: "*", ..WANTED }).as_deref(), Some("yes"));
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored_with_a_reason() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("outboxd-passfile-{}", std::process::id()));
        std::fs::write(&path, "*:*:*:*:x\n").expect("the temporary directory takes a file");
        let with_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("own file");
            read(&path)
        };
        assert!(with_mode(0o644).is_err_and(|reason| reason.contains("chmod 0600")));
        assert_eq!(with_mode(0o600), Ok(Some("*:*:*:*:x\n".to_owned())));
        std::fs::remove_file(&path).expect("own file");
        assert_eq!(read(&path), Ok(None));
        assert!(read(&std::env::temp_dir()).is_err_and(|reason| reason.contains("plain file")));
    }
}
