//! What receivers see of us beyond the event, and what they cannot make us do.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use super::den::{Den, answers, deed, request, stay};
use super::tls;
use crate::harness::{self, Database, SECRET, TestDaemon};
use crate::receiver::{Receiver, Reply};
use crate::tls::Authority;
use outboxd::sign::{Secret, verify_standard};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_reply_asks_to_be_remembered_is() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let reply = Reply::status(401)
        .header("set-cookie", "session=1; Path=/")
        .header("www-authenticate", "Basic realm=\"x\"")
        .header("alt-svc", "h2=\":1\"; ma=86400")
        .header("strict-transport-security", "max-age=31536000")
        .header("accept-encoding", "gzip");
    receiver.otherwise([reply, Reply::status(200)]);
    database.subscribe("one", &receiver.url("/")).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "10ms")]).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let requests = receiver.requests();
    let names = |n: usize| requests[n].headers.iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(requests.len(), 2);
    assert_eq!(names(0), names(1));
    for name in ["cookie", "authorization", "accept-encoding", "upgrade", "expect", "te"] {
        assert_eq!(requests[1].header(name), None, "{name}");
    }
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_bytes_too_many_is_not_used_again() {
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 410 Gone\r\n\r\n";
    let (database, den) = (Database::new().await, Den::open(answers(twice)).await);
    database.subscribe("one", &format!("http://{}/", den.addr)).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    for _ in 0..5 {
        database.emit("a", "{}").await;
        database.wait_until_idle().await;
    }
    // The second reply belongs to no request.
    let ends = "SELECT string_agg(status, ' ') FROM outbox.deliveries";
    assert_eq!(database.text(ends).await, ["delivered"; 5].join(" "));
    assert_eq!(den.connections(), 5);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_offers_nothing_but_http_1_1_and_names_no_address() {
    let authority = Authority::new();
    let database = Database::new().await;
    let seen = Arc::new(Mutex::new(Vec::<(Option<String>, bool)>::new()));
    let log = seen.clone();
    let spy = deed(move |mut stream| {
        let log = log.clone();
        async move {
            let (name, h2) = tls::hello_of(&mut stream).await?;
            log.lock().expect("no panic").push((name, h2));
            stream.shutdown().await?;
            stay(&mut stream).await
        }
    });
    let den = Den::open(spy).await;
    for (name, host) in [("named", "localhost"), ("literal", "127.0.0.1")] {
        database.subscribe(name, &format!("https://{host}:{}/", den.addr.port())).await;
    }
    let settings = [
        ("delivery.ca_file", authority.path()),
        ("delivery.allow", "127.0.0.0/8 [::1]/128"),
        ("delivery.retry", "none"),
    ];
    let daemon = TestDaemon::start_with(&database.url, &settings).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort();
    assert_eq!(seen, [(None, false), (Some("localhost".to_owned()), false)]);
    daemon.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_not_used() {
    let (database, receiver) = (Database::new().await, Receiver::start());
    let proxy = Receiver::start();
    database.subscribe("one", &receiver.url("/")).await;
    let mut command = harness::outboxd(&database.url, &[("log.level", "error")]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url(""));
    }
    let mut daemon = command.arg("run").stdout(Stdio::null()).spawn().expect("a process");
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    daemon.kill().expect("a running process");
    daemon.wait().expect("its end");
    assert_eq!((receiver.requests().len(), proxy.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_clock_is_wrong_refuses_as_any_other() {
    let database = Database::new().await;
    let strict = deed(|mut stream| async move {
        let seen = request(&mut stream).await?;
        let text = String::from_utf8_lossy(&seen).into_owned();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        let secrets = [Secret::parse(SECRET).expect("the secret of the tests")];
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs().cast_signed() - 600;
        let (id, sent) = (of("webhook-id: "), of("webhook-timestamp: "));
        let signature = of("webhook-signature: ");
        let judged = verify_standard(&secrets, &id, &sent, &signature, body.as_bytes(), now, 300);
        let said = judged.expect_err("ten minutes are too many").to_string();
        let reply = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n{said}", said.len());
        stream.write_all(reply.as_bytes()).await
    });
    let den = Den::open(strict).await;
    database.subscribe("one", &format!("http://{}/", den.addr)).await;
    let daemon = TestDaemon::start_with(&database.url, &[("delivery.retry", "none")]).await;
    database.emit("a", "{}").await;
    database.wait_until_idle().await;
    let kept = "SELECT outcome || ': ' || convert_from(response_body, 'UTF8') FROM outbox.attempts";
    let kept = database.text(kept).await;
    assert!(kept.starts_with("http_4xx: the timestamp is too new"), "{kept}");
    daemon.stop().await.expect("an orderly end");
}
