//! Why an encode was not done.

/// Everything that can go wrong in this crate. Texts are written for the author of a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A named limit was passed.
    #[error("{what}: {got} is over the limit of {limit}")]
    OverLimit {
        /// The quantity, as the caller named it.
        what: &'static str,
        /// What was asked for.
        got: u64,
        /// What is allowed, inclusive.
        limit: u64,
    },
    /// A field makes no sense, whatever the limits.
    #[error("{what}: {why}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The encoder gave up; the session is over.
    #[error("the encoder failed: {0}")]
    Failed(String),
}

impl EncodeError {
    pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> EncodeError {
        EncodeError::Invalid { what, why: why.into() }
    }
}

/// `got` if it is at most `limit`.
pub(crate) fn at_most(what: &'static str, got: u64, limit: u64) -> Result<(), EncodeError> {
    if got <= limit { Ok(()) } else { Err(EncodeError::OverLimit { what, got, limit }) }
}
