//! TLS of the receivers: one certificate for 127.0.0.1 to 127.0.0.100, which is also the root that it
//! is verified with.
//!
//! It is part of the program, and so is its key: nobody trusts it but the daemon and the bare client
//! of a benchmark. Made to last until 2126 with
//! `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
//! -subj '/CN=outboxd bench' -addext basicConstraints=critical,CA:FALSE
//! -addext subjectAltName=IP:127.0.0.1,...,IP:127.0.0.100`.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The certificate, PEM: what clients verify with.
pub const CERTIFICATE: &str = include_str!("certificate.pem");
const KEY: &str = include_str!("key.pem");

/// The addresses it is for.
pub const HOSTS: u8 = 100;

/// The server's side of a handshake.
pub type Acceptor = TlsAcceptor;

/// An acceptor with the certificate.
///
/// # Errors
/// Of the TLS library.
pub fn acceptor() -> io::Result<Acceptor> {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.map_err(io::Error::other)?], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config).into())
}
