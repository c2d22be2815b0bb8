//! Templates: text with `{{fields}}`, in bodies, in header values and in what is signed.
//!
//! A field stands between double braces, which JSON itself never has next to each other.

use super::escape::Escape;
use super::field::{Field, Site};
use super::{Sending, payload};
use Field::*;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Opening braces without closing ones.
    #[error("a field is opened with {{{{ and not closed with }}}}")]
    Open,
    /// No field has this name, or it makes no sense here.
    #[error("{{{{{name}}}}} is not a field that can stand here; there are {known}")]
    Unknown {
        /// As written.
        name: String,
        /// Those that can.
        known: String,
    },
    /// A field that changes from attempt to attempt, in a body.
    #[error(
        "{{{{{0}}}}} changes with every attempt, and a body is the same on all of them; put it into \
         a header"
    )]
    Changing(String),
    /// The field without which the template has no use is missing.
    #[error("it has to contain {0}")]
    Missing(Field),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands.
    Text(String),
    /// The value of a field.
    Field(Field),
    /// The members of the payload, and whether a comma joins them to what is around: it goes
    /// where there are no members.
    Members { comma_before: bool, comma_after: bool },
}

/// A text with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// Where the fields get their values from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The attempt.
    pub sending: Sending<'a>,
    /// The body, once there is one.
    pub body: &'a [u8],
}

/// The payload is not what a template needs: it is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

impl Template {
    /// Reads a template for its place.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(source: &str, site: Site) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(start) = rest.find("{{") {
            // Of three braces the first is an ordinary one, as in {{{members}}}.
            let start = if rest[start..].starts_with("{{{") { start + 1 } else { start };
            text.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let end = inner.find("}}").ok_or(TemplateError::Open)?;
            let field = field(inner[..end].trim(), site)?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Field(field));
            rest = &inner[end + 2..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts: join_members(parts) })
    }

    /// Reads a template that makes no sense without a certain field.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn with(source: &str, site: Site, needed: Field) -> Result<Self, TemplateError> {
        let template = Self::parse(source, site)?;
        if template.has(needed) { Ok(template) } else { Err(TemplateError::Missing(needed)) }
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has this field.
    pub fn has(&self, field: Field) -> bool {
        self.fields().any(|found| found == field)
    }

    /// Whether it is this field and nothing else.
    pub fn is_only(&self, field: Field) -> bool {
        matches!(self.parts[..], [Part::Field(found)] if found == field)
    }

    /// The fields it has, in order.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(*field),
            Part::Members { .. } => Some(Members),
            Part::Text(_) => None,
        })
    }

    /// Appends the text with its fields filled in.
    ///
    /// # Errors
    /// When the payload has to be an object and is none.
    pub fn render(
        &self,
        context: &Context<'_>,
        escape: Escape,
        out: &mut Vec<u8>,
    ) -> Result<(), NotAnObject> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(field) => context.write(*field, escape, out),
                Part::Members { comma_before, comma_after } => {
                    let members = payload::members(context.sending.payload).ok_or(NotAnObject)?;
                    let Some(members) = members else { continue };
                    if *comma_before {
                        out.push(b',');
                    }
                    out.extend_from_slice(members);
                    if *comma_after {
                        out.push(b',');
                    }
                }
            }
        }
        Ok(())
    }

    /// The text of a template that has no fields.
    pub fn plain(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text of a template that needs nothing of the payload's shape. Signatures are
    /// written by `sign`, in place.
    pub fn fill(
        &self,
        context: &Context<'_>,
        out: &mut Vec<u8>,
        mut sign: impl FnMut(&mut Vec<u8>),
    ) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(Signature | Signatures) => sign(out),
                Part::Field(field) => context.write(*field, Escape::None, out),
                // Only bodies may hold members.
                Part::Members { .. } => {}
            }
        }
    }

    /// Hands out the filled-in text piece by piece, large pieces without a copy.
    pub fn pieces(&self, context: &Context<'_>, mut take: impl FnMut(&[u8])) {
        let mut small = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => take(text.as_bytes()),
                Part::Field(Body) => take(context.body),
                Part::Field(Payload) => take(context.sending.payload),
                Part::Field(Id) => take(context.sending.event.id.as_bytes()),
                Part::Field(field) => {
                    small.clear();
                    context.write(*field, Escape::None, &mut small);
                    take(&small);
                }
                Part::Members { .. } => {}
            }
        }
    }
}

impl Context<'_> {
    fn write(&self, field: Field, escape: Escape, out: &mut Vec<u8>) {
        let Sending { event, payload, url, attempt_ms } = self.sending;
        let tenant = event.tenant.as_deref();
        let created_ms = event.created_us.div_euclid(1000);
        match field {
            Id => escape.write(event.id.as_bytes(), out),
            Type => escape.write(event.event_type.as_bytes(), out),
            Tenant => escape.write(tenant.unwrap_or_default().as_bytes(), out),
            TenantJson => match tenant {
                Some(tenant) => {
                    out.push(b'"');
                    Escape::Json.write(tenant.as_bytes(), out);
                    out.push(b'"');
                }
                None => out.extend_from_slice(b"null"),
            },
            Live => out.extend_from_slice(if event.live { b"true" } else { b"false" }),
            CreatedUnix => write_number(created_ms.div_euclid(1000), out),
            CreatedUnixMs => write_number(created_ms, out),
            CreatedRfc3339 => escape.write(rfc3339(created_ms).as_bytes(), out),
            AttemptUnix => write_number(attempt_ms.div_euclid(1000), out),
            AttemptUnixMs => write_number(attempt_ms, out),
            AttemptRfc3339 => escape.write(rfc3339(attempt_ms).as_bytes(), out),
            Payload => escape.write_payload(payload, out),
            Body => out.extend_from_slice(self.body),
            Url => escape.write(url.as_bytes(), out),
            // Written where they are made.
            Members | Signature | Signatures => {}
        }
    }
}

fn write_number(number: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    write!(out, "{number}").ok();
}

/// RFC 3339 in UTC with milliseconds, `2024-01-20T14:30:00.123Z`. Out of the years 1970 to 9999,
/// which the database does not admit, it is the epoch.
fn rfc3339(unix_ms: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    format!("{timestamp:.3}")
}

fn field(name: &str, site: Site) -> Result<Field, TemplateError> {
    match Field::named(name) {
        Some((field, sites)) if sites.contains(&site) => Ok(field),
        Some((field, _)) if field.changes() && site == Site::Body => {
            Err(TemplateError::Changing(name.to_owned()))
        }
        _ => {
            let known: Vec<String> = site.fields().map(|field| field.to_string()).collect();
            Err(TemplateError::Unknown { name: name.to_owned(), known: known.join(", ") })
        }
    }
}

/// Takes the commas around `{{members}}` out of the text: they belong to the members.
fn join_members(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        if part != Part::Field(Members) {
            joined.push(part);
            continue;
        }
        let comma_before = match joined.last_mut() {
            Some(Part::Text(text)) if text.ends_with(',') => text.pop().is_some(),
            _ => false,
        };
        let comma_after = match parts.peek_mut() {
            Some(Part::Text(text)) if !comma_before && text.starts_with(',') => {
                text.remove(0) == ','
            }
            _ => false,
        };
        joined.push(Part::Members { comma_before, comma_after });
    }
    joined
}
