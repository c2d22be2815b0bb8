//! Secrets at rest: sealed under a master key, so that a copy of the database signs nothing.
//!
//! A sealed text is `sealed:v1:<key id>:<base64 of nonce, ciphertext and tag>`, by
//! ChaCha20-Poly1305 (RFC 8439) with a random nonce; everything before the base64 is authenticated with it.

use std::fmt;
use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

/// What tells a sealed text from a plain one.
const PREFIX: &str = "sealed:";
/// The one form that there is so far.
const VERSION: &str = "sealed:v1:";
/// Of a master key, in bytes.
const KEY_BYTES: usize = 32;
/// What the id of a key is derived with, so that it is the hash of nothing else.
const ID_CONTEXT: &[u8] = b"outboxd master key id v1\0";
/// What to do about a secret that is lost.
const REPLACE: &str = "replace the secret with: outboxd endpoints rotate-secret NAME --overlap 0s; \
                       a tenant's with: outboxd secrets set-tenant TENANT";
/// Hex digits of a key's id.
const ID_DIGITS: usize = 8;

/// A key that secrets are sealed under. It does not show itself.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, ..)", self.id)
    }
}

/// Why a text is no master key. Never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// It is neither of the two forms.
    #[error(
        "a master key is {KEY_BYTES} bytes as base64 or hex; make one with: \
         outboxd secrets generate-master-key"
    )]
    Form,
    /// It decodes, to another length; carries how many bytes.
    #[error(
        "a master key has {KEY_BYTES} bytes, and this one has {0}; make one with: \
         outboxd secrets generate-master-key"
    )]
    Size(usize),
}

/// Why a text cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key to seal under.
    #[error("there is no master key to seal with; set secrets.master_key_file")]
    NoKey,
    /// The system gave no random nonce, or the text is too long for the cipher.
    #[error("the system has no randomness to seal with")]
    Randomness,
}

/// Why a sealed text cannot be opened. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key is not among ours; carries the key's id.
    #[error(
        "sealed under master key {0}, which is not in secrets.master_key_file; add that key, or \
         {REPLACE}"
    )]
    UnknownKey(String),
    /// It is not what was sealed; carries the id of the key that it names.
    #[error("sealed under master key {0}, and damaged since; {REPLACE}")]
    Damaged(String),
    /// It has the prefix of a sealed text, and not its form.
    #[error("damaged: it begins with `sealed:` and goes on in no form that is known; {REPLACE}")]
    Form,
}

impl MasterKey {
    /// Reads base64, with or without padding, or hex.
    ///
    /// # Errors
    /// See [`MasterKeyError`].
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let bytes = if text.len() == 2 * KEY_BYTES {
            hex(text).ok_or(MasterKeyError::Form)?
        } else {
            let padding = "=".repeat((4 - text.trim_end_matches('=').len() % 4) % 4);
            let padded = format!("{}{padding}", text.trim_end_matches('='));
            BASE64_STANDARD.decode(padded).map_err(|_| MasterKeyError::Form)?
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes)
            .map_err(|_| MasterKeyError::Size(bytes.len()))?;
        let digest = Sha256::new().chain_update(ID_CONTEXT).chain_update(&bytes).finalize();
        let mut id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        id.truncate(ID_DIGITS);
        Ok(Self { id, key: LessSafeKey::new(key) })
    }

    /// The text of a new key: one line of base64.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<String, getrandom::Error> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(BASE64_STANDARD.encode(key))
    }

    /// Its name in sealed texts: 8 hex digits, which tell nothing of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn seal(&self, plain: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        let head = format!("{VERSION}{}:", self.id);
        let mut text = plain.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(head.as_bytes()),
                &mut text,
            )
            .map_err(|_| SealError::Randomness)?;
        let sealed = [&nonce[..], &text].concat();
        Ok(format!("{head}{}", BASE64_STANDARD.encode(sealed)))
    }

    fn open(&self, head: &str, encoded: &str) -> Option<String> {
        let mut sealed = BASE64_STANDARD.decode(encoded).ok()?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(head.as_bytes()), text).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    Some(digits?.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The master keys at hand: the first one seals, all of them open.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<[MasterKey]>);

impl Keyring {
    /// These keys; of one that is there twice, the first counts.
    pub fn new(keys: Vec<MasterKey>) -> Self {
        Self(keys.into())
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids of the keys, that of the sealing one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(MasterKey::id)
    }

    /// Seals a text under the first key.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&self, plain: &str) -> Result<String, SealError> {
        self.0.first().ok_or(SealError::NoKey)?.seal(plain)
    }

    /// What a stored text says: a plain one is returned as it is, a sealed one is opened.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, stored: &str) -> Result<String, OpenError> {
        if !is_sealed(stored) {
            return Ok(stored.to_owned());
        }
        let id = key_id(stored).ok_or(OpenError::Form)?;
        let (head, encoded) = stored.split_at(VERSION.len() + id.len() + 1);
        let key = self.0.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        key.open(head, encoded).ok_or_else(|| OpenError::Damaged(id.to_owned()))
    }

    /// Whether a stored text is sealed under the first key.
    pub fn is_current(&self, stored: &str) -> bool {
        self.ids().next().is_some_and(|id| key_id(stored) == Some(id))
    }
}

/// Whether a stored text is a sealed one, whatever its key.
pub fn is_sealed(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

/// The id of the key that a text is sealed under; `None`: it is plain, or in no known form.
fn key_id(stored: &str) -> Option<&str> {
    let (id, _) = stored.strip_prefix(VERSION)?.split_once(':')?;
    is_key_id(id).then_some(id)
}

/// Whether a text has the form of a master key's id.
pub fn is_key_id(id: &str) -> bool {
    let digits = id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    id.len() == ID_DIGITS && digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn key() -> MasterKey {
        MasterKey::parse(&MasterKey::generate().expect("randomness")).expect("a key")
    }

    fn ring(keys: &[&MasterKey]) -> Keyring {
        Keyring::new(keys.iter().map(|key| (*key).clone()).collect())
    }

    #[test]
    fn what_was_sealed_opens_and_never_looks_the_same_twice() {
        let keys = ring(&[&key()]);
        for plain in [PLAIN, "", "ü", &"é".repeat(1024)] {
            let (one, two) = (keys.seal(plain).expect("sealed"), keys.seal(plain).expect("sealed"));
            assert_ne!(one, two);
            assert!(one.len() <= 8192 && (plain.is_empty() || !one.contains(plain)), "{one}");
            assert!(keys.is_current(&one));
            assert_eq!(keys.open(&one).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn a_plain_text_passes_as_it_is() {
        for keys in [Keyring::default(), ring(&[&key()])] {
            for plain in [PLAIN, "", "seal", "Sealed:v1:", "sealed"] {
                assert_eq!(keys.open(plain).as_deref(), Ok(plain));
                assert!(!keys.is_current(plain));
            }
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let keys = ring(&[&key()]);
        let sealed = keys.seal(PLAIN).expect("sealed");
        for at in 0..sealed.len() {
            for flipped in [0x01, 0x02, 0x10, 0x20] {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] ^= flipped;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                // Without the prefix it is a plain text, which is no secret of anybody.
                if at >= PREFIX.len() {
                    let opened = keys.open(&text);
                    assert!(opened.is_err(), "byte {at}: {text}");
                }
            }
            if at >= PREFIX.len() {
                assert!(keys.open(&sealed[..at]).is_err(), "cut at {at}");
            }
        }
        assert!(keys.open(&format!("{sealed}AAAA")).is_err());
        // The id is authenticated: the text cannot be passed off as one of another key's.
        let twin = MasterKey { id: "00000000".to_owned(), ..keys.0[0].clone() };
        let moved = sealed.replacen(keys.0[0].id(), twin.id(), 1);
        assert_eq!(ring(&[&twin]).open(&moved), Err(OpenError::Damaged("00000000".to_owned())));
    }

    #[test]
    fn a_missing_key_is_named_and_the_text_is_not_shown() {
        let (old, new) = (key(), key());
        let sealed = ring(&[&old]).seal(PLAIN).expect("sealed");
        let error = ring(&[&new]).open(&sealed).expect_err("another key");
        assert_eq!(error, OpenError::UnknownKey(old.id().to_owned()));
        let shown = error.to_string();
        assert!(shown.contains(old.id()) && !shown.contains(&sealed[20..]), "{shown}");
        let both = ring(&[&new, &old]);
        assert_eq!(both.open(&sealed).as_deref(), Ok(PLAIN));
        assert!(!both.is_current(&sealed));
        assert_eq!(Keyring::default().seal(PLAIN), Err(SealError::NoKey));
    }

    #[test]
    fn broken_forms_are_damage_and_not_secrets() {
        let keys = ring(&[&key()]);
        for text in
            ["sealed:", "sealed:v2:00000000:AAAA", "sealed:v1:XYZ:AAAA", "sealed:v1:00000000"]
        {
            assert_eq!(keys.open(text), Err(OpenError::Form), "{text}");
        }
        let short = format!("sealed:v1:{}:AAAA", keys.0[0].id());
        assert!(matches!(keys.open(&short), Err(OpenError::Damaged(_))));
    }

    #[test]
    fn a_key_is_read_as_base64_or_hex_and_does_not_show_itself() {
        let forms = [
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
            "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F",
        ];
        let keys = forms.map(|text| MasterKey::parse(text).expect(text));
        assert!(keys.iter().all(|key| key.id() == keys[0].id()), "{keys:?}");
        let shown = format!("{:?}", Keyring::new(vec![keys[0].clone()]));
        assert_eq!(shown, format!("Keyring([MasterKey({}, ..)])", keys[0].id()));
        for (text, error) in [
            ("", MasterKeyError::Size(0)),
            ("hunter2!", MasterKeyError::Form),
            ("AAEC", MasterKeyError::Size(3)),
            (&"zz".repeat(KEY_BYTES), MasterKeyError::Form),
        ] {
            assert_eq!(MasterKey::parse(text).expect_err(text), error, "{text}");
        }
    }
}
