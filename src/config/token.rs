//! Bearer tokens: kept as hashes, compared over their full length.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Characters that a token should have: fewer can be guessed, and nothing slows guesses down for
/// long.
pub const TOKEN_LENGTH: usize = 32;

/// A bearer token. Only its SHA-256 is kept, so it cannot be shown, and comparing two tells nothing
/// by the time it takes.
#[derive(Clone)]
pub struct Token {
    hash: [u8; 32],
    short: bool,
}

impl Token {
    /// Takes the text of a token.
    pub fn new(text: &str) -> Token {
        Token { hash: Sha256::digest(text).into(), short: text.len() < TOKEN_LENGTH }
    }

    /// Whether it has so few characters that it can be guessed.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Whether it is one of these. Compares with all of them, whichever fits.
    pub fn is_among(&self, tokens: &[Token]) -> bool {
        let none = Choice::from(0);
        tokens.iter().fold(none, |found, token| found | token.hash.ct_eq(&self.hash)).into()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.hash.ct_eq(&other.hash).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_several_is_accepted_and_nothing_like_one_is() {
        let tokens = ["first-token", "second-token"].map(Token::new);
        for (text, accepted) in [
            ("first-token", true),
            ("second-token", true),
            ("first-toke", false),
            ("first-token ", false),
            ("First-token", false),
            ("first-token second-token", false),
            ("", false),
        ] {
            assert_eq!(Token::new(text).is_among(&tokens), accepted, "{text}");
        }
        assert!(!Token::new("").is_among(&[]));
    }

    #[test]
    fn the_text_is_not_kept() {
        let token = Token::new("hunter2");
        assert_eq!(format!("{token:?}"), "Token(***)");
        let digest = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
        let hash: String = token.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, digest);
        assert!(token.is_short() && !Token::new(&"x".repeat(TOKEN_LENGTH)).is_short());
    }
}
