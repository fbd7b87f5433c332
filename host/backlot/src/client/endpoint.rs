//! Where a server is, and how it shows that it is the one that was meant.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::fault::Fault;

/// What requests are sent on.
pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Address of a server: `127.0.0.1:8080`, `http://NAME:PORT` or `https://NAME:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    tls: bool,
    /// Name or address, without the brackets of IPv6.
    host: String,
    port: u16,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, tls: bool) -> Self {
        Self { tls, host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::new(address, false));
        }
        let wrong = || {
            "an address is 127.0.0.1:8080, http://NAME:PORT or https://NAME:PORT, without a path"
                .to_owned()
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong()),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let has_path = uri.path_and_query().is_some_and(|path| path.as_str() != "/");
        if host.is_empty() || has_path || text.contains('@') {
            return Err(wrong());
        }
        Ok(Self { tls, host: host.to_owned(), port: uri.port_u16().unwrap_or(port) })
    }
}

/// As in the header `Host`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Whose certificates are taken.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// Of the authorities that browsers trust.
    Authorities,
    /// Of the authorities in this file.
    File(PathBuf),
    /// This one alone, whatever its name: the one in the server's configuration.
    Configured(PathBuf),
}

impl Endpoint {
    /// A connection, encrypted where the address says so.
    ///
    /// # Errors
    /// What the system says, or the peer's certificate.
    pub(super) async fn connect(&self, trust: &Trust) -> io::Result<Stream> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        if !self.tls {
            return connecting.await.map(Either::Left);
        }
        let config = trust.config()?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, connecting.await?).await?;
        Ok(Either::Right(stream))
    }
}

impl Trust {
    fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::Configured(path) => {
                let certificate = certificates(path)?.into_iter().next();
                let certificate = certificate.ok_or_else(|| empty(path))?;
                Arc::new(Known { certificates: vec![certificate], authorities: None, provider })
            }
            Self::Authorities => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
                by_authorities(roots, provider)?
            }
            Self::File(path) => {
                let certificates = certificates(path)?;
                let mut roots = RootCertStore::empty();
                for certificate in &certificates {
                    roots.add(certificate.clone()).map_err(|err| unusable(path, &err))?;
                }
                let authorities = Some(by_authorities(roots, provider.clone())?);
                Arc::new(Known { certificates, authorities, provider })
            }
        };
        let config = builder.dangerous().with_custom_certificate_verifier(verifier);
        Ok(config.with_no_client_auth())
    }
}

fn by_authorities(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map(|verifier| verifier as Arc<_>).map_err(io::Error::other)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|err| unusable(path, &err))?.collect();
    let all = all.map_err(|err| unusable(path, &err))?;
    if all.is_empty() { Err(empty(path)) } else { Ok(all) }
}

fn empty(path: &Path) -> io::Error {
    unusable(path, &"it has no certificate as PEM")
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{} cannot be used: {reason}", path.display()))
}

/// Takes certificates that somebody named. That the peer has the key is checked as ever.
#[derive(Debug)]
struct Known {
    certificates: Vec<CertificateDer<'static>>,
    /// Who decides about all others; then the name is checked of these too. Needed because a
    /// certificate that is its own authority is not one that an authority made.
    authorities: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = self.certificates.iter().any(|certificate| certificate == end_entity);
        match &self.authorities {
            None if known => Ok(ServerCertVerified::assertion()),
            None => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
            Some(_) if known => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a person is told about a server that does not answer.
pub(super) fn unreachable(server: &Endpoint, reason: &(dyn std::error::Error + 'static)) -> Fault {
    let certificate = reason
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(_)) = certificate {
        return Fault::new(
            "E0509",
            format!("the certificate of the server at {server} is not trusted: {reason}"),
            "name the certificate of its authority with --ca FILE, and the server by the name in it",
        );
    }
    silent(server, reason)
}

/// As [`unreachable`], for reasons of our own.
pub(super) fn silent(server: &Endpoint, reason: &dyn fmt::Display) -> Fault {
    Fault::new(
        "E0501",
        format!("no server answers at {server}: {reason}"),
        "start one with `backlot serve`, or name its address with --http",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_numbers_or_a_url() {
        let read = |text: &str| {
            let endpoint: Endpoint = text.parse().ok()?;
            Some((endpoint.tls, endpoint.to_string()))
        };
        let is = |tls, text: &str| Some((tls, text.to_owned()));
        assert_eq!(read("127.0.0.1:8080"), is(false, "127.0.0.1:8080"));
        assert_eq!(read("[::1]:8080"), is(false, "[::1]:8080"));
        assert_eq!(read("https://shop.example"), is(true, "shop.example:443"));
        assert_eq!(read("https://[::1]:8443/"), is(true, "[::1]:8443"));
        assert_eq!(read("http://shop.example:81"), is(false, "shop.example:81"));
        for bad in ["", "shop.example:80", "ftp://a:1", "https://a/b", "https://u@a", "8080"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
