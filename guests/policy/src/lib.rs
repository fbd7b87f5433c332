//! What a bucket takes, and what becomes of an object that was checked.
//!
//! A [`Policy`] is data: the operator writes it into the configuration, where the host checks it
//! ([`Policy::check`]), and the validator gets it as JSON. [`Policy::judge`] makes a [`Verdict`] of
//! what the walkers of `backlot_formats` found; nothing here reads a file.
#![forbid(unsafe_code)]

mod judge;
mod verdict;

use backlot_formats::Format;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use verdict::Verdict;

/// Tag of an object that was judged: the name of its verdict.
pub const VERDICT_TAG: &str = "backlot:verdict";
/// Tag of an object that was judged: the digest of the policy that it was judged under.
pub const POLICY_TAG: &str = "backlot:policy";
/// Most words of [`Policy::types`].
pub const TYPES_MAX: usize = 64;
/// Longest policy as JSON, in bytes: it travels in one variable of the validator's environment.
pub const POLICY_BYTES_MAX: usize = 4_096;
/// Grows when the same file could get another verdict than before: what was judged is judged anew.
pub const REVISION: u32 = 1;
/// Digits of [`Policy::digest`]: enough to tell apart the policies that one bucket ever had.
const DIGEST_DIGITS: usize = 16;

/// What one bucket takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The bucket's name.
    pub bucket: String,
    /// What may be in it: extensions (`pdf`), media types (`image/png`) or all of a kind
    /// (`image/*`). A format that is also a wider one (DOCX is ZIP, CSV is text) is allowed by
    /// either. Empty: everything.
    #[serde(default)]
    pub types: Vec<String>,
    /// Smallest object, in bytes; 0 by default.
    #[serde(default)]
    pub bytes_min: u64,
    /// Largest object, in bytes; without a limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// What a key's extension must say; [`ExtensionRule::Match`] by default.
    #[serde(default)]
    pub extension: ExtensionRule,
    /// What the declared content type must say; [`ContentTypeRule::Match`] by default.
    #[serde(default)]
    pub content_type: ContentTypeRule,
    /// Bytes behind the logical end of a file; refused by default.
    #[serde(default)]
    pub trailing: TrailingRule,
    /// What cannot be checked; accepted by default.
    #[serde(default)]
    pub unknown: UnknownRule,
    /// What becomes of an object that is invalid; [`Consequence::Deny`] by default.
    #[serde(default)]
    pub invalid: Consequence,
    /// Ask the virus scanner about what seems whole; no by default.
    #[serde(default)]
    pub second_opinion: bool,
    /// Back up what is not invalid; yes by default, where there is a repository.
    #[serde(default = "yes")]
    pub backup: bool,
}

fn yes() -> bool {
    true
}

/// What a key's extension must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtensionRule {
    /// If it is a known one, what was found.
    #[default]
    Match,
    /// There must be one, and it must be a known one that says what was found.
    Require,
    /// Anything.
    Any,
}

/// What the declared content type must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentTypeRule {
    /// If it is a known one, what was found.
    #[default]
    Match,
    /// Anything.
    Any,
}

/// What bytes behind the logical end of a file mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrailingRule {
    /// The file is invalid: another one may hide there.
    #[default]
    Refuse,
    /// Nothing.
    Allow,
}

/// What becomes of an object that cannot be checked: of no known format, or with a feature that is
/// not walked. Its verdict is [`Verdict::Unsupported`] unless it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownRule {
    /// It is treated as a valid one, and backed up: nothing speaks against it.
    #[default]
    Accept,
    /// It stays where it is and is not backed up.
    Leave,
    /// It is invalid.
    Refuse,
}

/// What becomes of an object that is invalid, besides a tag, a record and an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consequence {
    /// Nothing.
    Tag,
    /// It stays where it is, and S3 clients that read it are refused.
    #[default]
    Deny,
    /// It is moved to the quarantine bucket.
    Quarantine,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A word in `types` that means no format.
    #[error(
        "types: {0:?} is no extension or media type that is known; such as pdf, docx, image/png, image/*"
    )]
    UnknownType(String),
    /// A bound.
    #[error("{what} is {got}, must be {limit}")]
    OutOfRange {
        /// The key.
        what: &'static str,
        /// What it is.
        got: u64,
        /// What it may be.
        limit: String,
    },
}

impl Policy {
    /// The one that asks for nothing but a whole file.
    #[must_use]
    pub fn of(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            types: Vec::new(),
            bytes_min: 0,
            bytes_max: None,
            extension: ExtensionRule::default(),
            content_type: ContentTypeRule::default(),
            trailing: TrailingRule::default(),
            unknown: UnknownRule::default(),
            invalid: Consequence::default(),
            second_opinion: false,
            backup: true,
        }
    }

    /// Checks what the operator wrote.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that makes no sense.
    pub fn check(&self) -> Result<(), PolicyError> {
        let out_of_range =
            |what, got, limit: String| Err(PolicyError::OutOfRange { what, got, limit });
        if TYPES_MAX < self.types.len() {
            let got = self.types.len() as u64;
            return out_of_range("number of types", got, format!("at most {TYPES_MAX}"));
        }
        for word in &self.types {
            if !Format::all().any(|format| means(word, format)) {
                return Err(PolicyError::UnknownType(word.clone()));
            }
        }
        if let Some(most) = self.bytes_max
            && most < self.bytes_min
        {
            return out_of_range("bytes_max", most, format!("at least {}", self.bytes_min));
        }
        let bytes = self.json().len();
        if POLICY_BYTES_MAX < bytes {
            let limit = format!("at most {POLICY_BYTES_MAX}: name fewer types, or as image/*");
            return out_of_range("bytes of the policy", bytes as u64, limit);
        }
        Ok(())
    }

    /// As the validator gets it.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings, numbers and words: nothing that JSON does not take.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Tells it, and the revision of the checks, from others: an object that was judged under this
    /// one need not be judged again.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(format!("{REVISION} {}", self.json()));
        let mut text = hex::encode(digest);
        text.truncate(DIGEST_DIGITS);
        text
    }

    /// Whether an object with a verdict of this name goes to the backups.
    #[must_use]
    pub fn backs_up(&self, verdict: &str) -> bool {
        let wanted = match verdict {
            "valid" | "skipped" => true,
            "unsupported" => self.unknown == UnknownRule::Accept,
            _ => false,
        };
        self.backup && wanted
    }

    fn allows(&self, format: Format) -> bool {
        let wanted = |format| self.types.iter().any(|word| means(word, format));
        self.types.is_empty() || format.lineage().any(wanted)
    }
}

/// Whether a word of [`Policy::types`] means a format.
fn means(word: &str, format: Format) -> bool {
    let word = word.to_ascii_lowercase();
    match word.strip_suffix("/*") {
        // The registered media type decides of which kind it is.
        Some(kind) => {
            let first = format.media_types().next().and_then(|media| media.split('/').next());
            first == Some(kind)
        }
        None if word.contains('/') => format.media_types().any(|known| known == word),
        None => format.extensions().any(|known| known == word.trim_start_matches('.')),
    }
}
