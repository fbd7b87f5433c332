//! Arguments of `backlot backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Remote;
use crate::moment;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) verb: BackupVerb,
    /// The repository [default: the only one; of `now`, `verify`, `drill` and `prune` each]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// How far each bucket is backed up, what waits, and how the last checks went
    Status,
    /// Back up everything that is not, now
    Now {
        /// Only this bucket
        bucket: Option<String>,
    },
    /// The snapshots, oldest first
    Snapshots,
    /// Objects in a snapshot
    Ls {
        /// Its id, the first digits of it, or `latest`
        #[arg(default_value = "latest")]
        snapshot: String,
        /// Only of this bucket
        #[arg(long)]
        bucket: Option<String>,
        /// Only keys that begin so
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Read a part of the repository back, and name what is damaged
    Verify {
        /// All of it
        #[arg(long)]
        all: bool,
    },
    /// Restore objects on trial, and compare them byte for byte
    Drill,
    /// Restore a snapshot
    Restore {
        /// Its id, the first digits of it, or `latest`
        #[arg(default_value = "latest")]
        snapshot: String,
        /// The last one up to this moment, such as 2026-01-31T12:00:00Z or 2h (ago)
        #[arg(long, value_name = "TIME", value_parser = moment::parse)]
        at: Option<Timestamp>,
        /// Only objects of this bucket
        #[arg(long, value_name = "BUCKET")]
        bucket: Option<String>,
        /// Only keys that begin so
        #[arg(long, default_value = "")]
        prefix: String,
        /// Into this bucket [default: their own]
        #[arg(long, value_name = "BUCKET", conflicts_with = "to_folder")]
        to: Option<String>,
        /// Into this folder, as files; needs no server, only the configuration and the password
        #[arg(long, value_name = "DIR")]
        to_folder: Option<PathBuf>,
        /// Also over objects that are there
        #[arg(long, conflicts_with = "to_folder")]
        overwrite: bool,
    },
    /// Forget the snapshots that are not to be kept, and free their space
    Prune,
}
