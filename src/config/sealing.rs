//! `secrets.*`: how signing secrets are stored.

use std::fmt;

use config::ValueKind;

use super::check::Checker;
use super::problem::Origin;
use super::values::{self, NONE};
use crate::seal::{Keyring, SealError};

/// `secrets.*`
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Opens what is sealed, whatever the storage; empty without a master key.
    pub keyring: Keyring,
    /// How new secrets are stored.
    pub storage: Storage,
}

/// How signing secrets are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// Sealed under the first master key.
    Encrypted,
    /// As they are, because the configuration says so.
    Plain,
    /// As they are, because there is no master key and nobody said anything.
    #[default]
    PlainByDefault,
}

impl fmt::Display for Storage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Storage::Encrypted => "encrypted",
            Storage::Plain => "plain",
            Storage::PlainByDefault => NONE,
        })
    }
}

impl Secrets {
    /// Whether new secrets are sealed.
    pub fn seals(&self) -> bool {
        self.storage == Storage::Encrypted
    }

    /// A secret in the form that it is stored in.
    ///
    /// # Errors
    /// When it is to be sealed and cannot be.
    pub fn stored(&self, plain: &str) -> Result<String, SealError> {
        if self.seals() { self.keyring.seal(plain) } else { Ok(plain.to_owned()) }
    }

    /// What to say when nobody chose that secrets are stored in plain text; `None`: somebody did,
    /// or they are not.
    pub fn warning(&self) -> Option<&'static str> {
        (self.storage == Storage::PlainByDefault).then_some(
            "signing secrets are stored in plain text: encrypt them with a key from 'outboxd \
             secrets generate-master-key' in secrets.master_key_file, or accept it with \
             secrets.storage = \"plain\"",
        )
    }
}

impl Checker<'_> {
    /// `None`: something in the section is wrong, which has been noted.
    pub(super) fn secrets(&mut self) -> Option<Secrets> {
        const KEY: &str = "secrets.storage";
        let keys = self.master_keys();
        let storage = self.optional(KEY, storage, Storage::to_string)?;
        let keys = keys?;
        let storage = match storage {
            Some(Storage::Encrypted) if keys.is_empty() => {
                // Whoever only looks at the database need not have the key.
                let reason = "there is no master key to encrypt with; set \
                              secrets.master_key_file to a file with a key from 'outboxd secrets \
                              generate-master-key', or pass the credential master_key";
                self.keep_from_running(KEY, reason.to_owned());
                Storage::Encrypted
            }
            Some(storage) => storage,
            None if keys.is_empty() => Storage::PlainByDefault,
            None => {
                self.note(KEY, Storage::Encrypted.to_string(), Origin::Default);
                Storage::Encrypted
            }
        };
        Some(Secrets { keyring: Keyring::new(keys), storage })
    }
}

fn storage(value: &ValueKind) -> Result<Storage, String> {
    match values::text(value)? {
        "encrypted" => Ok(Storage::Encrypted),
        "plain" => Ok(Storage::Plain),
        _ => Err("write encrypted or plain".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, sources};
    use super::super::{Loaded, Problems, changed, load};
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TWO: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

    fn of(env: &[(&str, &str)]) -> Result<Loaded, Problems> {
        load(&sources(&[&[("DATABASE_URL", "postgres://u@db")], env].concat()))
    }

    fn secrets(env: &[(&str, &str)]) -> Secrets {
        of(env).unwrap_or_else(|problems| panic!("{problems}")).config.secrets
    }

    #[test]
    fn a_master_key_encrypts_unless_the_configuration_says_plain() {
        let key = ("OUTBOXD_SECRETS__MASTER_KEY", ONE);
        let plain = ("OUTBOXD_SECRETS__STORAGE", "plain");
        let encrypted = ("OUTBOXD_SECRETS__STORAGE", "encrypted");
        for (env, storage, warns) in [
            (&[][..], Storage::PlainByDefault, true),
            (&[plain], Storage::Plain, false),
            (&[key], Storage::Encrypted, false),
            (&[key, encrypted], Storage::Encrypted, false),
            (&[key, plain], Storage::Plain, false),
        ] {
            let secrets = secrets(env);
            assert_eq!(secrets.storage, storage);
            assert_eq!(secrets.warning().is_some(), warns);
            let stored = secrets.stored("whsec_x").expect("a key where one is needed");
            assert_eq!(crate::seal::is_sealed(&stored), storage == Storage::Encrypted);
            assert_eq!(secrets.keyring.open(&stored).as_deref(), Ok("whsec_x"));
        }
        let loaded = of(&[encrypted]).expect("enough to manage with");
        assert_eq!(loaded.config.secrets.stored("whsec_x"), Err(SealError::NoKey));
        let problems = loaded.require_ready().expect_err("no key").to_string();
        assert!(problems.contains("secrets.storage = \"encrypted\""), "{problems}");
        assert!(problems.contains("no master key"), "{problems}");
    }

    #[test]
    fn keys_come_from_the_key_its_file_or_the_credential_and_the_first_seals() {
        let directory = Directory::new();
        let text = format!("# new\n{ONE}\n\n# old\n{TWO}\n");
        let file = directory.file("keys", &text).display().to_string();
        directory.file("master_key", &format!("{TWO}\n"));
        let path = directory.path().display().to_string();
        let ids = |env: &[(&str, &str)]| -> Vec<String> {
            secrets(env).keyring.ids().map(str::to_owned).collect()
        };
        let one = ids(&[("OUTBOXD_SECRETS__MASTER_KEY", ONE)]);
        let two = ids(&[("CREDENTIALS_DIRECTORY", &path)]);
        assert_eq!(ids(&[("OUTBOXD_SECRETS__MASTER_KEY_FILE", &file)]), [one, two].concat());
    }

    #[test]
    #[cfg(unix)]
    fn a_master_key_file_that_others_may_read_is_a_warning_unless_it_is_a_credential() {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new();
        let path = directory.file("master_key", ONE);
        let (file, place) = (path.display().to_string(), directory.path().display().to_string());
        let by_file = [("OUTBOXD_SECRETS__MASTER_KEY_FILE", file.as_str())];
        let credential = [("CREDENTIALS_DIRECTORY", place.as_str())];
        let warnings = |mode, env: &[(&str, &str)]| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("own file");
            of(env).expect("a key").warnings
        };
        for mode in [0o644, 0o640, 0o602] {
            let said = warnings(mode, &by_file).join("\n");
            assert!(said.contains(&file) && said.contains("chmod 0600"), "{mode:o}: {said}");
            assert!(!said.contains(ONE), "{said}");
            assert_eq!(warnings(mode, &credential), [""; 0]);
            assert_eq!(warnings(mode, &[by_file, credential].concat()), [""; 0]);
        }
        assert_eq!(warnings(0o600, &by_file), [""; 0]);
    }

    #[test]
    fn a_bad_key_is_refused_unseen_and_another_one_is_a_change() {
        let problems = of(&[("OUTBOXD_SECRETS__MASTER_KEY", "hunter2!")]).expect_err("no key");
        let said = problems.to_string();
        assert!(said.contains("32 bytes") && !said.contains("hunter2"), "{said}");
        let loaded = |key| of(&[("OUTBOXD_SECRETS__MASTER_KEY", key)]).expect("a key");
        let (old, new) = (loaded(ONE), loaded(TWO));
        let keys: Vec<_> = changed(&old, &new).iter().map(|change| change.after.key).collect();
        assert_eq!(keys, ["secrets.master_key"]);
        let shown = format!("{old:?}");
        assert!(!shown.contains(ONE) && shown.contains("MasterKey("), "{shown}");
    }
}
