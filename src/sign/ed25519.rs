//! Ed25519 keys as Standard Webhooks writes them: `whsk_` and base64 for the key that signs, `whpk_`
//! and base64 for the public one that a receiver verifies with.

use std::fmt;
use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// What the text of a signing key starts with.
pub const PREFIX: &str = "whsk_";
/// What the text of a public key starts with.
const PUBLIC_PREFIX: &str = "whpk_";
/// The seed of a key (RFC 8032), in bytes.
const SEED: usize = 32;
/// The other form in use: the seed, and the public key behind it.
const SEED_AND_PUBLIC: usize = 64;

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Why a text is no signing key. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// It does not decode.
    #[error("an Ed25519 key must be `whsk_` followed by standard, padded base64")]
    NotBase64,
    /// It decodes to something else.
    #[error("an Ed25519 key is a seed of 32 bytes, or 64 with its public key, and it is {0}")]
    Size(usize),
    /// The public key in it is not the one of the seed.
    #[error("the two halves of the Ed25519 key do not belong together")]
    Mismatch,
}

impl SigningKey {
    /// Reads `whsk_<base64>` of a seed, or of a seed and its public key.
    ///
    /// # Errors
    /// See [`SigningKeyError`].
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SigningKeyError::NotBase64)?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| SigningKeyError::NotBase64)?;
        let pair = match bytes.len() {
            SEED => Ed25519KeyPair::from_seed_unchecked(&bytes),
            SEED_AND_PUBLIC => {
                Ed25519KeyPair::from_seed_and_public_key(&bytes[..SEED], &bytes[SEED..])
            }
            size => return Err(SigningKeyError::Size(size)),
        };
        pair.map(|pair| Self(Arc::new(pair))).map_err(|_| SigningKeyError::Mismatch)
    }

    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(message).as_ref());
        signature
    }

    /// The public key, `whpk_<base64>`, which is no secret.
    pub fn public(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", BASE64_STANDARD.encode(self.0.public_key().as_ref()))
    }
}

/// The text of a new signing key, in the longer form, which every implementation reads.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut key = [0; SEED_AND_PUBLIC];
    let (seed, public) = key.split_at_mut(SEED);
    getrandom::fill(seed)?;
    if let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(seed) {
        public.copy_from_slice(pair.public_key().as_ref());
    }
    Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test of RFC 8032, section 7.1: an empty message.
    const SEED_TEXT: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC_TEXT: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_known_key_has_its_known_public_key_and_signature() {
        let key = SigningKey::parse(SEED_TEXT).expect("a key");
        assert_eq!(key.public(), PUBLIC_TEXT);
        let signature = BASE64_STANDARD.encode(key.sign(b""));
        assert_eq!(
            signature,
            "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw=="
        );
    }

    #[test]
    fn a_new_key_reads_back_and_verifies() {
        let text = generate().expect("randomness");
        let key = SigningKey::parse(&text).expect("a key");
        let public = BASE64_STANDARD.decode(&key.public()["whpk_".len()..]).expect("base64");
        let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        assert!(verifier.verify(b"message", &key.sign(b"message")).is_ok());
        assert!(verifier.verify(b"massage", &key.sign(b"message")).is_err());
        assert_ne!(text, generate().expect("randomness"));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let mut halves = BASE64_STANDARD.decode(&generate().expect("randomness")[5..]).expect("ok");
        halves[40] ^= 1;
        let mixed = format!("{PREFIX}{}", BASE64_STANDARD.encode(halves));
        for (text, error) in [
            ("whsec_nWGx", SigningKeyError::NotBase64),
            ("whsk_?", SigningKeyError::NotBase64),
            ("whsk_nWGx", SigningKeyError::Size(3)),
            (mixed.as_str(), SigningKeyError::Mismatch),
        ] {
            assert_eq!(SigningKey::parse(text).expect_err("no key"), error);
        }
        let shown = format!("{:?}", SigningKey::parse(SEED_TEXT));
        assert_eq!(shown, "Ok(SigningKey(..))");
    }
}
