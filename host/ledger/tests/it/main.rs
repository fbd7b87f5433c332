//! The ledger through its public functions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod concurrency;
mod crash;
mod depth;
mod effects;
mod family;
mod functions;
mod leases;
mod properties;
mod record;
mod support;
