//! A certificate and its key from files, which may be replaced while the listener runs.
//!
//! A connection keeps the certificate it began with. What cannot be used is told and changes
//! nothing: the certificate that was read before stays.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig, crypto};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Largest file of certificates or of a key, in bytes. A chain has a few thousand.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Protocols that a client can choose (ALPN), the one we would rather have first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Permission of those who are neither the owner nor of the group to read a file.
const READ_BY_OTHERS: u32 = 0o004;

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and an authority, in this order, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// It is not there, or this user may not read it.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is over [`FILE_BYTES_MAX`].
    #[error("{} is over the limit of {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It begins like PEM and does not go on so.
    #[error("{} is not PEM: {reason}", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// Nothing in it is marked as a certificate.
    #[error("{} has no certificate in it (no `-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
    /// Nothing in it is marked as a private key.
    #[error("{} has no private key in it (no `-----BEGIN PRIVATE KEY-----`)", .0.display())]
    NoKey(PathBuf),
    /// What is marked as a certificate is none.
    #[error("the certificate in {} is damaged: {reason}", .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// What is marked as a key is none that can be used.
    #[error("the key in {} cannot be used: {reason}", .path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// They are of different pairs.
    #[error("the key in {} does not belong to the certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// The certificate of a listener.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
    /// The files that were looked at last, whether they could be used or not.
    seen: Mutex<Seen>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    expires: SystemTime,
}

/// Tells whether files are still the same: of certificate and key; None for one that is not there.
type Seen = [Option<Stamp>; 2];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Tls {
    /// Reads both files. Blocks.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsFault> {
        let seen = stamps(&files);
        let loaded = load(&files)?;
        Ok(Self { files, current: ArcSwap::from_pointee(loaded), seen: Mutex::new(seen) })
    }

    /// Reads both files again, for connections that begin from now on. Blocks.
    ///
    /// # Errors
    /// What is wrong with which file; what was read before is used on.
    pub fn reload(&self) -> Result<(), TlsFault> {
        // Before they are read: a change in between is one that is still to be seen.
        *self.seen() = stamps(&self.files);
        self.current.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// Whether the files are others than those that were looked at last. Blocks.
    pub fn is_changed(&self) -> bool {
        // Links are followed: those who renew certificates replace them.
        *self.seen() != stamps(&self.files)
    }

    /// Where it was read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// How long the certificate is valid from now on; None when it has expired.
    pub fn valid_for(&self) -> Option<Duration> {
        self.current.load().expires.duration_since(SystemTime::now()).ok()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &TlsFiles) -> Seen {
    [&files.certificate, &files.key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            bytes: meta.len(),
        })
    })
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsFault> {
    let chain = certificates(&files.certificate)?;
    let bad_certificate = |reason: String| {
        let path = files.certificate.clone();
        TlsFault::BadCertificate { path, reason }
    };
    let first = chain.first().ok_or_else(|| TlsFault::NoCertificate(files.certificate.clone()))?;
    let parsed = Certificate::from_der(first).map_err(|err| bad_certificate(err.to_string()))?;
    let certificate = parsed.tbs_certificate();
    let expires = SystemTime::UNIX_EPOCH + certificate.validity().not_after.to_unix_duration();
    let subject = certificate.subject().to_string();

    let key = key(&files.key)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|err| match err {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsFault::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        rustls::Error::InvalidCertificate(_) => bad_certificate(err.to_string()),
        _ => TlsFault::BadKey { path: files.key.clone(), reason: err.to_string() },
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    tracing::info!(
        certificate = %files.certificate.display(),
        subject,
        expires = %certificate.validity().not_after,
        "certificate read"
    );
    Ok(Loaded { config: Arc::new(config), expires })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let (text, _) = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|err| not_pem(path, &err))?;
    if all.is_empty() { Err(TlsFault::NoCertificate(path.to_owned())) } else { Ok(all) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let (text, mode) = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|err| match err {
        pem::Error::NoItemsFound => TlsFault::NoKey(path.to_owned()),
        err => not_pem(path, &err),
    })?;
    if mode & READ_BY_OTHERS != 0 {
        tracing::warn!(
            key = %path.display(),
            "every user of this machine can read the private key; `chmod o-r` it"
        );
    }
    Ok(key)
}

fn not_pem(path: &Path, err: &pem::Error) -> TlsFault {
    TlsFault::NotPem { path: path.to_owned(), reason: err.to_string() }
}

/// A file with its permissions.
fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    let mut text = Vec::new();
    // One byte more than may be, to tell.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(TlsFault::TooLarge(path.to_owned()));
    }
    Ok((text, mode))
}
