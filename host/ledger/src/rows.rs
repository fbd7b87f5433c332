//! How types are stored: the numbers in the columns.

use crate::{AttemptOutcome, ConcurrencyPolicy, Lane, LedgerError, State};

/// `state < 3` in the schema means that it has not ended.
pub(crate) fn state(state: State) -> i64 {
    match state {
        State::Queued => 0,
        State::Running => 1,
        State::Parked => 2,
        State::Succeeded => 3,
        State::Failed => 4,
        State::Cancelled => 5,
    }
}

pub(crate) fn read_state(stored: i64) -> Result<State, LedgerError> {
    Ok(match stored {
        0 => State::Queued,
        1 => State::Running,
        2 => State::Parked,
        3 => State::Succeeded,
        4 => State::Failed,
        5 => State::Cancelled,
        other => return Err(LedgerError::Damaged(format!("invocation state {other}"))),
    })
}

pub(crate) fn lane(lane: Lane) -> i64 {
    match lane {
        Lane::Roots => 0,
        Lane::Children => 1,
    }
}

pub(crate) fn read_lane(stored: i64) -> Result<Lane, LedgerError> {
    match stored {
        0 => Ok(Lane::Roots),
        1 => Ok(Lane::Children),
        other => Err(LedgerError::Damaged(format!("lane {other}"))),
    }
}

pub(crate) fn policy(policy: ConcurrencyPolicy) -> i64 {
    match policy {
        ConcurrencyPolicy::NewestWins => 0,
        ConcurrencyPolicy::InOrder => 1,
    }
}

pub(crate) fn read_policy(stored: i64) -> Result<ConcurrencyPolicy, LedgerError> {
    match stored {
        0 => Ok(ConcurrencyPolicy::NewestWins),
        1 => Ok(ConcurrencyPolicy::InOrder),
        other => Err(LedgerError::Damaged(format!("concurrency policy {other}"))),
    }
}

pub(crate) fn outcome(outcome: AttemptOutcome) -> i64 {
    match outcome {
        AttemptOutcome::Succeeded => 0,
        AttemptOutcome::Rejected => 1,
        AttemptOutcome::Retry => 2,
        AttemptOutcome::Trapped => 3,
        AttemptOutcome::Parked => 4,
        AttemptOutcome::Released => 5,
        AttemptOutcome::Lost => 6,
        AttemptOutcome::Cancelled => 7,
    }
}

pub(crate) fn read_outcome(stored: i64) -> Result<AttemptOutcome, LedgerError> {
    Ok(match stored {
        0 => AttemptOutcome::Succeeded,
        1 => AttemptOutcome::Rejected,
        2 => AttemptOutcome::Retry,
        3 => AttemptOutcome::Trapped,
        4 => AttemptOutcome::Parked,
        5 => AttemptOutcome::Released,
        6 => AttemptOutcome::Lost,
        7 => AttemptOutcome::Cancelled,
        other => return Err(LedgerError::Damaged(format!("attempt outcome {other}"))),
    })
}
