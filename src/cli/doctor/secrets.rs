//! How signing secrets are stored, and whether all of them can be read with the keys at hand.

use serde_json::Value;

use crate::cli::checks::Check;
use crate::config::Secrets;
use crate::store::manage::Record;

const CHECK: &str = "secrets";

/// Judges what is stored: how many secrets are under which master key.
pub(super) fn at_rest(secrets: &Secrets, rows: &[Record]) -> Vec<Check> {
    let mut plain = 0;
    let mut checks = Vec::new();
    for row in rows {
        let count = row.get("secrets").and_then(Value::as_u64).unwrap_or(0);
        match row.get("key").and_then(Value::as_str) {
            None => plain = count,
            Some(key) => {
                let of_tenants = row.get("of_tenants").and_then(Value::as_u64).unwrap_or(0);
                checks.push(sealed(secrets, key, [count, of_tenants]));
            }
        }
    }
    if let Some(warning) = secrets.warning() {
        let (finding, mend) = warning.split_once(": ").unwrap_or((warning, ""));
        checks.push(Check::warn(CHECK, format!("{plain} in plain text; {finding}")).mend(mend));
    } else if !secrets.seals() {
        let finding = format!("{plain} in plain text, as secrets.storage says");
        checks.push(Check::ok(CHECK, finding));
    } else if plain > 0 {
        let mend = "start the daemon, which encrypts them, or: outboxd secrets rewrap";
        checks.push(Check::warn(CHECK, format!("{plain} still in plain text")).mend(mend));
    } else if checks.is_empty() {
        checks.push(Check::ok(CHECK, "none yet; they will be encrypted"));
    }
    checks
}

/// Judges those under one key: how many they are, and how many of them are of tenants.
fn sealed(secrets: &Secrets, key: &str, [count, of_tenants]: [u64; 2]) -> Check {
    let finding = format!("{count} encrypted under master key {key}");
    let known = secrets.keyring.ids().position(|id| id == key);
    match known {
        Some(0) => Check::ok(CHECK, finding),
        Some(_) => Check::warn(CHECK, format!("{finding}, which is not the first"))
            .mend("outboxd secrets rewrap"),
        None if secrets.keyring.is_empty() => Check::warn(CHECK, format!("{finding}, unread here"))
            .mend("run the doctor with the master key of the daemon, such as its credential"),
        None => Check::fail(CHECK, format!("{finding}, which is not at hand")).mend(format!(
            "add that key to secrets.master_key_file; if it is lost, give their owners, whom \
             'outboxd secrets list' names, new secrets:{}{}",
            if of_tenants < count {
                "\noutboxd endpoints rotate-secret NAME --overlap 0s"
            } else {
                ""
            },
            if of_tenants > 0 { "\noutboxd secrets set-tenant TENANT" } else { "" },
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::checks::Status;
    use crate::config::Storage;
    use crate::seal::{Keyring, MasterKey};

    fn stored(rows: &[(Option<&str>, u64)]) -> Vec<Record> {
        let row = |(key, secrets): &(Option<&str>, u64)| {
            [("key".to_owned(), json!(key)), ("secrets".to_owned(), json!(secrets))]
        };
        rows.iter().map(|found| row(found).into_iter().collect()).collect()
    }

    #[test]
    fn what_is_stored_is_judged_by_what_was_asked_for() {
        let key = |digit: &str| MasterKey::parse(&digit.repeat(64)).expect("a key in hex");
        let (first, second) = (key("1"), key("2"));
        let of = |storage, keys: &[&MasterKey]| Secrets {
            keyring: Keyring::new(keys.iter().map(|key| (*key).clone()).collect()),
            storage,
        };
        let both = [&first, &second];
        for (secrets, rows, expected) in [
            (of(Storage::PlainByDefault, &[]), &[(None, 2)][..], &[Status::Warn][..]),
            (of(Storage::PlainByDefault, &[]), &[], &[Status::Warn]),
            (of(Storage::Plain, &[]), &[(None, 2)], &[Status::Ok]),
            (
                of(Storage::PlainByDefault, &[]),
                &[(Some(first.id()), 1)],
                &[Status::Warn, Status::Warn],
            ),
            (of(Storage::Encrypted, &both), &[], &[Status::Ok]),
            (of(Storage::Encrypted, &both), &[(Some(first.id()), 2)], &[Status::Ok]),
            (of(Storage::Encrypted, &both), &[(Some(second.id()), 2)], &[Status::Warn]),
            (
                of(Storage::Encrypted, &[&first]),
                &[(None, 1), (Some(first.id()), 1), (Some(second.id()), 1)],
                &[Status::Ok, Status::Fail, Status::Warn],
            ),
        ] {
            let checks = at_rest(&secrets, &stored(rows));
            let found: Vec<Status> = checks.iter().map(|check| check.status).collect();
            assert_eq!(found, expected, "{checks:?}");
        }
    }

    #[test]
    fn what_mends_a_lost_key_depends_on_whose_secrets_they_are() {
        let key = |digit: &str| MasterKey::parse(&digit.repeat(64)).expect("a key in hex");
        let keyring = Keyring::new(vec![key("1")]);
        let secrets = Secrets { keyring, storage: Storage::Encrypted };
        for (of_tenants, rotates, sets) in [(0, true, false), (1, true, true), (2, false, true)] {
            let mut rows = stored(&[(Some(key("2").id()), 2)]);
            rows[0].insert("of_tenants".to_owned(), json!(of_tenants));
            let mend = at_rest(&secrets, &rows)[0].mend.clone().expect("a mend");
            assert_eq!(
                mend.contains("endpoints rotate-secret NAME --overlap 0s"),
                rotates,
                "{mend}"
            );
            assert_eq!(mend.contains("secrets set-tenant TENANT"), sets, "{mend}");
        }
    }
}
