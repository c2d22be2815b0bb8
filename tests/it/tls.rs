//! TLS to receivers and to the database.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{self, Database, TestDaemon};

/// An authority of a test's own, and a file with its certificate.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("outboxd-test-ca-{:016x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, &name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = std::env::temp_dir().join(name + ".pem");
        std::fs::write(&file, issuer.pem()).expect("written");
        Self { issuer, file }
    }

    /// Certificate and key for a name or an address, as PEM.
    pub fn certify(&self, name: &str) -> (String, String) {
        self.sign(&CertificateParams::new(vec![name.to_owned()]).expect("parameters"))
    }

    /// Certificate and key with these parameters, as PEM.
    pub fn sign(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    pub fn path(&self) -> &str {
        self.file.to_str().expect("UTF-8")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).ok();
    }
}

/// Answers one 200 a connection, over TLS; returns its port.
async fn receiver(certificate: &str, key: &str) -> u16 {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that refuses the certificate ends it here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut seen = vec![0; 64 * 1024];
            if stream.read(&mut seen).await.is_ok() {
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(reply).await.ok();
                stream.shutdown().await.ok();
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_verified_with_the_roots_of_the_configuration() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.certify("localhost");
    let port = receiver(&certificate, &key).await;
    for (host, ca_file, expected) in [
        ("localhost", authority.path(), "success"),
        ("localhost", stranger.path(), "tls"),
        // The certificate names the host, not its address.
        ("127.0.0.1", authority.path(), "tls"),
    ] {
        let database = Database::new().await;
        database.subscribe("one", &format!("https://{host}:{port}/")).await;
        let settings = [
            ("delivery.ca_file", ca_file),
            ("delivery.allow", "127.0.0.0/8 [::1]/128"),
            ("delivery.retry", "1h"),
        ];
        let daemon = TestDaemon::start_with(&database.url, &settings).await;
        database.emit("a", "{}").await;
        database.wait_for("SELECT outcome FROM outbox.attempts", expected).await;
        daemon.stop().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_verified_as_libpq_would() {
    let port = harness::free_port();
    let cluster = harness::start_cluster_on(port);
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.certify("localhost");
    let database = Database::at(cluster.url("postgres")).await;
    for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
        // The server writes them itself, so that they are its own.
        let directory = database.text("SELECT current_setting('data_directory')").await;
        let lines = pem.trim().replace('\n', "'), ('");
        let target = format!("umask 077; cat > {directory}/{name}");
        database.execute(&format!("COPY (VALUES ('{lines}')) TO PROGRAM '{target}'")).await;
    }
    database.execute("ALTER SYSTEM SET ssl = on").await;
    database.execute("SELECT pg_reload_conf()").await;
    database.wait_for("SELECT current_setting('ssl')", "on").await;
    let (ours, theirs) = (authority.path(), stranger.path());
    for (host, options, accepted) in [
        ("localhost", "sslmode=require".to_owned(), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={theirs}"), false),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={theirs}"), false),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}"), true),
    ] {
        let url = format!("postgresql://postgres@{host}:{port}/postgres?{options}");
        let output = harness::outboxd(&url, &[]).arg("migrate").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = if accepted { 0 } else { 69 };
        assert_eq!(output.status.code(), Some(expected), "{host} {options}: {said}");
    }
}
