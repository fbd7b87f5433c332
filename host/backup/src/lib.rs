//! Backups: versions that were handed over go into encrypted, deduplicated repositories that restic
//! reads too.
//!
//! It is the upper half of the capability `storage`, in a crate of its own for what it depends on.
//! What is to be kept waits in the ledger ([`backlot_ledger::backup`]). One thread a repository
//! ([`worker`]) gathers it into snapshots ([`vault`]), reads back, restores on trial, forgets and
//! prunes, and writes down what it did; what fails, or does not happen, is told by an event.

mod catch_up;
mod drill;
mod follow;
pub mod guest;
mod overdue;
mod password;
pub mod path;
mod restore;
mod service;
pub mod settings;
pub mod vault;
mod worker;

pub use drill::Drilled;
pub use restore::{Restore, Restored, to_folder};
pub use service::{BackupError, Backups, RUN_KINDS, RepositoryStatus};
pub use settings::{ALL_BUCKETS, Batch, Keep, S3Target, Settings, Target};
