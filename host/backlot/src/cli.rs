//! The command line.

mod backup;
mod functions;
mod remote;
mod validation;

use std::net::SocketAddr;
use std::path::PathBuf;

use backlot_runtime::EngineKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::fault::Fault;
use crate::{Done, out};

pub(crate) use backup::{BackupArgs, BackupVerb};
pub(crate) use functions::*;
pub(crate) use remote::*;
pub(crate) use validation::*;

/// Upload a video over S3, watch it in the browser.
#[derive(Debug, Parser)]
#[command(name = "backlot", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server: S3 for uploads, HTTP for pages, API and functions
    Serve(ServeArgs),
    /// Encode one file without a server
    Encode(EncodeArgs),
    /// Show what a running server runs and ran
    #[command(visible_alias = "invocations")]
    Runs(RunsArgs),
    /// Show what attempts wrote
    Logs(LogsArgs),
    /// Give an event to one function
    #[command(disable_version_flag = true)]
    Invoke(InvokeArgs),
    /// Give an event to all functions that wait for it
    Publish(PublishArgs),
    /// Run ended invocations again
    #[command(disable_version_flag = true)]
    Replay(ReplayArgs),
    /// End invocations with all they started
    Cancel(CancelArgs),
    /// Failed invocations: list, replay, drop
    DeadLetters(DeadLettersArgs),
    /// Show the deployed functions
    Functions(FunctionsArgs),
    /// Deploy a component as a version of its function
    Deploy(DeployArgs),
    /// Show a function's versions
    Versions(FunctionArgs),
    /// Show how two versions differ
    Diff(DiffArgs),
    /// Make a function's canary live
    Promote(FunctionArgs),
    /// Withdraw a function's canary; without one, go back to the version before
    #[command(disable_version_flag = true)]
    Rollback(RollbackArgs),
    /// Let events and schedules start a function again
    Enable(FunctionArgs),
    /// Let nothing start a function; what waits already is done
    Disable(FunctionArgs),
    /// Forget a function with its versions
    Remove(FunctionArgs),
    /// Print what a signature of a component and its manifest is of
    Digest(DigestArgs),
    /// Check whether a file, or an object on a server, is whole and what it says it is
    Validate(ValidateArgs),
    /// Back up, verify and restore
    Backup(BackupArgs),
    /// What was found invalid and put away: list, release, drop
    Quarantine(QuarantineArgs),
    /// Who may use the server's API
    Tokens(TokensArgs),
    /// Who changed what over the server's API
    Audit(AuditArgs),
    /// Compile a component from standard input to machine code
    #[command(name = crate::compile::VERB, hide = true)]
    Compile(CompileArgs),
    /// Look after the ledger
    Ledger(LedgerArgs),
    /// Show the configuration
    Config(ConfigArgs),
    /// Explain an error code, such as E0201
    Explain(ExplainArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the version
    Version,
    /// Print the places where a test can end the process
    #[cfg(feature = "crash-points")]
    #[command(hide = true)]
    CrashPoints,
}

impl Verb {
    /// Whether errors are printed for a program to read.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Serve(args) => args.json,
            Self::Encode(args) => args.json,
            Self::Runs(args) => args.remote.server.json,
            Self::Logs(args) => args.remote.server.json,
            Self::Invoke(args) => args.remote.server.json,
            Self::Publish(args) => args.server.json,
            Self::Replay(args) => args.remote.server.json,
            Self::Cancel(args) => args.remote.server.json,
            Self::DeadLetters(args) => args.remote.server.json,
            Self::Functions(args) => args.remote.server.json,
            Self::Deploy(args) => args.remote.server.json,
            Self::Versions(args)
            | Self::Promote(args)
            | Self::Enable(args)
            | Self::Disable(args)
            | Self::Remove(args) => args.remote.server.json,
            Self::Diff(args) => args.remote.server.json,
            Self::Rollback(args) => args.remote.server.json,
            Self::Validate(args) => args.remote.server.json,
            Self::Backup(args) => args.remote.server.json,
            Self::Quarantine(args) => args.remote.server.json,
            Self::Tokens(args) => args.remote.server.json,
            Self::Audit(args) => args.remote.server.json,
            Self::Ledger(args) => args.json,
            Self::Config(args) => args.json,
            _ => false,
        }
    }
}

/// What `serve` and `config show` take to find and override the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConfigFlags {
    /// The configuration file [default: backlot.toml if it is there]
    #[arg(long, value_name = "FILE", env = "BACKLOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of everything the server keeps [default: backlot-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the S3 front door [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) s3: Option<SocketAddr>,
    /// Address of pages and API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Address of HTTP functions [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub(crate) functions: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) flags: ConfigFlags,
    /// Write addresses and keys as JSON to this file (mode 0600) when ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Print the start as one JSON object, and log as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much time to spend for fewer bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    Fast,
    Balanced,
    Best,
}

impl Preset {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Best => "best",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    /// The film: MP4, MOV, Matroska, WebM or Y4M
    pub(crate) file: PathBuf,
    /// Folder for the result; the state of an interrupted encode is in it too
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How much time to spend
    #[arg(long, value_enum, default_value = "balanced")]
    pub(crate) preset: Preset,
    /// 0 (smallest) to 100 (best) [default: the preset's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) quality: Option<u8>,
    /// Cut the film into exactly so many parts, as far as it allows
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub(crate) parts: Option<u32>,
    /// Only these renditions, such as 720p,360p
    #[arg(long, value_delimiter = ',', value_name = "RUNGS", value_parser = rung)]
    pub(crate) rungs: Vec<String>,
    /// Also make a progressive MP4 for download
    #[arg(long)]
    pub(crate) mp4: bool,
    /// Encode so many parts at once [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn rung(text: &str) -> Result<String, String> {
    match text.strip_suffix('p').unwrap_or(text).parse::<u32>() {
        Ok(lines) if (16..=4_320).contains(&lines) => Ok(format!("{lines}p")),
        _ => Err("a rung is its lines, such as 720p".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    pub(crate) verb: LedgerVerb,
    /// One JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerVerb {
    /// Whether it is whole: reads all of it, changes nothing, and may run beside a server
    Check {
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Every value with where it comes from
    Show {
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

/// Made by the server for its child alone.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    pub(crate) cpu_secs: u64,
    pub(crate) memory_megabytes: u64,
    pub(crate) engine: EngineKind,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code; without it all codes are listed
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For this shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Done, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "backlot", &mut script);
    out(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rungs_are_lines() {
        assert_eq!(rung("720p").as_deref(), Ok("720p"));
        assert_eq!(rung("360").as_deref(), Ok("360p"));
        for bad in ["", "p", "15", "4321p", "720i", "-1"] {
            assert!(rung(bad).is_err(), "{bad}");
        }
    }
}
