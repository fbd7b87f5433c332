//! What can be wrong with an upload, in words its publisher can act on.

use thiserror::Error;

/// What this build reads, for the end of every "not supported" message.
///
/// One sentence; the same text is fit for documentation and for a publisher.
#[must_use]
pub fn supported() -> &'static str {
    "supported are MP4, MOV, Matroska and WebM with H.264 (8 or 10 bit), HEVC (8 or 10 bit) or \
     VP9 video and AAC or Opus sound, and Y4M; progressive, standard dynamic range"
}

/// Why an input gave no index, no frame or no sound.
///
/// The text is shown to the publisher: lowercase, no final period, naming the thing, the value
/// and the limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MediaError {
    /// A format or feature that this crate does not read. Trying again cannot help.
    #[error("{what} is not supported; {}", supported())]
    Unsupported {
        /// The format or feature by the name its publisher knows.
        what: String,
    },
    /// The input breaks its own format's rules, or ends too early.
    #[error("the file is damaged: {what}{}", place(*at))]
    Damaged {
        /// What was found, or what is missing.
        what: String,
        /// Byte offset in the input, where known.
        at: Option<u64>,
    },
    /// The input asks for more than the limit of this installation.
    #[error("{what}: {got} is over the limit of {limit}")]
    OverLimit {
        /// The quantity, with its unit.
        what: String,
        /// What the input asks for.
        got: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// The caller asked for something that the index does not hold. A bug of the caller's.
    #[error("invalid request: {what}")]
    Request {
        /// What was asked.
        what: String,
    },
    /// Reading the input failed; the text comes from the [`crate::Input`]. May be worth a retry.
    #[error("the input could not be read: {0}")]
    Input(String),
}

fn place(at: Option<u64>) -> String {
    at.map(|at| format!(" (at byte {at})")).unwrap_or_default()
}

impl MediaError {
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), at: None }
    }

    pub(crate) fn damaged_at(what: impl Into<String>, at: u64) -> Self {
        Self::Damaged { what: what.into(), at: Some(at) }
    }

    pub(crate) fn request(what: impl Into<String>) -> Self {
        Self::Request { what: what.into() }
    }

    /// Adds the place to damage that does not know it yet.
    pub(crate) fn at(self, offset: u64) -> Self {
        match self {
            Self::Damaged { what, at: None } => Self::Damaged { what, at: Some(offset) },
            other => other,
        }
    }
}

/// Checks `got` against an inclusive `limit`.
pub(crate) fn at_most(what: &str, got: u64, limit: u64) -> Result<(), MediaError> {
    if got <= limit { Ok(()) } else { Err(MediaError::OverLimit { what: what.into(), got, limit }) }
}
