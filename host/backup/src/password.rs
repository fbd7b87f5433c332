//! The password of a repository: without it nobody reads a backup, its owner included.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::service::BackupError;

/// Bytes of chance in a password that we make.
const CHANCE_BYTES: usize = 32;

/// The password in a file's first line. Makes both where there is no file, if that is wanted.
pub(crate) fn read(path: &Path, make: bool) -> Result<String, BackupError> {
    let failed =
        |err: io::Error| BackupError::Password { path: path.to_owned(), why: err.to_string() };
    match fs::read_to_string(path) {
        Ok(text) => {
            let line = text.lines().next().unwrap_or_default();
            if line.is_empty() {
                let why = "its first line is empty".to_owned();
                return Err(BackupError::Password { path: path.to_owned(), why });
            }
            Ok(line.to_owned())
        }
        Err(err) if make && err.kind() == io::ErrorKind::NotFound => {
            let mut chance = [0; CHANCE_BYTES];
            getrandom::fill(&mut chance).map_err(|err| failed(io::Error::other(err)))?;
            let password = hex::encode(chance);
            write(path, &password).map_err(failed)?;
            tracing::warn!(
                file = %path.display(),
                "made a password for backups: keep a copy of this file elsewhere, without it nothing can be restored"
            );
            Ok(password)
        }
        Err(err) => Err(failed(err)),
    }
}

/// Durable before anything is encrypted with it.
fn write(path: &Path, password: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{password}")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}
