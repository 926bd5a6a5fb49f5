//! TLS: what a certificate and its key make of the settings, or what is wrong with them.
//!
//! Without the feature `tls` there is no way to make one; the check of the settings has said so by then.

use crate::config::TlsSettings;
use crate::error::{Error, Result};

#[cfg(feature = "tls")]
pub(super) use with::Tls;
#[cfg(feature = "tls")]
pub(crate) use with::lacks;

/// What a server shows and keeps to: nothing, as this program was built without TLS.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub(super) enum Tls {}

#[cfg(not(feature = "tls"))]
impl Tls {
    pub(super) fn read(_: &TlsSettings) -> Result<Tls> {
        Err(Error::config("http.tls: this program was built without the feature `tls`"))
    }
}

#[cfg(feature = "tls")]
mod with {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::pki_types::pem::{Error as PemError, PemObject as _};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    /// What a server shows and keeps to: TLS 1.2 or 1.3, and nobody has to show a certificate to it.
    #[derive(Debug)]
    pub(in crate::http) struct Tls(pub(in crate::http) ServerConfig);

    impl Tls {
        /// Reads the files that the settings name.
        ///
        /// # Errors
        /// Of kind `Config`, with the file and what is wrong with it.
        pub(in crate::http) fn read(settings: &TlsSettings) -> Result<Tls> {
            if let Some(lacks) = lacks() {
                return Err(Error::config(format!("http.tls: this processor has no {lacks}, which TLS needs here")));
            }
            let (certificate, key) = (&settings.certificate, &settings.key);
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
                .map_err(|error| unreadable("certificate", certificate, &error))?;
            if chain.is_empty() {
                return Err(unreadable("certificate", certificate, &PemError::NoItemsFound));
            }
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, &error))?;
            let unfit = |error: rustls::Error| match error {
                rustls::Error::InconsistentKeys(_) => Error::config(format!(
                    "http.tls: the key in \"{}\" is not that of the certificate in \"{}\"",
                    key.display(),
                    certificate.display()
                )),
                rustls::Error::InvalidCertificate(_) => {
                    wrong("certificate", certificate, &format!("the certificate cannot be used: {error}"))
                }
                error => wrong("key", key, &format!("the key cannot be used: {error}")),
            };
            let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
                .map_err(unfit)?;
            Ok(Tls(config))
        }
    }

    fn unreadable(option: &str, file: &Path, error: &PemError) -> Error {
        let said = match error {
            PemError::Io(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_string(),
            PemError::Io(error) => format!("cannot be read: {error}"),
            PemError::NoItemsFound => format!("there is no {option} in PEM in it (\"-----BEGIN …-----\")"),
            error => format!("is not PEM: {error}"),
        };
        wrong(option, file, &said)
    }

    fn wrong(option: &str, file: &Path, said: &str) -> Error {
        Error::config(format!("http.tls.{option}: \"{}\": {said}", file.display()))
    }

    /// Returns what the processor would have to be able to do: graviola panics if it cannot.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn lacks() -> Option<&'static str> {
        let has = [
            ("AES", std::arch::is_x86_feature_detected!("aes")),
            ("PCLMULQDQ", std::arch::is_x86_feature_detected!("pclmulqdq")),
            ("BMI1", std::arch::is_x86_feature_detected!("bmi1")),
            ("ADX", std::arch::is_x86_feature_detected!("adx")),
            ("SSSE3", std::arch::is_x86_feature_detected!("ssse3")),
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ];
        has.iter().find(|(_, is_there)| !is_there).map(|(name, _)| *name)
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn lacks() -> Option<&'static str> {
        let has = [
            ("AES", std::arch::is_aarch64_feature_detected!("aes")),
            ("PMULL", std::arch::is_aarch64_feature_detected!("pmull")),
            ("SHA2", std::arch::is_aarch64_feature_detected!("sha2")),
        ];
        has.iter().find(|(_, is_there)| !is_there).map(|(name, _)| *name)
    }
}
