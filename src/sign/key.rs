//! Signing keys of every algorithm: how a secret is read, and what it makes of a message.

use std::fmt;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::ed25519::{self, SigningKey, SigningKeyError};
use super::{PREFIX, Secret, SecretError};

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC (RFC 2104) with SHA-256.
    HmacSha256,
    /// HMAC with SHA-1: legacy, for receivers that know nothing else.
    HmacSha1,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// No signature: the secret itself, as a token.
    Token,
}

/// How the text of a secret becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The bytes of the text, whatever it begins with.
    Text,
    /// Base64, standard and padded or not, behind a `whsec_` if there is one.
    Base64,
    /// Hexadecimal digits; or a generated secret, `whsec_` and base64.
    Hex,
    /// As Standard Webhooks has it: `whsec_` and padded base64 of 24 to 64 bytes.
    Standard,
}

/// How the bytes of a signature are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits, lower case.
    Hex,
    /// Standard base64, padded.
    Base64,
    /// URL-safe base64 without padding, as in JSON Web Tokens.
    Base64Url,
    /// As it is; for tokens.
    Plain,
}

/// A kind of setting that people write by name.
pub trait Named: Sized + Copy + PartialEq + 'static {
    /// Every value with its name.
    const NAMES: &'static [(&'static str, Self)];

    /// The value's name.
    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// The value of that name; the error lists the names there are.
    ///
    /// # Errors
    /// There is none.
    fn named(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("write one of {}", names.join(", "))
        })
    }
}

impl Named for Algorithm {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("hmac-sha256", Self::HmacSha256),
        ("hmac-sha1", Self::HmacSha1),
        ("hmac-sha512", Self::HmacSha512),
        ("ed25519", Self::Ed25519),
        ("token", Self::Token),
    ];
}

impl Named for KeyForm {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("base64", Self::Base64),
        ("hex", Self::Hex),
        ("standard", Self::Standard),
    ];
}

impl Named for Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("hex", Self::Hex),
        ("base64", Self::Base64),
        ("base64url", Self::Base64Url),
        ("plain", Self::Plain),
    ];
}

impl Algorithm {
    /// Whether it signs with this secret: Ed25519 with its own keys, the others with all others.
    pub fn takes(self, secret: &str) -> bool {
        secret.starts_with(ed25519::PREFIX) == (self == Self::Ed25519)
    }
}

impl Encoding {
    /// Appends the bytes as text.
    fn write(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digits =
                    |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                out.extend(bytes.iter().flat_map(digits));
            }
            Self::Base64 => write_base64(&BASE64_STANDARD, bytes, out),
            Self::Base64Url => write_base64(&BASE64_URL_SAFE_NO_PAD, bytes, out),
            Self::Plain => out.extend_from_slice(bytes),
        }
    }
}

/// Why a secret cannot be used by a profile. Never quotes the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not in the form of Standard Webhooks.
    #[error(transparent)]
    Standard(#[from] SecretError),
    /// Not an Ed25519 key.
    #[error(transparent)]
    Ed25519(#[from] SigningKeyError),
    /// There is nothing in it.
    #[error("the secret is empty, or holds an empty key")]
    Empty,
    /// Not base64.
    #[error("the secret must be base64, with or without `whsec_` in front")]
    NotBase64,
    /// Not hexadecimal.
    #[error("the secret must be an even number of hexadecimal digits")]
    NotHex,
    /// A token that no header can carry.
    #[error("the token must be printable ASCII, to fit into a header")]
    NotPrintable,
}

/// A key that is ready to sign: the work on the key itself is done once, not for every message.
#[derive(Clone)]
pub enum Key {
    /// HMAC with SHA-256.
    HmacSha256(Box<Hmac<Sha256>>),
    /// HMAC with SHA-1.
    HmacSha1(Box<Hmac<Sha1>>),
    /// HMAC with SHA-512.
    HmacSha512(Box<Hmac<Sha512>>),
    /// Ed25519.
    Ed25519(SigningKey),
    /// A token.
    Token(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// An HMAC key of any length.
fn hmac<M: KeyInit>(key: &[u8]) -> Result<Box<M>, KeyError> {
    // HMAC takes keys of every length, so this does not happen.
    M::new_from_slice(key).map(Box::new).map_err(|_| KeyError::Empty)
}

impl Key {
    /// Prepares a secret.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(algorithm: Algorithm, form: KeyForm, secret: &str) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        match algorithm {
            Algorithm::Ed25519 => Ok(Self::Ed25519(SigningKey::parse(secret)?)),
            Algorithm::Token => {
                if secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                    Ok(Self::Token(secret.to_owned()))
                } else {
                    Err(KeyError::NotPrintable)
                }
            }
            Algorithm::HmacSha256 => Ok(Self::HmacSha256(hmac(&form.bytes(secret)?)?)),
            Algorithm::HmacSha1 => Ok(Self::HmacSha1(hmac(&form.bytes(secret)?)?)),
            Algorithm::HmacSha512 => Ok(Self::HmacSha512(hmac(&form.bytes(secret)?)?)),
        }
    }

    /// The signature of a message that comes in pieces, as text. `pieces` hands every piece to
    /// the function it is given.
    pub fn sign(
        &self,
        encoding: Encoding,
        pieces: impl FnOnce(&mut dyn FnMut(&[u8])),
        out: &mut Vec<u8>,
    ) {
        fn mac<M: Mac + Clone>(
            key: &M,
            encoding: Encoding,
            pieces: impl FnOnce(&mut dyn FnMut(&[u8])),
            out: &mut Vec<u8>,
        ) {
            let mut mac = key.clone();
            pieces(&mut |piece| mac.update(piece));
            encoding.write(&mac.finalize().into_bytes(), out);
        }
        match self {
            Self::HmacSha256(key) => mac(&**key, encoding, pieces, out),
            Self::HmacSha1(key) => mac(&**key, encoding, pieces, out),
            Self::HmacSha512(key) => mac(&**key, encoding, pieces, out),
            Self::Ed25519(key) => {
                // Signs the message twice over, so it has to be in one piece.
                let mut message = Vec::new();
                pieces(&mut |piece| message.extend_from_slice(piece));
                encoding.write(&key.sign(&message), out);
            }
            Self::Token(token) => encoding.write(token.as_bytes(), out),
        }
    }
}

impl KeyForm {
    /// The key itself, which is never empty: with an empty one anybody can sign.
    fn bytes(self, secret: &str) -> Result<Vec<u8>, KeyError> {
        let key = self.decode(secret)?;
        if key.is_empty() { Err(KeyError::Empty) } else { Ok(key) }
    }

    fn decode(self, secret: &str) -> Result<Vec<u8>, KeyError> {
        let base64 = |text: &str| {
            let bare = text.trim_end_matches('=');
            BASE64_STANDARD_NO_PAD.decode(bare).map_err(|_| KeyError::NotBase64)
        };
        match (self, secret.strip_prefix(PREFIX)) {
            (Self::Text, _) => Ok(secret.as_bytes().to_vec()),
            (Self::Standard, _) => Ok(Secret::key_bytes(secret)?),
            (Self::Base64 | Self::Hex, Some(encoded)) => base64(encoded),
            (Self::Base64, None) => base64(secret),
            (Self::Hex, None) => hex(secret).ok_or(KeyError::NotHex),
        }
    }
}

/// Appends in place.
fn write_base64(alphabet: &impl Engine, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Four characters for three bytes, and those begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // There is room.
    let written = alphabet.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(algorithm: Algorithm, form: KeyForm, secret: &str, encoding: Encoding) -> String {
        let key = Key::new(algorithm, form, secret).unwrap_or_else(|error| panic!("{error}"));
        let mut out = Vec::new();
        key.sign(
            encoding,
            |take| {
                ["what do ya want ", "for nothing?"].iter().for_each(|piece| take(piece.as_bytes()))
            },
            &mut out,
        );
        String::from_utf8(out).expect("text")
    }

    /// RFC 2202 and RFC 4231, test case 2: key `Jefe`.
    #[test]
    fn the_known_answers_of_the_standards() {
        for (algorithm, answer) in [
            (Algorithm::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::HmacSha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::HmacSha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(signed(algorithm, KeyForm::Text, "Jefe", Encoding::Hex), answer);
            assert_eq!(signed(algorithm, KeyForm::Hex, "4a656665", Encoding::Hex), answer);
            assert_eq!(signed(algorithm, KeyForm::Base64, "SmVmZQ==", Encoding::Hex), answer);
            assert_eq!(signed(algorithm, KeyForm::Base64, "whsec_SmVmZQ", Encoding::Hex), answer);
        }
    }

    #[test]
    fn encodings_write_the_same_bytes() {
        let with = |encoding| signed(Algorithm::HmacSha1, KeyForm::Text, "Jefe", encoding);
        assert_eq!(with(Encoding::Base64), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
        assert_eq!(with(Encoding::Base64Url), "7_zfauXrL6LSdBbV8YTfnCWafHk");
        let token = |encoding| signed(Algorithm::Token, KeyForm::Text, "user:pass", encoding);
        assert_eq!(token(Encoding::Plain), "user:pass");
        assert_eq!(token(Encoding::Base64), "dXNlcjpwYXNz");
    }

    #[test]
    fn secrets_that_do_not_fit_are_refused() {
        use Algorithm::{Ed25519, HmacSha256, Token};
        for (algorithm, form, secret, part) in [
            (HmacSha256, KeyForm::Text, "", "empty"),
            (HmacSha256, KeyForm::Base64, "=", "empty"),
            (HmacSha256, KeyForm::Base64, "whsec_==", "empty"),
            (HmacSha256, KeyForm::Hex, "whsec_", "empty"),
            (HmacSha256, KeyForm::Standard, "short", "base64"),
            (HmacSha256, KeyForm::Base64, "not base64!", "base64"),
            (HmacSha256, KeyForm::Hex, "abc", "hexadecimal"),
            (HmacSha256, KeyForm::Hex, "zz", "hexadecimal"),
            (Token, KeyForm::Text, "caf\u{e9}", "printable"),
            (Token, KeyForm::Text, "a\r\nb: c", "printable"),
            (Ed25519, KeyForm::Text, "whsec_x", "whsk_"),
        ] {
            let error = Key::new(algorithm, form, secret).expect_err(part).to_string();
            assert!(error.contains(part), "{secret:?}: {error}");
            assert!(secret.len() < 5 || !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn an_ed25519_key_signs_for_its_algorithm_only() {
        assert!(Algorithm::Ed25519.takes("whsk_x") && !Algorithm::Ed25519.takes("whsec_x"));
        assert!(Algorithm::Token.takes("x") && !Algorithm::HmacSha256.takes("whsk_x"));
    }

    #[test]
    fn every_name_reads_back() {
        fn all<T: Named + std::fmt::Debug>() {
            for (name, value) in T::NAMES {
                assert_eq!(T::named(name), Ok(*value));
                assert_eq!(value.name(), *name);
            }
            assert!(T::named("none").is_err_and(|error| error.contains(T::NAMES[0].0)));
        }
        all::<Algorithm>();
        all::<KeyForm>();
        all::<Encoding>();
    }
}
