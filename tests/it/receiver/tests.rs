//! The receiver itself does as scripted.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Receiver, Reply};

const OK: &str = "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n";
const MOMENT: Duration = Duration::from_millis(5);

/// A client that sees the bytes and the end of the connection.
struct Client(TcpStream);

impl Client {
    async fn connect(receiver: &Receiver) -> Self {
        Self(TcpStream::connect(receiver.addr()).await.expect("a connection"))
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.expect("a write");
    }

    async fn post(&mut self, path: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nWebhook-Id: {path}\r\n");
        self.send(&format!("{head}Content-Length: 2\r\n\r\n{{}}")).await;
    }

    async fn expect(&mut self, answer: &str) {
        let mut bytes = vec![0; answer.len()];
        self.0.read_exact(&mut bytes).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&bytes), answer);
    }

    async fn expect_end(&mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await.expect("an orderly end");
        assert_eq!(rest, "");
    }

    async fn expect_reset(&mut self) {
        let error = self.0.read(&mut [0]).await.expect_err("no answer and no orderly end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// A receiver with one script for all paths, and a client that has posted to `/a`.
async fn posted(reply: Reply) -> (Receiver, Client) {
    let receiver = Receiver::start();
    receiver.otherwise(reply);
    let mut client = Client::connect(&receiver).await;
    client.post("/a").await;
    (receiver, client)
}

#[tokio::test]
async fn it_records_all_of_a_request_even_in_pieces() {
    let receiver = Receiver::start();
    let mut client = Client::connect(&receiver).await;
    client.send("PUT /a?b=c HTTP/1.1\r\nX-One:  1 \r\nContent-").await;
    tokio::task::yield_now().await;
    client.send("Length: 5\r\n\r\nhe").await;
    tokio::task::yield_now().await;
    assert!(receiver.requests().is_empty());
    client.send("llo").await;
    client.expect(OK).await;

    let [request] = &receiver.wait_for(1).await[..] else {
        panic!("more than one request");
    };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/a?b=c"));
    assert_eq!(request.header("x-one"), Some("1"));
    assert_eq!(request.header("x-two"), None);
    assert_eq!(request.body, "hello");
    assert!(request.at <= Instant::now());
}

#[tokio::test]
async fn connections_are_kept_alive_and_numbered() {
    let receiver = Receiver::start();
    assert_eq!(receiver.url("/a"), format!("http://{}/a", receiver.addr()));
    let mut first = Client::connect(&receiver).await;
    for path in ["/a", "/b"] {
        first.post(path).await;
        first.expect(OK).await;
    }
    let mut second = Client::connect(&receiver).await;
    receiver.wait_connections(2).await;
    second.post("/c").await;
    let requests = receiver.wait_until(|all| all.iter().any(|it| it.path == "/c")).await;
    let connections: Vec<_> = requests.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
    assert_eq!(receiver.ids(), ["/a", "/b", "/c"]);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn replies_follow_the_script_of_the_path_and_the_last_repeats() {
    let receiver = Receiver::start();
    receiver.on("/a", [Reply::status(500), Reply::status(204)]);
    receiver.otherwise(vec![Reply::status(404).header("x", "y").body("no")]);
    let mut client = Client::connect(&receiver).await;
    for (path, answer) in [
        ("/a", "HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"),
        ("/b", "HTTP/1.1 404 \r\nx: y\r\ncontent-length: 2\r\n\r\nno"),
        ("/a?b", "HTTP/1.1 204 \r\n\r\n"),
        ("/a", "HTTP/1.1 204 \r\n\r\n"),
    ] {
        client.post(path).await;
        client.expect(answer).await;
    }
}

#[tokio::test]
async fn connections_end_announced_silently_or_as_the_client_asks() {
    let (_receiver, mut client) = posted(Reply::status(200).close()).await;
    let announced = "HTTP/1.1 200 \r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    client.expect(announced).await;
    client.expect_end().await;

    let silently = Reply::status(200).close_after_reply_silently();
    let (receiver, mut client) = posted(silently).await;
    client.expect(OK).await;
    client.expect_end().await;

    receiver.otherwise(Reply::status(200));
    let mut client = Client::connect(&receiver).await;
    client.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    client.expect(OK).await;
    client.expect_end().await;
}

#[tokio::test]
async fn resets_come_after_the_request_or_before_it_is_complete() {
    let (receiver, mut client) = posted(Reply::reset()).await;
    client.expect_reset().await;
    assert_eq!(receiver.requests().len(), 1);
    receiver.wait_in_flight(0).await;

    receiver.otherwise(Reply::reset_before_reading());
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await;
    client.expect_reset().await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_hanging_request_is_in_flight_until_its_client_leaves() {
    let (receiver, client) = posted(Reply::hang()).await;
    receiver.wait_for(1).await;
    assert_eq!(receiver.in_flight(), 1);
    drop(client);
    receiver.wait_in_flight(0).await;
}

#[tokio::test]
async fn a_gate_lets_through_as_many_as_released() {
    let receiver = Receiver::start();
    let gate = receiver.gate();
    receiver.on("/a", Reply::hold(&gate));
    receiver.on("/b", Reply::status(200).held_by(&gate));
    let mut clients = [Client::connect(&receiver).await, Client::connect(&receiver).await];
    clients[0].post("/a").await;
    clients[1].post("/b").await;
    receiver.wait_in_flight(2).await;
    gate.release(1);
    receiver.wait_in_flight(1).await;
    gate.open();
    for client in &mut clients {
        client.expect(OK).await;
        client.post("/a").await;
        client.expect(OK).await;
    }
    assert_eq!((receiver.in_flight(), receiver.peak_in_flight()), (0, 2));
}

#[tokio::test]
async fn answers_are_as_slow_as_scripted() {
    for (reply, at_least, answer) in [
        (Reply::status(200).delay(5 * MOMENT), 5 * MOMENT, OK),
        (Reply::drip(MOMENT, 10), 3 * MOMENT, OK),
    ] {
        let started = Instant::now();
        let (_receiver, mut client) = posted(reply).await;
        client.expect(answer).await;
        assert!(started.elapsed() >= at_least);
    }
}

#[tokio::test]
async fn a_slow_body_follows_a_prompt_head() {
    let (receiver, mut client) = posted(Reply::slow_body(MOMENT, 16)).await;
    client.expect("HTTP/1.1 200 \r\ncontent-length: 64\r\n\r\n").await;
    let headed = Instant::now();
    assert_eq!(receiver.in_flight(), 1);
    client.expect(&".".repeat(64)).await;
    assert!(headed.elapsed() >= 2 * MOMENT);
    assert_eq!(receiver.in_flight(), 0);
}

#[tokio::test]
async fn an_endless_body_goes_on_until_its_client_leaves() {
    let (receiver, mut client) = posted(Reply::endless_body()).await;
    client.expect("HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..10_000 {
        client.expect("10\r\n................\r\n").await;
    }
    drop(client);
    receiver.wait_in_flight(0).await;
}

#[tokio::test]
async fn raw_bytes_are_written_as_they_are() {
    let (_receiver, mut client) = posted(Reply::raw("not HTTP\0")).await;
    client.expect("not HTTP\0").await;
    client.expect_end().await;
}

#[tokio::test]
async fn what_it_cannot_read_is_answered_with_the_reason() {
    let receiver = Receiver::start();
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = "HTTP/1.1 400 \r\nconnection: close\r\n\r\n";
    client.expect(&format!("{head}receiver: the body has no stated length")).await;
    client.expect_end().await;
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_stopped_receiver_refuses_until_another_takes_its_place() {
    let (receiver, mut client) = posted(Reply::hang()).await;
    receiver.wait_for(1).await;
    let addr = receiver.addr();
    receiver.stop().await;
    client.expect_end().await;
    let refused = TcpStream::connect(addr).await.expect_err("no listener");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let receiver = Receiver::start_on(addr);
    let mut client = Client::connect(&receiver).await;
    client.post("/a").await;
    client.expect(OK).await;
}
