//! The queue of invocations.

use crate::LedgerError;
use crate::tx::Tx;

mod route;

/// Queues the attempts of an earlier process again.
pub(crate) fn void_leases(_tx: &mut Tx<'_>) -> Result<(), LedgerError> {
    Ok(())
}
