//! Drives real guests on a real ledger and store, through the runtime's public interface.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod deploy;
mod durable;
mod effects;
mod grants;
mod hostile;
mod interfaces;
mod limits;
mod outcomes;
mod properties;
mod replays;
mod sleeps;
mod support;
mod swaps;
mod triggers;
mod zombies;
