//! TLS to Postgres, with the meanings that libpq gives to `sslmode`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::StoreError;
use crate::config::connection::{RootCert, SslMode, Tls};

/// The TLS connector for a connection string. It is built for every mode; `sslmode=disable` does
/// not use it.
pub fn connector(tls: &Tls) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Tls(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier(tls, provider)?);
    let config = match &tls.client_cert {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
            builder
                .with_client_auth_cert(read_certificates(cert)?, key)
                .map_err(|error| StoreError::Tls(format!("sslcert and sslkey: {error}")))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// As in libpq, `require` and weaker modes encrypt without knowing to whom, unless a root
/// certificate is given; then the chain is checked as for `verify-ca`.
fn verifier(
    tls: &Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, StoreError> {
    let checks_name = tls.mode == SslMode::VerifyFull;
    let checks_chain = checks_name
        || tls.mode == SslMode::VerifyCa
        || matches!(tls.root_cert, Some(RootCert::File(_)));
    if !checks_chain {
        return Ok(Arc::new(Lenient { provider, chain: None }));
    }
    let roots = Arc::new(roots(tls.root_cert.as_ref())?);
    let strict = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| StoreError::Tls(format!("sslrootcert: {error}")))?;
    if checks_name { Ok(strict) } else { Ok(Arc::new(Lenient { provider, chain: Some(strict) })) }
}

fn roots(root_cert: Option<&RootCert>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    match root_cert {
        Some(RootCert::File(path)) => {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| {
                    StoreError::Tls(format!("sslrootcert {}: {error}", path.display()))
                })?;
            }
        }
        Some(RootCert::System) | None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(StoreError::Tls(
            "there is no root certificate to verify the server with; set sslrootcert to a PEM \
             file, or install ca-certificates"
                .to_owned(),
        ));
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let pem = fs::read(path).map_err(|error| unreadable(path, &error))?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Tls(format!("cannot read {}: {error}", path.display()))
}

/// Checks the chain or nothing, but never the name.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let checked =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // The name is looked at last: the chain was good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
