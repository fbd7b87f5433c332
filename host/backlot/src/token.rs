//! The token that changes over HTTP need: made at the first start, kept in the data folder for its
//! owner alone. Whoever can read the data folder may use it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::credentials;
use crate::fault::Fault;

/// The file's name in the data folder.
pub(crate) const FILE: &str = "admin-token";
/// 160 random bits.
const CHARS: usize = 32;

/// Where the token of a data folder is.
pub(crate) fn path(data: &Path) -> PathBuf {
    std::path::absolute(data).unwrap_or_else(|_| data.to_owned()).join(FILE)
}

/// Reads the token, or makes it.
pub(crate) fn load_or_create(data: &Path) -> Result<String, Fault> {
    let path = path(data);
    let unusable = |why: &dyn std::fmt::Display| {
        Fault::new(
            "E0106",
            format!("{} cannot be used: {why}", path.display()),
            "mend it, or delete it to get a new token",
        )
    };
    match read(&path) {
        Ok(token) => Ok(token),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let token = credentials::random(CHARS)?;
            let line = format!("{token}\n");
            credentials::write_private(&path, line.as_bytes()).map_err(|err| unusable(&err))?;
            Ok(token)
        }
        Err(err) => Err(unusable(&err)),
    }
}

/// Reads the token of a file.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    let token = text.trim();
    // Guessing a shorter one is not out of the question, and others are no header.
    if token.len() < CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let wanted = format!("it is not at least {CHARS} visible characters of ASCII");
        return Err(io::Error::new(io::ErrorKind::InvalidData, wanted));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        assert_eq!(first.len(), CHARS);
        assert_eq!(load_or_create(folder.path()).unwrap(), first);
        assert_eq!(read(&path(folder.path())).unwrap(), first);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_short_token_is_neither_used_nor_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "secret\n").unwrap();
        assert_eq!(load_or_create(folder.path()).err().map(|fault| fault.code), Some("E0106"));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "secret\n");
    }
}
