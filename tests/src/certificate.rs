//! Certificates for servers on loopback.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};

/// A certificate that is its own authority, for `localhost`, 127.0.0.1 and buckets at and below
/// `s3.localhost`.
pub struct Certificate {
    /// The certificate as PEM; also what clients are to trust.
    pub certificate: PathBuf,
    /// Its private key as PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Writes both files into a folder, under a name.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn write(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let names = ["localhost", "127.0.0.1", "s3.localhost", "*.s3.localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        // Clients that trust several look for them by this name.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let paths = Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&paths.certificate, certificate.pem())?;
        fs::write(&paths.key, key.serialize_pem())?;
        Ok(paths)
    }

    /// A table of the configuration that names it.
    pub fn table(&self, listener: &str) -> String {
        let Self { certificate, key } = self;
        format!("[{listener}.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }
}
