//! Why the host ends a guest in the middle of a call: not the guest's fault, and not an answer.

use backlot_ledger::{InvocationId, LedgerError};
use jiff::Timestamp;

/// Carried through the guest as an error of the host call, and recognised where the attempt ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupt {
    /// The guest waits for children: it is run again when they have ended.
    #[error("waits for {} children", .0.len())]
    Parked(Vec<InvocationId>),
    /// The guest sleeps: it is run again at this moment.
    #[error("sleeps until {0}")]
    Asleep(Timestamp),
    /// The attempt is over already: cancelled, superseded, or its lease was lost.
    #[error("the attempt is over")]
    Fenced,
    /// The host could not do what it should; another attempt may.
    #[error("{0}")]
    Unavailable(String),
}

impl From<LedgerError> for Interrupt {
    fn from(err: LedgerError) -> Self {
        match err {
            LedgerError::Fenced(_) => Self::Fenced,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
