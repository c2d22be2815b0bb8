//! The fields that templates can have, and where each makes sense. To add one, add it to [`Field`]
//! and [`FIELDS`], and an arm to `Context::write` in `template.rs`.

use std::fmt;

/// What a field is replaced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The event id.
    Id,
    /// The event type.
    Type,
    /// The tenant; nothing when the event has none.
    Tenant,
    /// The tenant as a JSON string, or `null`.
    TenantJson,
    /// `true` or `false`.
    Live,
    /// When the event happened, in unix seconds.
    CreatedUnix,
    /// The same in milliseconds.
    CreatedUnixMs,
    /// The same as RFC 3339 in UTC with milliseconds.
    CreatedRfc3339,
    /// The time of this attempt, in unix seconds.
    AttemptUnix,
    /// The same in milliseconds.
    AttemptUnixMs,
    /// The same as RFC 3339 in UTC with milliseconds.
    AttemptRfc3339,
    /// The payload, verbatim.
    Payload,
    /// The members of the payload, which has to be an object, verbatim and without its braces.
    Members,
    /// The body.
    Body,
    /// The endpoint's URL.
    Url,
    /// One signature.
    Signature,
    /// All signatures.
    Signatures,
}

/// Where a template stands, which decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The body: the same bytes on every attempt.
    Body,
    /// The value of a header that is no signature.
    Header,
    /// What a signature covers.
    Signed,
    /// One signature among others.
    Each,
    /// The value of a header of signatures.
    Value,
}

/// What an event is told apart by.
const IDENTITY: &[Site] = &[Site::Body, Site::Header, Site::Signed, Site::Value];
/// What else an event says.
const EVENT: &[Site] = &[Site::Body, Site::Header, Site::Signed];
/// What changes with every attempt.
const ATTEMPT: &[Site] = &[Site::Header, Site::Signed, Site::Value];

/// Every field with the name it is written under, and where it can stand.
pub const FIELDS: [(&str, Field, &[Site]); 17] = [
    ("id", Field::Id, IDENTITY),
    ("type", Field::Type, IDENTITY),
    ("tenant", Field::Tenant, EVENT),
    ("tenant.json", Field::TenantJson, &[Site::Body]),
    ("live", Field::Live, EVENT),
    ("created.unix", Field::CreatedUnix, EVENT),
    ("created.unix_ms", Field::CreatedUnixMs, EVENT),
    ("created.rfc3339", Field::CreatedRfc3339, EVENT),
    ("attempt.unix", Field::AttemptUnix, ATTEMPT),
    ("attempt.unix_ms", Field::AttemptUnixMs, ATTEMPT),
    ("attempt.rfc3339", Field::AttemptRfc3339, ATTEMPT),
    ("payload", Field::Payload, &[Site::Body, Site::Signed]),
    ("members", Field::Members, &[Site::Body]),
    ("body", Field::Body, &[Site::Signed]),
    ("url", Field::Url, &[Site::Signed]),
    ("signature", Field::Signature, &[Site::Each]),
    ("signatures", Field::Signatures, &[Site::Value]),
];

impl Field {
    /// The field of that name, with where it can stand.
    pub fn named(name: &str) -> Option<(Self, &'static [Site])> {
        FIELDS.iter().find(|(known, ..)| *known == name).map(|(_, field, sites)| (*field, *sites))
    }

    /// Whether it changes with every attempt.
    pub fn changes(self) -> bool {
        matches!(self, Self::AttemptUnix | Self::AttemptUnixMs | Self::AttemptRfc3339)
    }
}

impl Site {
    /// The fields that make sense here.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        FIELDS.iter().filter(move |(.., sites)| sites.contains(&self)).map(|(_, field, _)| *field)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FIELDS.iter().find(|(_, field, _)| field == self).map_or("", |(name, ..)| name);
        write!(out, "{{{{{name}}}}}")
    }
}
