//! The fields that templates can have, and where each makes sense. To add one, add it to [`Field`],
//! [`FIELDS`] and [`Site::fields`], and an arm to `Context::write` in `template.rs`.

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

use Field::*;

/// Every field with the name it is written under.
pub const FIELDS: [(&str, Field); 17] = [
    ("id", Id),
    ("type", Type),
    ("tenant", Tenant),
    ("tenant.json", TenantJson),
    ("live", Live),
    ("created.unix", CreatedUnix),
    ("created.unix_ms", CreatedUnixMs),
    ("created.rfc3339", CreatedRfc3339),
    ("attempt.unix", AttemptUnix),
    ("attempt.unix_ms", AttemptUnixMs),
    ("attempt.rfc3339", AttemptRfc3339),
    ("payload", Payload),
    ("members", Members),
    ("body", Body),
    ("url", Url),
    ("signature", Signature),
    ("signatures", Signatures),
];

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

impl Site {
    /// The fields that make sense here.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Body => &[
                Id,
                Type,
                Tenant,
                TenantJson,
                Live,
                CreatedUnix,
                CreatedUnixMs,
                CreatedRfc3339,
                Payload,
                Members,
            ],
            Self::Header => &[
                Id,
                Type,
                Tenant,
                Live,
                CreatedUnix,
                CreatedUnixMs,
                CreatedRfc3339,
                AttemptUnix,
                AttemptUnixMs,
                AttemptRfc3339,
            ],
            Self::Signed => &[
                Body,
                Id,
                Type,
                Tenant,
                Live,
                CreatedUnix,
                CreatedUnixMs,
                CreatedRfc3339,
                AttemptUnix,
                AttemptUnixMs,
                AttemptRfc3339,
                Payload,
                Url,
            ],
            Self::Each => &[Signature],
            Self::Value => &[Signatures, Id, Type, AttemptUnix, AttemptUnixMs, AttemptRfc3339],
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FIELDS.iter().find(|(_, field)| field == self).map_or("", |(name, _)| name);
        write!(out, "{{{{{name}}}}}")
    }
}
