//! Owns how the server's certificate and key become what encrypts its connections.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::cli::error::CliError;

pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, CliError> {
    let wrong = |path: &Path, what: &str, why: &dyn std::fmt::Display| {
        CliError::Usage(format!("`{}` is no {what} in PEM: {why}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, "certificate", &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "certificate", &"it holds none"));
    }
    // What the file held is in no message: errors name what they wanted.
    let key_of =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "private key", &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, key_of)
        })
        .map_err(|error| {
            CliError::Usage(format!(
                "`{}` and `{}` do not make a server's identity: {error}",
                certificate.display(),
                key.display()
            ))
        })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
