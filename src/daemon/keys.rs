//! Whether the master keys at hand are those of the database. Without them every endpoint would be
//! invalid at once, which one missing file is no reason for.

use serde_json::Value;

use crate::seal::{Keyring, is_key_id};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::manage::Record;

/// Ids of keys that a message names at most.
const SHOWN: usize = 5;

/// What to say when the database has encrypted secrets and none can be opened; `None`: some can, or
/// there are none.
///
/// # Errors
/// When the database cannot be asked.
pub(super) async fn missing(store: &Store, keys: &Keyring) -> Result<Option<String>, StoreError> {
    Ok(judge(&store.secrets_at_rest().await?, keys))
}

/// Judges what is stored. Where most secrets are plain, encrypted ones that cannot be opened
/// concern only their endpoints: SQL may write what merely looks encrypted.
fn judge(at_rest: &[Record], keys: &Keyring) -> Option<String> {
    let mut plain = 0;
    let mut sealed = 0;
    let mut ids: Vec<&str> = Vec::new();
    for row in at_rest {
        let count = row.get("secrets").and_then(Value::as_u64).unwrap_or(0);
        match row.get("key").and_then(Value::as_str) {
            None => plain += count,
            Some(id) if keys.ids().any(|known| known == id) => return None,
            Some(id) if is_key_id(id) => {
                sealed += count;
                ids.push(id);
            }
            // Damaged: no key would open it.
            Some(_) => {}
        }
    }
    if sealed == 0 || plain > sealed {
        return None;
    }
    let at_hand: Vec<&str> = keys.ids().collect();
    let at_hand = if at_hand.is_empty() {
        "there is no master key here".to_owned()
    } else {
        format!("the master keys here are {}", at_hand.join(", "))
    };
    Some(format!(
        "none of the {sealed} encrypted secrets in the database can be opened: they are encrypted \
         under master key {}, and {at_hand}; put the key into the file of secrets.master_key_file \
         (or the credential master_key); if it is lost, put a new one there and replace a secret \
         first: outboxd endpoints rotate-secret NAME --overlap 0s",
        ids[..ids.len().min(SHOWN)].join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seal::MasterKey;

    fn stored(rows: &[(Option<&str>, u64)]) -> Vec<Record> {
        let row = |(key, secrets): &(Option<&str>, u64)| {
            [("key".to_owned(), json!(key)), ("secrets".to_owned(), json!(secrets))]
        };
        rows.iter().map(|found| row(found).into_iter().collect()).collect()
    }

    #[test]
    fn a_keyring_that_opens_nothing_is_refused_with_the_ids_of_the_keys() {
        let key = |digit: &str| MasterKey::parse(&digit.repeat(64)).expect("a key in hex");
        let (one, two) = (key("1"), key("2"));
        let ring = Keyring::new(vec![one.clone()]);
        let lost = [(Some(two.id()), 3)];
        let said = judge(&stored(&lost), &ring).expect("the key is missing");
        for part in ["the 3 encrypted", two.id(), one.id(), "secrets.master_key_file"] {
            assert!(said.contains(part), "{said}");
        }
        let said = judge(&stored(&lost), &Keyring::default()).expect("there is no key");
        assert!(said.contains("there is no master key here"), "{said}");
        // As many plain ones as encrypted ones do not hide that the key is gone.
        assert!(judge(&stored(&[(None, 3), lost[0]]), &ring).is_some());
    }

    #[test]
    fn one_secret_that_opens_or_a_plain_database_is_enough() {
        let key = MasterKey::parse(&"1".repeat(64)).expect("a key in hex");
        let ring = Keyring::new(vec![key.clone()]);
        for rows in [
            &[][..],
            &[(None, 2)],
            &[(Some(key.id()), 1), (Some("00000000"), 9)],
            &[(None, 2), (Some("00000000"), 1)],
            &[(Some("damaged"), 1)],
        ] {
            assert_eq!(judge(&stored(rows), &ring), None, "{rows:?}");
        }
    }
}
