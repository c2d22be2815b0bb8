//! The secrets of a configuration, the database URL, the admin tokens and the master keys: each
//! comes from a key, from a file that another key names, or from a systemd credential.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::ValueKind;

use super::Token;
use super::check::Checker;
use super::connection::ConnectionString;
use super::files::{open_to_others, read_text};
use super::keywords::{given, naming_variable};
use super::problem::{MASK, Origin};
use super::values::{self, NONE};
use crate::seal::MasterKey;

/// A secret where it was found.
struct Secret {
    value: Held,
    origin: Origin,
}

enum Held {
    /// As the value of the key itself.
    Key(ValueKind),
    /// As the text of a file.
    File(String),
}

impl Checker<'_> {
    /// How to reach the database. `None`: something is wrong, which has been noted.
    pub(super) fn url(&mut self) -> Option<ConnectionString> {
        const KEY: &str = "database.url";
        let secret = self.secret(KEY, "database.url_file", "database_url")?;
        let (text, origin) = match secret {
            Some(Secret { value: Held::File(text), origin }) => (text, origin),
            Some(Secret { value: Held::Key(value), origin }) => match values::text(&value) {
                Ok(text) => (text.to_owned(), origin),
                Err(reason) => {
                    self.refuse(KEY, reason);
                    return None;
                }
            },
            None => match given(self.env, "DATABASE_URL") {
                Some(text) => (text.to_owned(), Origin::Env { name: "DATABASE_URL".to_owned() }),
                None => (String::new(), libpq_origin(self)),
            },
        };
        let masked = (!text.is_empty()).then(|| MASK.to_owned());
        match ConnectionString::parse(&text, self.env) {
            Ok(url) => {
                self.note(KEY, url.redacted(), origin);
                Some(url)
            }
            Err(error) => {
                for reason in error.reasons {
                    self.problem(KEY, masked.clone(), reason, origin.clone());
                }
                None
            }
        }
    }

    /// The admin tokens, which may be none. `None`: something is wrong, which has been noted.
    pub(super) fn tokens(&mut self) -> Option<Vec<Token>> {
        const KEY: &str = "admin.token";
        let tokens = self.secret_list(KEY, ["admin.token_file", "admin_token", "token"], token)?;
        self.warn_of_open_file(KEY);
        Some(tokens)
    }

    /// The master keys, which may be none. `None`: something is wrong, which has been noted.
    pub(super) fn master_keys(&mut self) -> Option<Vec<MasterKey>> {
        let names = ["secrets.master_key_file", "master_key", "master key"];
        let parse = |text: &str| MasterKey::parse(text).map_err(|error| error.to_string());
        let keys = self.secret_list("secrets.master_key", names, parse)?;
        self.warn_of_open_file("secrets.master_key");
        Some(keys)
    }

    /// Warns of a file that a secret came from and that others may read.
    fn warn_of_open_file(&mut self, key: &'static str) {
        let Some(Origin::SecretFile { path }) = self.origin(key) else { return };
        // The service manager decides who may read those, by other means than the mode.
        let credentials = given(self.env, "CREDENTIALS_DIRECTORY");
        let is_credential = credentials.is_some_and(|directory| path.starts_with(directory));
        let is_open = std::fs::metadata(path).is_ok_and(|about| open_to_others(&about));
        if is_open && !is_credential {
            let path = path.display();
            self.warn(format!(
                "{key}_file {path}: others may read it; give it to the user that outboxd runs as, \
                 and run chmod 0600 on it"
            ));
        }
    }

    /// Secrets of one kind, several of which may stand together. `names`: the key of the file, the
    /// credential, and what one of them is called.
    fn secret_list<T>(
        &mut self,
        key: &'static str,
        [file_key, credential, noun]: [&'static str; 3],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let secret = self.secret(key, file_key, credential)?;
        let Some(Secret { value, origin }) = secret else {
            self.note(key, NONE.to_owned(), Origin::Default);
            return Some(Vec::new());
        };
        let texts = match &value {
            // Commas are not taken for separators: half a token must not become a token.
            Held::Key(value) => values::list(value, ""),
            Held::File(text) => Ok(secret_lines(text)),
        };
        let found = texts.and_then(|texts| match texts[..] {
            [] => Err(format!("holds no {noun}")),
            _ => texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>(),
        });
        match found {
            Ok(found) => {
                self.note(key, MASK.to_owned(), origin);
                Some(found)
            }
            Err(reason) => {
                self.problem(key, Some(MASK.to_owned()), reason, origin);
                None
            }
        }
    }

    /// Finds a secret: of the key and its file key, the one in the higher layer counts; without
    /// either, the systemd credential. Outside `None`: something is wrong, which was noted.
    fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        credential: &str,
    ) -> Option<Option<Secret>> {
        let path = self.optional(file_key, values::path, |path| path.display().to_string())?;
        let direct = self.layers.find(key);
        let by_file = self.layers.find(file_key).zip(path);
        match (direct, by_file) {
            (Some(direct), Some((file, _))) if direct.layer == file.layer => {
                self.refuse(file_key, format!("{key} is given as well; give only one of the two"));
                None
            }
            (Some(direct), Some((file, path))) if file.layer > direct.layer => {
                self.secret_file(file_key, &path).map(Some)
            }
            (Some(direct), _) => {
                let value = Held::Key(direct.value);
                Some(Some(Secret { value, origin: direct.origin }))
            }
            (None, Some((_, path))) => self.secret_file(file_key, &path).map(Some),
            (None, None) => self.credential(key, credential),
        }
    }

    fn secret_file(&mut self, file_key: &'static str, path: &Path) -> Option<Secret> {
        let origin = Origin::SecretFile { path: path.to_owned() };
        match read_text(path) {
            Ok(text) if text.trim().is_empty() => {
                self.refuse(file_key, "the file is empty".to_owned());
                None
            }
            Ok(text) => Some(Secret { value: Held::File(text), origin }),
            Err(error) => {
                self.refuse(file_key, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn credential(&mut self, key: &'static str, name: &str) -> Option<Option<Secret>> {
        let Some(directory) = given(self.env, "CREDENTIALS_DIRECTORY") else {
            return Some(None);
        };
        let path = PathBuf::from(directory).join(name);
        let text = read_text(&path);
        let origin = Origin::Credential { path };
        let reason = match text {
            Ok(text) if text.trim().is_empty() => "the credential is empty".to_owned(),
            Ok(text) => {
                return Some(Some(Secret { value: Held::File(text), origin }));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Some(None),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.problem(key, None, reason, origin);
        None
    }
}

/// The variable that libpq would find a server with, if one is set.
fn libpq_origin(checker: &Checker<'_>) -> Origin {
    naming_variable(checker.env)
        .map_or(Origin::Default, |name| Origin::Env { name: name.to_owned() })
}

/// One secret a line; blank lines and lines that start with # do not count.
fn secret_lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// A token as RFC 6750 has it, which is what survives in a header.
fn token(text: &str) -> Result<Token, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.bytes().all(fits) {
        Ok(Token::new(text))
    } else {
        Err("a token is made of letters, digits and - . _ ~ + / = only".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, sources};
    use super::super::{Loaded, Problems, Sources, load};
    use super::*;

    fn shown(loaded: &Loaded, key: &str) -> (String, String) {
        let setting = loaded.settings.iter().find(|setting| setting.key == key);
        let setting = setting.expect("every key has a setting");
        (setting.value.clone(), setting.origin.to_string())
    }

    fn target(sources: &Sources) -> (String, String) {
        let loaded = load(sources).unwrap_or_else(|problems| panic!("{problems}"));
        (loaded.config.database.url.target(), shown(&loaded, "database.url").1)
    }

    fn only_line(result: Result<Loaded, Problems>) -> String {
        let problems = result.expect_err("this is wrong");
        assert_eq!(problems.0.len(), 1, "{problems}");
        problems.to_string()
    }

    #[test]
    fn the_url_comes_from_the_highest_place_that_has_one() {
        let directory = Directory::new();
        let credential = directory.file("database_url", "postgres://u@credential/d\n");
        let url_file = directory.file("url", "postgres://u@file_of_env/d\n\n");
        let mut sources = sources(&[("PGHOST", "libpq"), ("PGUSER", "u"), ("PGDATABASE", "d")]);
        let mut expect = |change: &dyn Fn(&mut Sources), host: &str, origin: &str| {
            change(&mut sources);
            let expected = (format!("u@{host}:5432/d"), origin.to_owned());
            assert_eq!(target(&sources), expected);
        };
        let set = |name: &'static str, value: String| {
            move |sources: &mut Sources| drop(sources.env.insert(name.to_owned(), value.clone()))
        };
        expect(&|_| {}, "libpq", "environment PGHOST");
        let url = set("DATABASE_URL", "postgres://u@url/d".to_owned());
        expect(&url, "url", "environment DATABASE_URL");
        let credentials = set("CREDENTIALS_DIRECTORY", directory.path().display().to_string());
        let origin = format!("credential {}", credential.display());
        expect(&credentials, "credential", &origin);
        let file = directory.file("c.toml", "\ndatabase.url = 'postgres://u@toml/d'\n");
        let origin = format!("{} line 2", file.display());
        expect(&|sources| sources.file = Some(file.clone()), "toml", &origin);
        let by_file = set("OUTBOXD_DATABASE__URL_FILE", url_file.display().to_string());
        expect(&by_file, "file_of_env", &format!("file {}", url_file.display()));
        let flag = |sources: &mut Sources| {
            let values = ["database.url", "postgres://u@flag/d", "--database-url"];
            let [key, value, flag] = values.map(str::to_owned);
            sources.flags.push((key, value, flag));
        };
        expect(&flag, "flag", "flag --database-url");
    }

    #[test]
    fn nothing_at_all_is_the_default_of_libpq() {
        let found = target(&sources(&[("USER", "ann")]));
        assert_eq!(found, ("ann@/var/run/postgresql:5432/ann".to_owned(), "default".to_owned()));
        let line = only_line(load(&sources(&[])));
        assert_eq!(line, "database.url (default): no user name; set DATABASE_URL, or PGUSER");
    }

    #[test]
    fn a_key_and_its_file_in_one_layer_are_refused() {
        let env = [
            ("OUTBOXD_DATABASE__URL", "postgres://u:hunter2@db"),
            ("OUTBOXD_DATABASE__URL_FILE", "/run/url"),
        ];
        let line = only_line(load(&sources(&env)));
        assert!(line.contains("give only one of the two") && !line.contains("hunter2"), "{line}");
    }

    #[test]
    fn a_secret_file_that_cannot_be_read_is_named_with_the_reason() {
        let directory = Directory::new();
        let empty = directory.file("empty", "\n").display().to_string();
        for (name, path, part) in [
            ("OUTBOXD_DATABASE__URL_FILE", "/nowhere/url", "cannot be read: No such file"),
            ("OUTBOXD_ADMIN__TOKEN_FILE", "/nowhere/token", "cannot be read: No such file"),
            ("OUTBOXD_ADMIN__TOKEN_FILE", empty.as_str(), "the file is empty"),
        ] {
            let line =
                only_line(load(&sources(&[("DATABASE_URL", "postgres://u@db"), (name, path)])));
            assert!(line.contains(path) && line.contains(part), "{line}");
        }
        let directory = Directory::new();
        std::fs::create_dir(directory.path().join("database_url")).expect("own directory");
        let path = directory.path().display().to_string();
        let line = only_line(load(&sources(&[("CREDENTIALS_DIRECTORY", &path)])));
        assert!(line.contains("credential") && line.contains("cannot be read"), "{line}");
    }

    #[test]
    fn every_reason_against_a_url_is_a_line_that_hides_it() {
        let url = "postgres://u:hunter2@db:0/x?sslmode=full";
        let problems = load(&sources(&[("DATABASE_URL", url)])).expect_err("two mistakes");
        assert_eq!(problems.0.len(), 2, "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        let start = "database.url = *** (environment DATABASE_URL): ";
        assert!(problems.to_string().lines().all(|line| line.starts_with(start)), "{problems}");
    }

    #[test]
    fn tokens_come_from_the_key_its_file_or_the_credential() {
        let directory = Directory::new();
        let file = directory.file("tokens", "# ours\none\n\n  two\n").display().to_string();
        directory.file("admin_token", "three\n");
        let path = directory.path().display().to_string();
        for (name, value, tokens) in [
            ("OUTBOXD_ADMIN__TOKEN", "a b", &["a", "b"][..]),
            ("OUTBOXD_ADMIN__TOKEN_FILE", file.as_str(), &["one", "two"]),
            ("CREDENTIALS_DIRECTORY", path.as_str(), &["three"]),
        ] {
            let env = [("DATABASE_URL", "postgres://u@db"), (name, value)];
            // The credentials directory holds no database_url, so DATABASE_URL counts.
            let loaded = load(&sources(&env)).unwrap_or_else(|problems| panic!("{problems}"));
            let expected: Vec<_> = tokens.iter().copied().map(Token::new).collect();
            assert_eq!(loaded.config.admin.tokens, expected, "{name}");
            assert_eq!(shown(&loaded, "admin.token").0, "***");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_unseen() {
        for token in ["hunter2,hunter3", "hünter2"] {
            let env = [("DATABASE_URL", "postgres://u@db"), ("OUTBOXD_ADMIN__TOKEN", token)];
            let line = only_line(load(&sources(&env)));
            assert!(line.starts_with("admin.token = *** (environment"), "{line}");
            assert!(!line.contains("unter"), "{line}");
        }
    }

    #[test]
    fn warnings_about_the_password_file_reach_the_caller() {
        let directory = Directory::new();
        directory.file(".pgpass", "*:*:*:*:x\n");
        let home = directory.path().display().to_string();
        let env = [("HOME", home.as_str()), ("DATABASE_URL", "postgres://u@db")];
        let loaded = load(&sources(&env)).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings[0].contains("chmod 0600"), "{:?}", loaded.warnings);
    }
}
