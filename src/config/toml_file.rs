//! The configuration file as a layer: where each key stands, and what does not belong there.

use std::path::Path;

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::{Layer, unknown};
use super::problem::{Origin, Problem};
use super::{keys, values};
use crate::profile::Profiles;
use crate::profile::read::{self as profile, Fault};

/// The table of tables that holds the wire profiles.
const PROFILES: &str = "profile";

/// The known keys of a file, each with its line, and the profiles in it. Everything else goes to
/// `problems`.
///
/// `None`: the text is no TOML.
pub(super) fn parse(
    path: &Path,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<(Layer, Profiles)> {
    let (layer, profiles) = (Layer::default(), Profiles::default());
    let mut walk = Walk { path, text, layer, profiles, problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => walk.table("", table.get_ref()),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            let before = &text.as_bytes()[..start.min(text.len())];
            let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
            // The message alone: the whole error quotes the line, which may hold a secret.
            problems.push(Problem {
                key: String::new(),
                value: None,
                reason: format!("not TOML at column {column}: {}", error.message()),
                origin: walk.origin(start),
            });
            return None;
        }
    }
    // Tables come in the order of their names; people read the file from the top.
    walk.problems.sort_by(|one, other| one.origin.cmp(&other.origin));
    problems.append(&mut walk.problems);
    Some((walk.layer, walk.profiles))
}

/// A walk through the tables of a file.
struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    layer: Layer,
    profiles: Profiles,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                section => format!("{section}.{}", name.get_ref()),
            };
            let origin = self.origin(name.span().start);
            self.entry(&key, value, origin);
        }
    }

    /// The tables `[profile.NAME]`, which are no keys but a form of their own.
    fn profiles(&mut self, tables: &DeTable<'_>) {
        for (name, value) in tables {
            let offset = name.span().start;
            let name = name.get_ref().as_ref();
            let added = profile::read(name, offset, value.get_ref()).and_then(|profile| {
                let reason = "this profile is built in; choose another name".to_owned();
                let taken = Fault { key: format!("profile.{name}"), offset, value: None, reason };
                if self.profiles.add(profile) { Ok(()) } else { Err(vec![taken]) }
            });
            for Fault { key, offset, value, reason } in added.err().unwrap_or_default() {
                let origin = self.origin(offset);
                self.problems.push(Problem { key, value, reason, origin });
            }
        }
    }

    fn entry(&mut self, key: &str, value: &Spanned<DeValue<'_>>, origin: Origin) {
        let value = value.get_ref();
        let mut refuse = |reason: String| {
            let (key, value) = (key.to_owned(), None);
            self.problems.push(Problem { key, value, reason, origin: origin.clone() });
        };
        match (keys::find(key), value) {
            (Some(known), value) => match kind(value) {
                Ok(kind) => self.layer.add(known.name, kind, origin),
                Err(reason) => refuse(reason),
            },
            (None, DeValue::Table(tables)) if key == PROFILES => self.profiles(tables),
            (None, _) if key == PROFILES => {
                refuse("write [profile.NAME] and its keys below".into())
            }
            (None, DeValue::Table(table)) if keys::is_section(key) => self.table(key, table),
            (None, _) if keys::is_section(key) => {
                refuse(format!("a section, not a value; write [{key}] and its keys below"));
            }
            (None, value) => {
                let shown = kind(value).ok().map(|kind| values::shown(&kind));
                self.problems.push(unknown(key, shown, origin, keys::nearest(key)));
            }
        }
    }
}

/// What the `config` crate makes of a TOML value, without tables.
fn kind(value: &DeValue<'_>) -> Result<ValueKind, String> {
    const TOO_LARGE: &str = "the number is too large";
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| TOO_LARGE)?.into()
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_err(|_| TOO_LARGE)?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| Ok(Value::new(None, kind(item.get_ref())?)));
            ValueKind::Array(items.collect::<Result<_, String>>()?)
        }
        DeValue::Table(_) => return Err("a table is not expected here".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Layer>, Vec<String>) {
        let mut problems = Vec::new();
        let read = parse(Path::new("/c.toml"), text, &mut problems);
        (read.map(|(layer, _)| layer), problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_file_that_is_no_toml_is_one_problem_with_line_and_column() {
        let (layer, lines) = parsed("[admin]\ntoken = hunter2\n");
        assert!(layer.is_none() && lines.len() == 1, "{lines:?}");
        assert!(lines[0].starts_with("/c.toml line 2: not TOML at column 9: "), "{lines:?}");
        assert!(!lines[0].contains("hunter2"), "{lines:?}");
    }

    #[test]
    fn numbers_too_large_for_any_key_are_one_problem() {
        let (_, lines) = parsed("database.pool_size = 99999999999999999999999");
        assert!(lines.len() == 1 && lines[0].contains("too large"), "{lines:?}");
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let (layer, lines) = parsed("z = 1\n[delivery]\nb = 2\na = 3\n[admin]\nc = 4\n");
        let keys: Vec<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(keys, ["z", "delivery.b", "delivery.a", "admin.c"]);
        assert!(layer.is_some());
    }

    #[test]
    fn no_text_whatever_makes_the_parser_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        let alphabet: Vec<char> = "delivery.timeout=[]{}'\"\n\r#,1é\\ ".chars().collect();
        for _ in 0..20_000 {
            let letters = (0..random.usize(0..30)).filter_map(|_| random.choice(&alphabet));
            parsed(&letters.collect::<String>());
        }
    }
}
