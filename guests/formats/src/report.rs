//! The answer: what the file is, whether it is whole, and what else was noticed.

use crate::{declared::Disagreement, format::Format, walk::Walk};

/// Whether a file is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every structure was walked to the logical end, and every checksum agreed.
    Valid {
        /// What it is.
        format: Format,
        /// Names and values of what was learned on the way, for people.
        facts: Vec<(&'static str, String)>,
    },
    /// It breaks the rules of its format, or ends too early.
    Invalid {
        /// What it is otherwise; `None` for an empty file.
        format: Option<Format>,
        /// Where the first broken rule was found.
        offset: u64,
        /// What is wrong there: lower case, no final period.
        what: String,
    },
    /// It could not be checked: a format or feature that is not walked, or more of something than
    /// the limit. That says nothing about whether it is whole.
    Unsupported {
        /// What it is; `None` where nothing was recognised.
        format: Option<Format>,
        /// Where the walk ended.
        offset: u64,
        /// What is not walked, or which limit it is over.
        what: String,
    },
}

/// Bytes behind the logical end of a file: another file may hide there (a polyglot).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailing {
    /// Where the file ends by its own structure.
    pub offset: u64,
    /// How many bytes follow.
    pub len: u64,
    /// What they look like at their start.
    pub looks_like: Option<Format>,
}

/// All that [`crate::validate`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the file is whole.
    pub verdict: Verdict,
    /// Declarations that do not mean the format that was found.
    pub disagreements: Vec<Disagreement>,
    /// Bytes behind the end.
    pub trailing: Option<Trailing>,
    /// The structures that were met.
    pub walk: Walk,
}

impl Report {
    /// What the file is, where that was recognised.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match self.verdict {
            Verdict::Valid { format, .. } => Some(format),
            Verdict::Invalid { format, .. } | Verdict::Unsupported { format, .. } => format,
        }
    }

    /// Whether nothing at all is wrong: valid, as declared, and nothing behind the end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self.verdict, Verdict::Valid { .. })
            && self.disagreements.is_empty()
            && self.trailing.is_none()
    }

    /// The first thing that is wrong, in one sentence for the sender; `None` where all is well.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Invalid { format: Some(format), offset, what } => {
                return Some(format!("damaged {format}: {what} (at byte {offset})"));
            }
            Verdict::Invalid { what, .. } => return Some(what.clone()),
            Verdict::Unsupported { format: Some(format), offset, what } => {
                return Some(format!("{format} that cannot be checked: {what} (at byte {offset})"));
            }
            Verdict::Unsupported { what, .. } => return Some(what.clone()),
            Verdict::Valid { format, .. } => {
                if let Some(Disagreement { by, declared, .. }) = self.disagreements.first() {
                    return Some(format!("the {by} {declared} does not mean {format}"));
                }
            }
        }
        let Trailing { offset, len, looks_like } = self.trailing?;
        let looks = looks_like.map(|format| format!(", which look like {format}"));
        let looks = looks.unwrap_or_default();
        Some(format!("{len} bytes follow the end of the file at byte {offset}{looks}"))
    }
}
