//! Drives real guests on a real ledger and store, through the runtime's public interface.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod deploy;
mod durable;
mod grants;
mod limits;
mod outcomes;
mod support;
