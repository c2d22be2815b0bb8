//! Receivers whose certificate, handshake or encryption is not as it must be.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{Acceptor, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::server::TlsStream;

use super::den::{Deed, deed, drip, request, stay};
use super::row::{Row, row};
use crate::tls::Authority;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];
const NOT_TLS: &str = "is not TLS";
const NAMED: &str = "https://localhost";
const LITERAL: &str = "https://127.0.0.1";

fn pem(certificates: &str) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_slice_iter(certificates.as_bytes());
    read.collect::<Result<_, _>>().expect("certificates")
}

fn key_of(key: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key")
}

fn config(
    (chain, key): &(String, String),
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(pem(chain), key_of(key))
        .expect("a configuration")
}

/// One that wants a certificate of its clients, too.
fn demanding(
    authority: &Authority,
    own: &(String, String),
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    let file = std::fs::read_to_string(authority.path()).expect("an authority");
    roots.add(pem(&file).remove(0)).expect("a root");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(pem(&own.0), key_of(&own.1))
        .expect("a configuration")
}

/// Shakes hands and does this with the session.
fn session<F>(
    config: ServerConfig,
    act: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> Deed
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    deed(move |stream| {
        let (acceptor, act) = (acceptor.clone(), act.clone());
        async move { act(acceptor.accept(stream).await?).await }
    })
}

/// A well-behaved server with this configuration.
fn server(config: ServerConfig) -> Deed {
    session(config, |mut stream| async move {
        loop {
            request(&mut stream).await?;
            stream.write_all(OK).await?;
        }
    })
}

/// The first message of the client, which is shorter than what is read at once.
async fn hello(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut hello = vec![0; 4096];
    let length = stream.read(&mut hello).await?;
    hello.truncate(length);
    Ok(hello)
}

/// Which server the client names in its first message, and whether it offers HTTP/2.
pub async fn hello_of(stream: &mut TcpStream) -> io::Result<(Option<String>, bool)> {
    let hello = hello(stream).await?;
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &hello[..])?;
    let accepted = acceptor.accept().map_err(|_| io::ErrorKind::InvalidData)?;
    let accepted = accepted.ok_or(io::ErrorKind::UnexpectedEof)?;
    let read = accepted.client_hello();
    let mut offered = read.alpn().into_iter().flatten();
    Ok((read.server_name().map(str::to_owned), offered.any(|name| name != b"http/1.1")))
}

/// Reads the first message of the client and answers with these bytes.
fn says(bytes: &'static [u8]) -> Deed {
    deed(move |mut stream| async move {
        hello(&mut stream).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stay(&mut stream).await
    })
}

pub fn rows(authority: &Authority) -> Vec<Row> {
    let own = authority.certify("localhost");
    let mut rows = certificates(authority, &own);
    rows.extend(handshakes(authority, &own));
    rows.extend(records(authority, &own));
    for row in &mut rows {
        if row.origin.starts_with("http:") && row.name != "tls-on-the-http-port" {
            row.origin = NAMED;
        }
    }
    rows
}

fn certificates(authority: &Authority, own: &(String, String)) -> Vec<Row> {
    let plain = || CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let (mut expired, mut future) = (plain(), plain());
    expired.not_after = date_time_ymd(2020, 1, 1);
    future.not_before = date_time_ymd(4000, 1, 1);
    let self_signed = {
        let key = KeyPair::generate().expect("a key");
        (plain().self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    };
    let chain = |extra: usize| (own.0.repeat(1 + extra), own.1.clone());
    let (short, long, huge) = (chain(100), chain(200), chain(2000));
    let serve = |pair: &(String, String)| server(config(pair, BOTH));
    let other = authority.certify("example.com");
    let literal = authority.certify("127.0.0.1");
    let stranger = Authority::new().certify("localhost");
    vec![
        row(20, "expired", serve(&authority.sign(&expired)), "tls -", "certificate expired"),
        row(20, "not-yet-valid", serve(&authority.sign(&future)), "tls -", "not valid yet"),
        row(20, "self-signed", serve(&self_signed), "tls -", "invalid peer certificate"),
        row(20, "unknown-authority", serve(&stranger), "tls -", "UnknownIssuer"),
        row(20, "wrong-host", serve(&other), "tls -", "not valid for name"),
        row(24, "chain-of-100", serve(&short), "success 200", ""),
        row(24, "chain-of-200", serve(&long), "tls -", "TooLarge"),
        row(24, "chain-of-2000", serve(&huge), "tls -", "TooLarge"),
        row(25, "address-in-the-certificate", serve(&literal), "success 200", "").at(LITERAL),
        row(25, "address-not-in-it", serve(own), "tls -", "not valid for name").at(LITERAL),
        row(
            25,
            "unrecognised-name",
            says(b"\x15\x03\x03\0\x02\x02\x70"),
            "tls -",
            "UnrecognisedName",
        ),
    ]
}

fn handshakes(authority: &Authority, own: &(String, String)) -> Vec<Row> {
    // A ServerHello of TLS 1.1 with a cipher of that time.
    const OLD: &[u8] = b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02\
        0123456789abcdef0123456789abcdef\0\0\x2f\0";
    let stalls = deed(|mut stream| async move { stay(&mut stream).await });
    let crawls = deed(|mut stream| async move {
        hello(&mut stream).await?;
        drip(&mut stream, &OLD[..20], Duration::from_millis(100)).await?;
        stay(&mut stream).await
    });
    let leaves = deed(|mut stream| async move {
        hello(&mut stream).await?;
        Ok(())
    });
    let demands = |versions| server(demanding(authority, own, versions));
    vec![
        row(21, "tls-1.1", says(OLD), "tls -", "incompatible"),
        row(
            21,
            "refuses-our-versions",
            says(b"\x15\x03\x02\0\x02\x02\x46"),
            "tls -",
            "ProtocolVersion",
        ),
        row(
            21,
            "refuses-our-ciphers",
            says(b"\x15\x03\x03\0\x02\x02\x28"),
            "tls -",
            "HandshakeFailure",
        ),
        row(22, "handshake-stalls", stalls, "timeout_connect -", "no connection within"),
        row(22, "handshake-crawls", crawls, "timeout_connect -", "no connection within"),
        row(22, "handshake-cut", leaves, "tcp -", "tls handshake eof"),
        row(
            23,
            "wants-a-certificate-1.3",
            demands(&[&version::TLS13]),
            "tls -",
            "CertificateRequired",
        ),
        row(
            23,
            "wants-a-certificate-1.2",
            demands(&[&version::TLS12]),
            "tls -",
            "received fatal alert",
        ),
    ]
}

fn records(_: &Authority, own: &(String, String)) -> Vec<Row> {
    let no_goodbye = |reply: &'static [u8]| {
        session(config(own, BOTH), move |mut stream| async move {
            request(&mut stream).await?;
            stream.write_all(reply).await?;
            stream.flush().await?;
            // The end of the connection without the end of the session.
            stream.get_mut().0.shutdown().await
        })
    };
    let no_length = no_goodbye(b"HTTP/1.1 200 OK\r\n\r\nhalf");
    let garbage = session(config(own, BOTH), |mut stream| async move {
        request(&mut stream).await?;
        stream.get_mut().0.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        stay(&mut stream).await
    });
    vec![
        row(26, "http-on-the-tls-port", says(b"HTTP/1.1 400 Bad\r\n\r\n"), "tls -", NOT_TLS),
        row(26, "tls-on-the-http-port", server(config(own, BOTH)), "protocol -", "invalid"),
        row(26, "no-close-notify", no_goodbye(OK), "success 200", ""),
        row(26, "no-close-notify-and-no-length", no_length, "success 200", "cut short"),
        row(26, "plain-text-in-the-session", garbage, "tls -", NOT_TLS),
    ]
}
