//! Arguments of the verbs that talk to a running server.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::client::Endpoint;
use crate::moment;

/// Exactly one of these arguments.
fn one_of(id: &'static str, arguments: [&'static str; 2]) -> ArgGroup {
    ArgGroup::new(id).required(true).multiple(false).args(arguments)
}

/// Which server, and how it answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// Address of the server's HTTP side [default: as configured, else 127.0.0.1:8080]
    ///
    /// An address with its port, or https://NAME:PORT
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) http: Option<Endpoint>,
    /// Certificates of authorities to trust, as PEM [default: those that browsers trust]
    #[arg(long, global = true, value_name = "FILE", env = "BACKLOT_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The configuration file [default: backlot.toml if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "BACKLOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What changes need [default: read from the file `admin-token` in the data folder]
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "BACKLOT_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// [`Server`], and where its token is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) server: Server,
    /// The server's data folder, for its token [default: as configured, else backlot-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Which invocations.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only of this function
    #[arg(long)]
    pub(crate) function: Option<String>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    /// Only of events of this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only of events with this subject, such as an object's key
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Only accepted since then: 10m, 1h, 2d, or a moment as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub(crate) since: Option<Timestamp>,
}

/// Where an invocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Queued,
    Running,
    Parked,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A list of invocations.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// At most so many, the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// Go on with each change, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<RunsVerb>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsVerb {
    /// The newest invocations (also without a verb)
    List(ListArgs),
    /// One invocation with its event, attempts, effects, children and log
    Show {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Of this invocation [default: of the newest]
    pub(crate) id: Option<String>,
    /// Only of this function
    #[arg(long)]
    pub(crate) function: Option<String>,
    /// Go on with what attempts write, as they end, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Events whose shape is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Example {
    /// An object was written: --set bucket, key, size, etag, version, content
    ObjectCreated,
    /// An object was deleted: --set bucket, key, size, etag, version, content
    ObjectRemoved,
    /// A schedule's moment came: --set name, slot
    Schedule,
}

#[derive(Debug, Args)]
#[command(group(one_of("the_event", ["event", "example"])))]
pub(crate) struct InvokeArgs {
    /// The function's name
    pub(crate) function: String,
    /// A CloudEvent as JSON, `-` for standard input; what is missing of it is filled in
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// An event such as the host makes
    #[arg(long, value_enum)]
    pub(crate) example: Option<Example>,
    /// Change the example
    #[arg(long, value_name = "KEY=VALUE", requires = "example", conflicts_with = "event")]
    pub(crate) set: Vec<String>,
    /// Run this version: its id, or the first digits
    #[arg(long, value_name = "ID")]
    pub(crate) version: Option<String>,
    /// Wait for the end and print the result; exit code 1 if it failed
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The event's type, such as order.paid
    #[arg(long = "type", value_name = "KIND")]
    pub(crate) kind: String,
    /// What it is about, within its source
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Who says so [default: /api]
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Its id: the same id is published once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The data: JSON, or @FILE with JSON (@- for standard input)
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// How to run again.
#[derive(Debug, Clone, Args)]
pub(crate) struct Again {
    /// As a new invocation that has done nothing, instead of going on
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Run this version: its id, or the first digits
    #[arg(long, value_name = "ID")]
    pub(crate) version: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(one_of("which", ["ids", "state"])))]
pub(crate) struct ReplayArgs {
    /// Ids of ended invocations
    #[arg(value_name = "ID", conflicts_with_all = ["function", "kind", "subject", "since"])]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) again: Again,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Ids of invocations
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    pub(crate) verb: DeadLettersVerb,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersVerb {
    /// Those there are, newest first
    List {
        #[command(flatten)]
        letters: Letters,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
    },
    /// Run them again
    #[command(disable_version_flag = true)]
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        again: Again,
    },
    /// Forget them with their events, effects and logs
    Drop {
        #[command(flatten)]
        which: Which,
        /// Yes, with --all
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
pub(crate) struct Letters {
    /// Only of this function
    #[arg(long)]
    pub(crate) function: Option<String>,
    /// Only accepted since then: 10m, 1h, 2d, or a moment as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = moment::parse)]
    pub(crate) since: Option<Timestamp>,
}

/// Dead letters by id, or all.
#[derive(Debug, Clone, Args)]
#[command(group(one_of("which", ["ids", "all"])))]
pub(crate) struct Which {
    /// Their ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All, or all that --function and --since name
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) letters: Letters,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    fn is_taken(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn what_is_meant_is_said_exactly_once() {
        for good in [
            "backlot runs --state failed --since 1h --follow --json",
            "backlot runs list --subject a.mp4",
            "backlot runs show 0123 --json",
            "backlot logs -f --function encoder",
            "backlot invoke f --example schedule --set name=daily --version ab --wait",
            "backlot publish --type order.paid --data 1",
            "backlot replay 0123 4567 --fresh",
            "backlot replay --state failed --function f --version ab",
            "backlot dead-letters drop --all --yes --since 1d",
            "backlot dead-letters replay 0123 --version ab",
            "backlot functions",
            "backlot functions show f --json",
            "backlot deploy f.wasm --manifest g.toml --canary 12.5% --accept-grants",
            "backlot deploy f.wasm --signature f.minisig",
            "backlot rollback f",
            "backlot rollback f 0123",
            "backlot diff f 01 23",
            "backlot tokens create ci --scope deploy --days 30",
            "backlot tokens list",
            "backlot audit --limit 5",
        ] {
            assert!(is_taken(good), "{good}");
        }
        for bad in [
            "backlot runs --state dead",
            "backlot invoke f",
            "backlot invoke f --event - --example schedule",
            "backlot invoke f --event - --set key=a",
            "backlot publish",
            "backlot replay",
            "backlot replay --function f",
            "backlot replay 0123 --state failed",
            "backlot cancel",
            "backlot deploy",
            "backlot deploy f.wasm --canary 0%",
            "backlot deploy f.wasm --canary 101%",
            "backlot deploy f.wasm --canary 0.001%",
            "backlot diff f 01",
            "backlot tokens create ci",
            "backlot tokens create ci --scope root",
            "backlot dead-letters drop",
            "backlot dead-letters drop 0123 --all",
        ] {
            assert!(!is_taken(bad), "{bad}");
        }
    }
}
