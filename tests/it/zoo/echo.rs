//! Receivers whose reply is dangerous to keep, to show or to read.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::den::{Den, answers, deed, request};
use crate::harness::{self, Database, SECRET, TestDaemon};

const TOKEN: &str = "Bearer 8f14e45fceea167a5a36dedd4bea2543";

/// Repeats the request in the body, and its credentials in the headers; and knows the secret.
fn echo() -> super::den::Deed {
    deed(|mut stream| async move {
        loop {
            let seen = request(&mut stream).await?;
            let text = String::from_utf8_lossy(&seen).into_owned();
            let of = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            let (signature, token) = (of("webhook-signature: "), of("authorization: "));
            let escaped = signature.replace('/', "\\/");
            let bare = SECRET.trim_start_matches("whsec_");
            let body =
                format!("{{\"s\":\"{escaped}\",\"k\":\"{SECRET}\",\"b\":\"{bare}\"}}\n{text}");
            // Where the record ends there are secrets, and half of one where reading does.
            let filler = ".".repeat(4096_usize.saturating_sub(body.len() + 20));
            let body = format!("{body}{filler}{}", SECRET.repeat(20));
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: /?t={token}&s={signature}\r\nx-echo: {token}\r\n\
                 x-secret: {SECRET}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_repeats_of_our_secrets_is_not_kept() {
    let (database, den) = (Database::new().await, Den::open(echo()).await);
    database.subscribe("one", &format!("http://{}/", den.addr)).await;
    let headers = format!(r#"{{"authorization": "{TOKEN}"}}"#);
    database.execute(&format!("UPDATE outbox.endpoints SET headers = '{headers}'")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    database.emit("a", r#"{"word": "pineapple"}"#).await;
    database.wait_until_idle().await;
    let kept = "SELECT concat_ws(' ', error, response_headers::text, encode(response_body, 'escape')) \
                FROM outbox.attempts";
    let kept = database.text(kept).await;
    // The rest is there.
    assert!(kept.contains("pineapple") && kept.contains("webhook-id"), "{kept}");
    assert!(kept.matches("[redacted]").count() >= 8, "{kept}");
    let (token, secret) = (&TOKEN[7..], SECRET.trim_start_matches("whsec_"));
    // Of the secret at the cut not even the beginning.
    for part in [token, secret, &secret[..8]] {
        assert!(!kept.contains(part), "{part}: {kept}");
    }
    let signature = kept.split("v1,").nth(1).expect("where the signature was");
    assert!(signature.starts_with("[redacted]"), "{kept}");
    assert!(
        !kept.contains("v1,a")
            && kept.matches("v1,").count() == kept.matches("v1,[redacted]").count(),
        "{kept}"
    );
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_header_is_kept_escaped_or_is_no_http() {
    let database = Database::new().await;
    let mut dens = Vec::new();
    for byte in 0..=u8::MAX {
        let mut reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-odd: a".to_vec();
        reply.extend_from_slice(&[byte, b'b', b'\r', b'\n', b'\r', b'\n']);
        let den = Den::open(answers(reply)).await;
        let name = format!("byte-{byte}");
        database.subscribe(&name, &format!("http://{}/", den.addr)).await;
        dens.push(den);
    }
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let sql = "SELECT split_part(endpoint_name, '-', 2)::int, outcome, response_headers->>'x-odd' \
               FROM outbox.attempts JOIN outbox.deliveries USING (event_id, endpoint_id)";
    let rows = database.rows(sql, &[]).await;
    assert_eq!(rows.len(), 256);
    for row in rows {
        let byte = u8::try_from(row.get::<_, i32>(0)).expect("a byte");
        let (outcome, value): (String, Option<String>) = (row.get(1), row.get(2));
        let shown = match byte {
            // Within a value a tab is allowed; a line feed ends the line.
            b' '..=b'~' => format!("a{}b", char::from(byte)),
            b'\t' | 0x80.. => format!("a{}b", byte.escape_ascii()),
            _ => {
                assert_eq!((outcome.as_str(), value), ("protocol", None), "{byte}");
                continue;
            }
        };
        assert_eq!((outcome.as_str(), value), ("success", Some(shown)), "{byte}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_steers_a_terminal_or_a_browser_gets_through() {
    let body: Arc<str> =
        "\x1b]0;owned\x07\x1b[2J\u{202e}<script>alert(1)</script>\0\u{9b}31m".into();
    let reply = format!(
        "HTTP/1.1 500 No\r\nx-a: \u{9b}31m<script>\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (database, den) = (Database::new().await, Den::open(answers(reply)).await);
    database.subscribe("one", &format!("http://{}/", den.addr)).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    let event = database.emit("a", "{}").await;
    database.wait_until_idle().await;
    for format in [&["--body"][..], &["--body", "--json"]] {
        let mut command = harness::outboxd(&database.url, &[]);
        let output = command.args(["deliveries", "show", &event, "one"]).args(format).output();
        let shown = String::from_utf8(output.expect("it runs").stdout).expect("a text");
        assert!(shown.contains("script"), "{shown}");
        let steers = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(shown.chars().find(steers), None, "{shown:?}");
        if format.contains(&"--json") {
            let shown: Value = serde_json::from_str(&shown).expect("JSON");
            let text = shown["attempt_list"][0]["response_body"].as_str().expect("a body");
            assert_eq!(text, &*body);
        }
    }
    daemon.stop().await.expect("an orderly end");
}
