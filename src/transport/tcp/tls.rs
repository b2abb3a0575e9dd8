//! TLS on both sides: who is who, from PEM files.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Who this side is, and whom it trusts: for [`ServerBuilder::tls`](super::ServerBuilder::tls) and
/// [`ClientBuilder::tls`](super::ClientBuilder::tls).
///
/// Authentication is mutual: each side shows a certificate that the other's authorities have signed. TLS 1.2 and 1.3.
///
/// # Examples
/// ```no_run
/// use forebay::transport::tcp::{Client, Server, TlsConfig};
/// let tls = TlsConfig::from_pem_files("node.pem".as_ref(), "node.key".as_ref(), "ca.pem".as_ref())?;
/// let server = Server::builder().tls(tls.clone()).start("0.0.0.0:6121")?;
/// let client = Client::builder().tls(tls).start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsConfig {
    identity: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
    authorities: Arc<RootCertStore>,
    any_name: bool,
}

/// Why certificates or keys can not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file can not be read.
    #[error("cannot read {file}")]
    Read {
        /// Which file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// What should be certificates or a key is none, or there is none in it. Give it as PEM.
    #[error("{what}: no {expected} in PEM form{detail}")]
    Pem {
        /// The file, or what it was given as.
        what: String,
        /// What was expected.
        expected: &'static str,
        /// What is wrong with what is there.
        detail: String,
    },
    /// A server needs a certificate and its key.
    #[error("a server needs a certificate and its key")]
    NoIdentity,
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("these certificates can not be used: {0}")]
    Unusable(String),
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |detail| TlsError::Pem { what: what.into(), expected: "certificate", detail };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(refuse(String::new())),
        Ok(found) => Ok(found),
        Err(error) => Err(refuse(format!(": {error}"))),
    }
}

impl TlsConfig {
    /// From texts: this side's certificate with those between it and the authority, its key, and the authorities that
    /// sign the peers'.
    ///
    /// # Errors
    /// [`TlsError::Pem`]: one of them is not that.
    pub fn from_pem(certificate: &[u8], key: &[u8], authorities: &[u8]) -> Result<Self, TlsError> {
        Self::without_identity(authorities)?.identify("the certificate", certificate, "the key", key)
    }

    /// As [`from_pem`](Self::from_pem), from files. Blocking, on the system.
    ///
    /// # Errors
    /// [`TlsError::Read`], [`TlsError::Pem`]: with the name of the file.
    pub fn from_pem_files(certificate: &Path, key: &Path, authorities: &Path) -> Result<Self, TlsError> {
        let certificates = read(certificate)?;
        let trusting = Self::trusting(&read(authorities)?, &authorities.display().to_string())?;
        trusting.identify(&certificate.display().to_string(), &certificates, &key.display().to_string(), &read(key)?)
    }

    /// For a client that shows no certificate: a server of this library refuses it, others may not.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn without_identity(authorities: &[u8]) -> Result<Self, TlsError> {
        Self::trusting(authorities, "the authorities")
    }

    /// As [`without_identity`](Self::without_identity), from a file. Blocking, on the system.
    ///
    /// # Errors
    /// [`TlsError::Read`], [`TlsError::Pem`]: with the name of the file.
    pub fn authorities_file(authorities: &Path) -> Result<Self, TlsError> {
        Self::trusting(&read(authorities)?, &authorities.display().to_string())
    }

    /// The same, as a client that takes any server whose certificate the authorities have signed, whatever its name:
    /// where they sign for one cluster alone, as Flink has it for its internal connections.
    #[must_use]
    pub fn any_server_name(mut self) -> Self {
        self.any_name = true;
        self
    }

    fn trusting(authorities: &[u8], what: &str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities, what)? {
            roots.add(certificate).map_err(|error| TlsError::Unusable(error.to_string()))?;
        }
        Ok(Self { identity: None, authorities: Arc::new(roots), any_name: false })
    }

    fn identify(mut self, of: &str, certificate: &[u8], of_key: &str, key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(certificate, of)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Pem {
            what: of_key.into(),
            expected: "private key",
            detail: format!(": {error}"),
        })?;
        self.identity = Some((chain, Arc::new(key)));
        Ok(self)
    }

    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let (chain, key) = self.identity.clone().ok_or(TlsError::NoIdentity)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.authorities.clone(), provider.clone())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key.clone_key())
            .map_err(unusable)?;
        Ok(Arc::new(config))
    }

    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.authorities.clone(), provider.clone())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                inner: verifier,
                any_name: self.any_name,
                provider,
            }));
        let config = match self.identity.clone() {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key.clone_key()).map_err(unusable)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read { file: file.display().to_string(), source })
}

/// rustls' own verifier; it may be told that names do not matter, which it looks at last.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
