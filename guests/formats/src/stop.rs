//! Why a walk ended before the end of the file.

use crate::input::InputError;

/// The first thing that is wrong, not walked, or not readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The file breaks its format's rules at this offset.
    Invalid { offset: u64, what: String },
    /// A feature that is not walked, or more of something than the limit.
    Unsupported { offset: u64, what: String },
    /// Not the file's fault.
    Input(InputError),
}

pub(crate) fn invalid(offset: u64, what: impl Into<String>) -> Stop {
    Stop::Invalid { offset, what: what.into() }
}

pub(crate) fn unsupported(offset: u64, what: impl Into<String>) -> Stop {
    Stop::Unsupported { offset, what: what.into() }
}

/// Checks a rule of the format at `offset`; `what` says how it is broken.
pub(crate) fn ensure(holds: bool, offset: u64, what: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(invalid(offset, what())) }
}

/// Checks `got` against an inclusive limit of ours, which is no rule of the format.
pub(crate) fn at_most(what: &str, got: u64, limit: u64, offset: u64) -> Result<(), Stop> {
    if got <= limit {
        return Ok(());
    }
    Err(unsupported(offset, format!("{what}: {got} is over the limit of {limit}")))
}
