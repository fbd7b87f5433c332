//! Why a step was not done, sorted by what happens next.

use backlot_formats::InputError;
use backlot_sdk::{children, context, objects};

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The object was deleted or replaced: there is nothing to say about it any more.
    #[error("the object was deleted or replaced meanwhile")]
    Gone,
    /// Something passing; the text is for the operator. Retried by the function's policy.
    #[error("{0}")]
    Passing(String),
    /// It will never work; the text is for whoever asked.
    #[error("{0}")]
    Never(String),
}

impl From<objects::Error> for Fault {
    fn from(error: objects::Error) -> Self {
        match error {
            objects::Error::NotFound => Self::Gone,
            objects::Error::Denied(text) => Self::Never(format!(
                "storage: {text}; name the bucket in a [[validate]] of backlot.toml"
            )),
            objects::Error::NoSuchBucket => Self::Never("the bucket does not exist".to_owned()),
            objects::Error::PreconditionFailed => {
                Self::Passing("storage: a precondition failed".to_owned())
            }
            objects::Error::OverLimit(text) => {
                Self::Passing(format!("storage: over limit: {text}"))
            }
            objects::Error::Invalid(text) => Self::Passing(format!("storage: invalid: {text}")),
            objects::Error::Fenced => {
                Self::Passing("storage: this attempt was superseded".to_owned())
            }
            objects::Error::Unavailable(text) => {
                Self::Passing(format!("storage: unavailable: {text}"))
            }
        }
    }
}

impl From<InputError> for Fault {
    fn from(error: InputError) -> Self {
        Self::Passing(error.to_string())
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
        Self::Never(format!("the message is not what it should be: {error}"))
    }
}
