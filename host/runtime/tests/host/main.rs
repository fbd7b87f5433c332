//! Drives real guests on a real ledger and store, through the runtime's public interface.

mod deploy;
mod durable;
mod grants;
mod limits;
mod outcomes;
mod support;
