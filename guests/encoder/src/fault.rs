//! Why a film was not made, sorted by what happens next.

use backlot_media::MediaError;
use backlot_packaging::PackagingError;
use backlot_sdk::{children, context, encoder, objects};

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The publisher's to mend; the text is for them. Never retried.
    #[error("{0}")]
    Publisher(String),
    /// Something passing; the text is for the operator. Retried by the function's policy.
    #[error("{0}")]
    Passing(String),
    /// The upload was deleted or replaced: there is nothing to do any more.
    #[error("the upload was deleted or replaced meanwhile")]
    Gone,
}

impl From<MediaError> for Fault {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Input(_) | MediaError::Request { .. } => Self::Passing(error.to_string()),
            _ => Self::Publisher(error.to_string()),
        }
    }
}

impl From<PackagingError> for Fault {
    fn from(error: PackagingError) -> Self {
        match error {
            PackagingError::OverLimit { .. } => Self::Publisher(error.to_string()),
            _ => Self::Passing(error.to_string()),
        }
    }
}

impl From<objects::Error> for Fault {
    fn from(error: objects::Error) -> Self {
        Self::Passing(match error {
            objects::Error::Denied(text) => format!("storage: denied: {text}"),
            objects::Error::NoSuchBucket => "storage: the bucket does not exist".to_owned(),
            objects::Error::NotFound => "storage: an object is missing".to_owned(),
            objects::Error::PreconditionFailed => "storage: a precondition failed".to_owned(),
            objects::Error::OverLimit(text) => format!("storage: over limit: {text}"),
            objects::Error::Invalid(text) => format!("storage: invalid: {text}"),
            objects::Error::Fenced => "storage: this attempt was superseded".to_owned(),
            objects::Error::Unavailable(text) => format!("storage: unavailable: {text}"),
        })
    }
}

impl From<encoder::Error> for Fault {
    fn from(error: encoder::Error) -> Self {
        match error {
            encoder::Error::OverLimit(text) => Self::Publisher(text),
            encoder::Error::Denied(text) => Self::Passing(format!("encoding: denied: {text}")),
            encoder::Error::Invalid(text) => Self::Passing(format!("encoding: invalid: {text}")),
            encoder::Error::Failed(text) => Self::Passing(format!("encoding: {text}")),
        }
    }
}

impl From<context::Error> for Fault {
    fn from(error: context::Error) -> Self {
        Self::Passing(match error {
            context::Error::Denied(text) => format!("invocation: denied: {text}"),
            context::Error::OverLimit(text) => format!("invocation: over limit: {text}"),
            context::Error::Invalid(text) => format!("invocation: invalid: {text}"),
        })
    }
}

impl From<children::Error> for Fault {
    fn from(error: children::Error) -> Self {
        Self::Passing(match error {
            children::Error::Denied(text) => format!("children: denied: {text}"),
            children::Error::OverLimit(text) => format!("children: over limit: {text}"),
            children::Error::Invalid(text) => format!("children: invalid: {text}"),
        })
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Passing(format!("a message of our own: {error}"))
    }
}
