//! The first user's keys: made at the first start, kept in the data folder for its owner alone.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The file's name in the data folder.
pub(crate) const FILE: &str = "credentials.toml";
/// Name of the first user.
const USER: &str = "backlot";
/// Letters and digits that nobody mistakes for others; 32 of them, so that 5 bits choose one.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// As long as Amazon's.
const ACCESS_KEY_CHARS: usize = 20;
/// 200 random bits.
const SECRET_KEY_CHARS: usize = 40;

/// A pair of keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// Reads the keys, or makes them.
pub(crate) fn load_or_create(data: &Path) -> Result<Credentials, Fault> {
    let path = data.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|err| {
            let fault = Fault::new(
                "E0105",
                format!("{} cannot be used: {}", path.display(), err.message()),
                "mend it, or delete it to get new keys",
            );
            match err.span() {
                Some(span) => fault.at(FILE, &text, span, "here"),
                None => fault,
            }
        }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => create(&path),
        Err(err) => Err(unusable(&path, &err)),
    }
}

fn create(path: &Path) -> Result<Credentials, Fault> {
    let credentials = Credentials {
        name: USER.to_owned(),
        access_key: random(ACCESS_KEY_CHARS)?,
        secret_key: random(SECRET_KEY_CHARS)?,
    };
    let text = toml::to_string(&credentials).map_err(|err| {
        Fault::new("E0901", format!("keys cannot be written as TOML: {err}"), "report this")
    })?;
    write_private(path, text.as_bytes()).map_err(|err| unusable(path, &err))?;
    Ok(credentials)
}

/// Writes a whole file that only its owner may read: beside it first, then in one step.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // Left by a start that was killed; its mode may not be ours.
    match fs::remove_file(&beside) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// So many letters and digits; each has 5 random bits.
pub(crate) fn random(chars: usize) -> Result<String, Fault> {
    let mut bytes = vec![0; chars];
    getrandom::fill(&mut bytes).map_err(|err| {
        Fault::new("E0901", format!("the system gave no random bytes: {err}"), "report this")
    })?;
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'A');
    Ok(bytes.iter().map(letter).map(char::from).collect())
}

fn unusable(path: &Path, err: &io::Error) -> Fault {
    Fault::new(
        "E0202",
        format!("{} cannot be used: {err}", path.display()),
        "give this user access to the data folder, or name another with --data",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        let again = load_or_create(folder.path()).unwrap();
        assert_eq!(first.secret_key, again.secret_key);
        assert_eq!(first.secret_key.len(), SECRET_KEY_CHARS);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).unwrap().secret_key, first.secret_key);
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "name = 3").unwrap();
        assert_eq!(load_or_create(folder.path()).err().map(|fault| fault.code), Some("E0105"));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "name = 3");
    }
}
