//! From the value of a layer to the type that a key wants, and back to text.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;

use super::{Listen, LogFormat, Validate, duration, size};

/// What stands for an unset key or an empty list wherever values are shown.
pub(super) const NONE: &str = "none";

/// A value longer than this is cut where a problem shows it.
const SHOWN_CHARACTERS: usize = 120;
/// The longest path of a unix socket that Linux takes, in bytes.
const SOCKET_PATH_BYTES: usize = 107;

/// The value as TOML would write it, cut to a length a line can bear.
pub(super) fn shown(value: &ValueKind) -> String {
    let text = match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A text that is not empty.
pub(super) fn text(value: &ValueKind) -> Result<&str, String> {
    match value {
        ValueKind::String(text) if text.trim().is_empty() => {
            Err("empty; leave the key out to have none".to_owned())
        }
        ValueKind::String(text) => Ok(text.trim()),
        _ => Err("not a text; write it in quotes".to_owned()),
    }
}

/// The path of a file.
pub(super) fn path(value: &ValueKind) -> Result<PathBuf, String> {
    text(value).map(PathBuf::from)
}

/// A duration within bounds.
pub(super) fn bounded_duration(
    value: &ValueKind,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let duration = match value {
        ValueKind::String(text) => duration::parse(text)?,
        ValueKind::I64(_) | ValueKind::Float(_) => {
            return Err("a duration needs a unit; write a unit, for example \"15s\"".to_owned());
        }
        _ => return Err("not a duration; write it like \"15s\", \"5m\" or \"1h 30m\"".to_owned()),
    };
    within(duration, bounds, |bound| duration::short(*bound))
}

/// A number of bytes within bounds.
pub(super) fn bounded_size(value: &ValueKind, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let size = match value {
        ValueKind::String(text) => size::parse(text)?,
        ValueKind::I64(_) | ValueKind::Float(_) => {
            return Err("a size needs a unit; write a unit, for example \"20GiB\"".to_owned());
        }
        _ => return Err("not a size; write it like \"512MiB\" or \"20GiB\"".to_owned()),
    };
    within(size, bounds, |bound| size::short(*bound))
}

/// A whole number within bounds.
pub(super) fn count(value: &ValueKind, bounds: &RangeInclusive<usize>) -> Result<usize, String> {
    const NOT_A_NUMBER: &str = "not a whole number";
    let number = match value {
        ValueKind::I64(number) => i128::from(*number),
        ValueKind::String(text) => text.trim().parse().map_err(|_| NOT_A_NUMBER)?,
        _ => return Err(NOT_A_NUMBER.to_owned()),
    };
    // What does not fit the type is out of bounds at the same end.
    let number =
        usize::try_from(number).unwrap_or(if number < 0 { usize::MIN } else { usize::MAX });
    within(number, bounds, usize::to_string)
}

/// A factor above zero, up to `most`.
pub(super) fn factor(value: &ValueKind, most: f64) -> Result<f64, String> {
    const NOT_A_NUMBER: &str = "not a number";
    let number = match value {
        ValueKind::Float(number) => *number,
        ValueKind::I64(number) => number.to_string().parse().map_err(|_| NOT_A_NUMBER)?,
        ValueKind::String(text) => text.trim().parse().map_err(|_| NOT_A_NUMBER)?,
        _ => return Err(NOT_A_NUMBER.to_owned()),
    };
    if number > 0.0 && number <= most {
        Ok(number)
    } else {
        Err(format!("must be more than 0 and {most} at most"))
    }
}

/// Yes or no.
pub(super) fn switch(value: &ValueKind) -> Result<bool, String> {
    match value {
        ValueKind::Boolean(value) => Ok(*value),
        ValueKind::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("write true or false".to_owned()),
        },
        _ => Err("write true or false".to_owned()),
    }
}

/// The items of an array of texts, or of one text between separators.
pub(super) fn list<'a>(value: &'a ValueKind, separators: &str) -> Result<Vec<&'a str>, String> {
    match value {
        ValueKind::String(text) => Ok(text
            .split(|letter: char| letter.is_whitespace() || separators.contains(letter))
            .filter(|item| !item.is_empty())
            .collect()),
        ValueKind::Array(items) => items.iter().map(|item| self::text(&item.kind)).collect(),
        _ => Err("not a list; write [\"...\", \"...\"]".to_owned()),
    }
}

/// Where to listen: `off`, the path of a socket, or an IP address and port.
pub(super) fn listen(value: &ValueKind) -> Result<Listen, String> {
    let text = text(value)?;
    if text == "off" {
        return Ok(Listen::Off);
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') {
        if path.len() > SOCKET_PATH_BYTES {
            return Err(format!("the path of a socket has {SOCKET_PATH_BYTES} bytes at most"));
        }
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    // Names are not resolved here; this one needs no resolver.
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address.parse::<SocketAddr>().map(Listen::Tcp).map_err(|_| {
        "write an IP address and port such as 127.0.0.1:9464 or [::1]:9464, \
         the path of a unix socket, or off"
            .to_owned()
    })
}

/// Names of hosts, or IP addresses, as a Host header has them before the port; in lower case.
pub(super) fn hosts(value: &ValueKind) -> Result<Vec<String>, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host = |text: &str| {
        let ok = text.bytes().all(fits) || text.parse::<std::net::Ipv6Addr>().is_ok();
        let bad = "write host names or IP addresses, without scheme, port or path";
        if ok { Ok(text.to_lowercase()) } else { Err(bad.to_owned()) }
    };
    list(value, ",")?.into_iter().map(host).collect()
}

/// How log lines look.
pub(super) fn log_format(value: &ValueKind) -> Result<LogFormat, String> {
    match text(value)? {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "journald" => Ok(LogFormat::Journald),
        _ => Err("write auto, text, json or journald".to_owned()),
    }
}

/// What becomes of events that do not match.
pub(super) fn validate(value: &ValueKind) -> Result<Validate, String> {
    match text(value)? {
        "off" => Ok(Validate::Off),
        "warn" => Ok(Validate::Warn),
        "reject" => Ok(Validate::Reject),
        _ => Err("write off, warn or reject".to_owned()),
    }
}

/// Log directives: a level, or `target=level` items between commas.
///
/// tracing would take any lone word for a target, which turns a mistyped level into a silent
/// log; so a lone word must be a level.
pub(super) fn log_level(value: &ValueKind) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text(value)?;
    let is_level = |word: &str| LEVELS.contains(&word.to_lowercase().as_str());
    let fits = |directive: &str| match directive.trim().rsplit_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
        None => is_level(directive.trim()),
    };
    // Span filters hold commas and equals signs of their own; tracing judges them.
    if text.contains('[') || text.split(',').all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("write one of {}, or directives such as info,outboxd=debug", LEVELS.join(", ")))
    }
}

fn within<T: PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    write: impl Fn(&T) -> String,
) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be from {} to {}", write(bounds.start()), write(bounds.end())))
}
