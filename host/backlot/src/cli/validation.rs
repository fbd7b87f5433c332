//! Arguments of the verbs about what is valid and what is not.

use clap::{Args, Subcommand};

use super::Remote;

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A file here, or BUCKET/KEY on the server (s3://BUCKET/KEY where there is such a file too)
    #[arg(value_name = "FILE|BUCKET/KEY")]
    pub(crate) what: String,
    /// Of a file: its media type, as an upload would declare it
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Do not print the structures that were walked
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    pub(crate) verb: QuarantineVerb,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineVerb {
    /// What is in quarantine, oldest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// Go on after this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Everything about one object
    Show {
        /// Its id
        id: String,
    },
    /// Put objects back as they were; they are not judged again until they are uploaded anew
    Release {
        /// Their ids
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        /// Also where there is another object under the key now
        #[arg(long)]
        replace: bool,
    },
    /// Delete objects for good
    Drop {
        /// Their ids
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}
