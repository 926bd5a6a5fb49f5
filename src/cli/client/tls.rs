//! TLS towards a server, with the cryptography of the HTTP server's.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::Trust;

/// Without the feature `tls` nothing can be asked that way.
#[cfg(not(feature = "tls"))]
pub(super) fn wrap(_: TcpStream, _: &str, _: &Trust) -> io::Result<impl Read + Write + use<>> {
    Err::<TcpStream, _>(io::Error::other("this program was built without the feature `tls`"))
}

/// Returns a connection with a server that has shown a certificate of this name.
///
/// # Errors
/// If nobody can be believed; a certificate that is not believed is an error of the first write.
#[cfg(feature = "tls")]
pub(super) fn wrap(stream: TcpStream, name: &str, trust: &Trust) -> io::Result<impl Read + Write + use<>> {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            // What cannot be read of them is missing, and whoever needed it is not believed.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::File(file) => {
            let unusable = |error: String| io::Error::other(format!("\"{}\": {error}", file.display()));
            let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            for certificate in certificates.map_err(|error| unusable(error.to_string()))? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
        }
    }
    if let Some(lacks) = crate::http::lacks() {
        return Err(io::Error::other(format!("this processor has no {lacks}, which TLS needs here")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_string()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}
