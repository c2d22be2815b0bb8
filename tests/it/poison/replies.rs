//! Replies with every byte there is, in bodies and headers: recorded as they are, shown tame.

use std::process::Output;

use super::{flows, scene, wait_for_state};
use crate::harness::{self, Database};
use crate::receiver::Reply;

/// Bodies that text columns, JSON or terminals choke on.
fn odd_bodies() -> Vec<Vec<u8>> {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    vec![
        (0..=255).collect(),
        (0..4096).map(|_| fastrand::u8(..)).collect(),
        [b"\xfe\xff".to_vec(), utf16("{\"a\": \"\u{1f4a9}\"}")].concat(),
        br#"{"lone":"\ud800","nul":"\u0000","turned":"\udc00\ud800"}"#.to_vec(),
        b"\xed\xa0\x80\xed\xb0\x80 \xc0\x80 \xf8\x88\x80\x80\x80 \xff\xfe".to_vec(),
        b"\x1b[2J\x1b]0;owned\x07\x1b[31mred\r\n\x08\x7f\xc2\x9b31m".to_vec(),
        "\u{202e}\u{2066}gnp.exe\u{feff}\u{0}".as_bytes().to_vec(),
        b"<script>alert(1)</script>'; DROP TABLE outbox.events; --".to_vec(),
    ]
}

fn shown(database: &Database, args: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        harness::outboxd(&database.url, &[]).args(args).output().expect("it runs");
    assert_eq!(status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// That nothing in it steers a terminal, but for the ends of lines.
fn is_tame(text: &str) -> bool {
    text.chars().all(|character| character == '\n' || !character.is_control())
}

/// Waits until all of these attempts are in the database.
async fn wait_for_attempts(database: &Database, event_type: &str, count: usize) {
    let sql = format!(
        "SELECT count(*) FROM outbox.attempts a JOIN outbox.events e ON e.id = a.event_id \
         WHERE e.type = '{event_type}'"
    );
    database.wait_for(&sql, &count.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_byte_is_a_body_that_is_recorded_as_it_is() {
    let (database, receiver, daemon) = scene(&[]).await;
    let replies: Vec<Reply> = (0..=255_u8)
        .map(|byte| Reply::status(200 + u16::from(byte) % 3 * 100).body(vec![byte]))
        .collect();
    receiver.otherwise(replies);
    database.insert_many("byte", 256).await;
    wait_for_attempts(&database, "byte", 256).await;
    let all = "SELECT encode(string_agg(response_body, '' ORDER BY response_body), 'hex') FROM outbox.attempts \
               WHERE response_body IS NOT NULL";
    let expected: String = (0..=255_u8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(database.text(all).await, expected);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_text_are_recorded_as_they_are_and_shown_tame() {
    let (database, receiver, daemon) = scene(&[("delivery.retry", "none")]).await;
    for body in odd_bodies() {
        receiver.otherwise(Reply::status(500).body(body.clone()));
        let event = database.emit("odd", "{}").await;
        wait_for_state(&database, &event, "exhausted").await;
        let sql = "SELECT response_body FROM outbox.attempts WHERE event_id = $1";
        let recorded: Vec<u8> = database.rows(sql, &[&event]).await[0].get(0);
        assert_eq!(recorded, body);
        for format in [&["--body"][..], &["--body", "--json"]] {
            let text = shown(&database, &[&["deliveries", "show", &event, "one"], format].concat());
            assert!(is_tame(&text), "{text:?}");
        }
        assert!(is_tame(&shown(&database, &["events", "show", &event])));
    }
    receiver.otherwise(Reply::status(200));
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_in_a_header_is_recorded_or_ends_the_attempt_by_name() {
    let (database, receiver, daemon) = scene(&[("delivery.retry", "none")]).await;
    let reply = |byte: u8| {
        let mut raw =
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nx-odd: a".to_vec();
        raw.push(byte);
        raw.extend_from_slice(b"b\r\n\r\n");
        Reply::raw(raw)
    };
    receiver.otherwise((0..=255_u8).map(reply).collect::<Vec<_>>());
    database.insert_many("header", 256).await;
    wait_for_attempts(&database, "header", 256).await;
    // A value may hold tabs, spaces and what is printable or beyond ASCII (RFC 9110, 5.5).
    let outcomes = "SELECT string_agg(outcome || ' ' || count, ', ' ORDER BY outcome) FROM \
                    (SELECT outcome, count(*) FROM outbox.attempts a JOIN outbox.events e ON e.id = a.event_id \
                     WHERE e.type = 'header' GROUP BY 1) o";
    let outcomes = database.text(outcomes).await;
    assert!(OUTCOMES.contains(&outcomes.as_str()), "{outcomes}");
    let kept = "SELECT count(*) FROM outbox.attempts WHERE outcome = 'success' AND response_headers ->> 'x-odd' LIKE 'a%b'";
    assert!(database.text(kept).await.parse::<u32>().expect("a number") >= 224);
    let event = database.text("SELECT event_id FROM outbox.attempts WHERE response_headers::text ~ 'x9b|\\\\u009b|\u{9b}' LIMIT 1").await;
    assert!(is_tame(&shown(&database, &["deliveries", "show", &event, "one", "--json"])));
    receiver.otherwise(Reply::status(200));
    flows(&database, &receiver, &["/"]).await;
    daemon.stop().await.expect("an orderly end");
}

/// A line feed alone ends a line for a lenient reader, and the rest is then no header.
const OUTCOMES: [&str; 1] = ["protocol 32, success 224"];
