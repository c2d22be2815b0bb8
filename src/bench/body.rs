//! What is sent: events of the size that was asked for.

use bytes::Bytes;

/// The type of every event.
pub const EVENT_TYPE: &str = "conversion.created";
/// What the profile `standard` puts around a payload.
const BEFORE: &str =
    r#"{"type":"conversion.created","timestamp":"2026-01-20T14:30:00.123Z","data":"#;
const AFTER: &str = "}";
/// The fields of a realistic event; what is missing to the size is filled into the last of them.
const FIELDS: &str = concat!(
    r#"{"conversion_id":"cnv_01a2012d7f11","order_id":"789","affiliate_id":"aff_678","#,
    r#""program":"spring","status":"pending","amount":85.50,"commission":12.83,"currency":"EUR","#,
    r#""clicked_at":"2026-01-20T14:02:11Z","referrer":"https://blog.example/deals","#,
    r#""note":""#
);
const END: &str = r#""}"#;

/// The smallest body there is.
pub const SMALLEST: usize = BEFORE.len() + 2 + AFTER.len();

/// A payload that becomes a body of this many bytes. The filling does not compress, as it would be
/// cheap to read back otherwise.
pub fn payload(body_bytes: usize) -> String {
    let bytes = body_bytes.saturating_sub(BEFORE.len() + AFTER.len());
    let filling = match bytes.checked_sub(FIELDS.len() + END.len()) {
        Some(filling) => filling,
        None if bytes < r#"{"n":""}"#.len() => return "{}".to_owned(),
        None => return format!(r#"{{"n":"{}"}}"#, text(bytes - r#"{"n":""}"#.len())),
    };
    format!("{FIELDS}{}{END}", text(filling))
}

/// The body of that payload as the daemon sends it.
pub fn body(body_bytes: usize) -> Bytes {
    format!("{BEFORE}{}{AFTER}", payload(body_bytes)).into()
}

/// The same letters and digits every time.
fn text(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect()
}

/// The id of an event: as long as a generated one, and its number can be read off.
pub fn id(number: u32) -> String {
    format!("evt_{number:022}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_size_asked_for_and_are_json() {
        for bytes in [200, 499, 2_000, 200_000] {
            let body = body(bytes);
            assert_eq!(body.len(), bytes);
            serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
        }
        assert_eq!(body(0).len(), SMALLEST);
    }
}
