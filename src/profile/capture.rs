//! Templates read backwards: the values of the fields in a text that a template has made.

use super::field::Field;
use super::template::{Part, Template};

/// How many ways to read a text are tried. Texts of real templates need a few dozen.
const MOST_STEPS: usize = 10_000;

impl Template {
    /// The values of the fields in a text that this template made; `None` when it did not. Where
    /// there are several ways to read it, earlier fields are as long as can be.
    pub fn capture<'a>(&self, text: &'a str) -> Option<Vec<(Field, &'a str)>> {
        let mut reading = Reading { found: Vec::new(), steps: 0 };
        reading.read(self.parts(), text).then_some(reading.found)
    }
}

struct Reading<'a> {
    found: Vec<(Field, &'a str)>,
    steps: usize,
}

impl<'a> Reading<'a> {
    fn read(&mut self, parts: &[Part], text: &'a str) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return false;
        }
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::Text(literal), rest)) => {
                text.strip_prefix(literal.as_str()).is_some_and(|behind| self.read(rest, behind))
            }
            Some((Part::Field(field), rest)) => {
                let ends = (0..=text.len()).rev().filter(|end| text.is_char_boundary(*end));
                for end in ends {
                    if !is_plausible(*field, &text[..end]) || !begins(rest, &text[end..]) {
                        continue;
                    }
                    self.found.push((*field, &text[..end]));
                    if self.read(rest, &text[end..]) {
                        return true;
                    }
                    self.found.pop();
                }
                false
            }
            Some((Part::Members { .. }, _)) => false,
        }
    }
}

/// Whether what follows a field could be these parts.
fn begins(parts: &[Part], text: &str) -> bool {
    match parts.first() {
        None => text.is_empty(),
        Some(Part::Text(literal)) => text.starts_with(literal.as_str()),
        Some(_) => true,
    }
}

fn is_plausible(field: Field, text: &str) -> bool {
    match field {
        Field::Live => ["true", "false"].contains(&text),
        Field::CreatedUnix | Field::CreatedUnixMs | Field::AttemptUnix | Field::AttemptUnixMs => {
            text.parse::<i64>().is_ok()
        }
        Field::CreatedRfc3339 | Field::AttemptRfc3339 => {
            text.len() == "2024-01-20T14:30:00.123Z".len() && text.ends_with('Z')
        }
        Field::Type => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        }
        Field::Tenant => true,
        _ => !text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::field::Site;

    fn captured(template: &str, text: &str) -> Option<Vec<String>> {
        let template = Template::parse(template, Site::Value).expect("a template");
        let found = template.capture(text)?;
        Some(found.into_iter().map(|(_, value)| value.to_owned()).collect())
    }

    #[test]
    fn a_text_is_read_as_it_was_made() {
        for (template, text, expected) in [
            ("t={{attempt.unix}},{{signatures}}", "t=17,v1=a,v1=b", &["17", "v1=a,v1=b"][..]),
            ("{{type}}.{{signatures}}", "conv.created.ab12", &["conv.created", "ab12"]),
            ("{{attempt.unix}}{{signatures}}", "1705761007=ab", &["1705761007", "=ab"]),
            (
                "{{attempt.rfc3339}}{{signatures}}",
                "2024-01-20T14:30:00.123Zab",
                &["2024-01-20T14:30:00.123Z", "ab"],
            ),
            ("{{signatures}}", "v1,a v1,b", &["v1,a v1,b"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(captured(template, text), Some(expected), "{template}");
        }
    }

    #[test]
    fn a_text_of_something_else_is_not_read() {
        for text in ["", "t=x,a", "17,a", "t=17,", "t=17", "t=17,a\u{e9}\u{301}x;"] {
            assert_eq!(
                captured("t={{attempt.unix}},{{signatures}};", text).is_some(),
                text.ends_with(';')
            );
        }
        let long = "a".repeat(4_000);
        assert_eq!(captured("{{id}}{{id}}{{id}}{{signatures}}!", &long), None);
    }
}
