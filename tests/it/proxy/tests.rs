//! The proxy itself does what it says.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Cut, Proxy, Trap, Way};

/// Longer than anything takes that nothing holds up.
const MOMENT: Duration = Duration::from_millis(100);

/// A server that gives back what it gets, and ends when it is told.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                drop(to.shutdown().await);
            });
        }
    });
    addr
}

/// A proxy before an echo, and a connection through it that works.
async fn connected() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await);
    let mut client = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert_eq!(round_trip(&mut client, b"hello").await, b"hello");
    (proxy, client)
}

async fn round_trip(client: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    client.write_all(bytes).await.expect("a write");
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).await.expect("an answer");
    back
}

async fn expect_reset(client: &mut TcpStream) {
    let error = client.read(&mut [0]).await.expect_err("no bytes and no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn expect_silence(client: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(MOMENT, client.read(&mut byte)).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn it_forwards_counts_and_ends_in_order() {
    let (proxy, mut client) = connected().await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let (mut from, mut to) = client.split();
    let mut back = Vec::new();
    let write = async {
        to.write_all(&long).await.expect("a write");
        to.shutdown().await.expect("an end");
    };
    tokio::join!(write, async { from.read_to_end(&mut back).await.expect("an orderly end") });
    assert!(back == long);
    assert_eq!([proxy.passed(Way::Up), proxy.passed(Way::Down)], [1_000_005; 2]);
    drop(client);
    proxy.wait_open(0).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn it_delays_and_jitters_without_changing_the_order() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| {
        weather.up.delay = Duration::from_millis(60);
        weather.down.delay = Duration::from_millis(40);
        weather.down.jitter = Duration::from_millis(40);
    });
    let started = Instant::now();
    for n in 0..5_u8 {
        client.write_all(&[n]).await.expect("a write");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut back = [0; 5];
    client.read_exact(&mut back).await.expect("an answer");
    assert_eq!(back, [0, 1, 2, 3, 4]);
    let took = started.elapsed();
    // All of it is late, not one after the other.
    assert!((100..300).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn it_limits_the_speed() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.down.bytes_per_second = Some(100_000));
    let started = Instant::now();
    round_trip(&mut client, &[7; 20_000]).await;
    let took = started.elapsed();
    assert!((180..800).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn it_cuts_after_so_many_bytes() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.down.cut_after = Some(8));
    client.write_all(b"world").await.expect("a write");
    let mut back = [0; 3];
    client.read_exact(&mut back).await.expect("what came before the cut");
    assert_eq!(&back, b"wor");
    expect_reset(&mut client).await;
    let mut next = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert_eq!(round_trip(&mut next, b"again").await, b"again");
}

#[tokio::test]
async fn it_resets_what_is_open() {
    let (proxy, mut client) = connected().await;
    proxy.reset();
    expect_reset(&mut client).await;
    proxy.wait_open(0).await;
    let mut next = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert_eq!(round_trip(&mut next, b"again").await, b"again");
}

#[tokio::test]
async fn what_is_held_arrives_when_the_partition_ends() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.down.held = true);
    client.write_all(b"one").await.expect("a write");
    expect_silence(&mut client).await;
    assert_eq!(proxy.passed(Way::Up), 8, "only one way is held");
    let mut late = TcpStream::connect(proxy.addr()).await.expect("the kernel accepts");
    late.write_all(b"two").await.expect("a write");
    expect_silence(&mut late).await;
    proxy.heal();
    let mut back = [0; 3];
    client.read_exact(&mut back).await.expect("an answer");
    late.read_exact(&mut back).await.expect("an answer");
}

#[tokio::test]
async fn what_is_swallowed_never_arrives() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.up.swallowed = true);
    client.write_all(b"one").await.expect("a write");
    expect_silence(&mut client).await;
    proxy.heal();
    client.write_all(b"two").await.expect("a write");
    expect_silence(&mut client).await;
    assert_eq!(proxy.passed(Way::Up), 5);
    let mut next = TcpStream::connect(proxy.addr()).await.expect("a connection");
    assert_eq!(round_trip(&mut next, b"again").await, b"again");
}

#[tokio::test]
async fn one_way_ends_and_the_other_goes_on() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.down.ended = true);
    assert_eq!(client.read(&mut [0]).await.expect("an orderly end"), 0);
    client.write_all(b"world").await.expect("a write");
    while proxy.passed(Way::Up) < 10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn it_refuses_new_connections_and_keeps_the_old() {
    let (proxy, mut client) = connected().await;
    proxy.change(|weather| weather.refusing = true);
    let refused = async || {
        let tried = TcpStream::connect(proxy.addr()).await;
        tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    while !refused().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(round_trip(&mut client, b"still").await, b"still");
    proxy.heal();
    while refused().await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_trap_springs_once_where_its_texts_end() {
    for cut in [Cut::Before, Cut::After, Cut::Answer, Cut::Silence] {
        let (proxy, mut client) = connected().await;
        proxy.set_trap(Trap::new(&["BEGIN", "COMMIT"], cut));
        assert_eq!(round_trip(&mut client, b"COMMIT,BEG").await, b"COMMIT,BEG");
        // In pieces, and with something behind.
        assert_eq!(round_trip(&mut client, b"IN,COMM").await, b"IN,COMM");
        let mut other = TcpStream::connect(proxy.addr()).await.expect("a connection");
        assert_eq!(round_trip(&mut other, b"IN,COMMIT").await, b"IN,COMMIT");
        client.write_all(b"IT,END").await.expect("a write");
        proxy.wait_sprung(1).await;
        match cut {
            Cut::Silence => expect_silence(&mut client).await,
            _ => expect_reset(&mut client).await,
        }
        let before = 5 + 10 + 7 + 9;
        let expected = match cut {
            // Its beginning was no longer there to hold back.
            Cut::Before => before,
            Cut::After => before + 2,
            Cut::Answer | Cut::Silence => before + 6,
        };
        assert_eq!(proxy.passed(Way::Up), expected, "{cut:?}");
        assert_eq!(round_trip(&mut other, b"BEGIN,COMMIT").await, b"BEGIN,COMMIT");
    }
}
