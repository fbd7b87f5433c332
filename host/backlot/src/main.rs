//! The `backlot` binary: one file a verb, the configuration, and the wiring of everything else.

mod answers;
mod backup;
mod cancel;
mod certificates;
mod cli;
mod client;
mod compile;
mod config;
mod credentials;
mod dead_letters;
mod deploy;
mod doors;
mod each;
mod encode;
mod events;
mod explain;
mod fault;
mod functions;
mod functions_folder;
mod history;
mod invoke;
mod ledger;
mod logging;
mod logs;
mod moment;
mod node;
mod publish;
mod quarantine;
mod replay;
mod runs;
mod select;
mod serve;
mod signals;
mod sockets;
mod token;
mod tokens;
mod validate;
mod validator;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use fault::Fault;

/// Exit code of a verb that was ended by Ctrl-C, as shells count it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Exit code of a verb that did its work and found that something failed.
const SOME_FAILED: u8 = 1;

/// How a verb ended that did not fail.
enum Done {
    Well,
    /// What it was to do was done, but not all of it succeeded.
    SomeFailed,
    /// By a signal, in good order, with something left to go on with.
    Interrupted,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.verb.wants_json();
    match run(cli) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::SomeFailed) => ExitCode::from(SOME_FAILED),
        Ok(Done::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(fault) => {
            fault.print(json);
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<Done, Fault> {
    match cli.verb {
        Verb::Serve(args) => serve::run(args),
        Verb::Encode(args) => encode::run(args),
        Verb::Runs(args) => runs::run(args),
        Verb::Logs(args) => logs::run(args),
        Verb::Invoke(args) => invoke::run(args),
        Verb::Publish(args) => publish::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Cancel(args) => cancel::run(args),
        Verb::DeadLetters(args) => dead_letters::run(args),
        Verb::Functions(args) => functions::run(args),
        Verb::Deploy(args) => deploy::run(args),
        Verb::Versions(args) => functions::versions(args),
        Verb::Diff(args) => functions::diff(args),
        Verb::Promote(args) => functions::change(args, "promote"),
        Verb::Rollback(args) => functions::rollback(args),
        Verb::Enable(args) => functions::change(args, "enable"),
        Verb::Disable(args) => functions::change(args, "disable"),
        Verb::Remove(args) => functions::change(args, "remove"),
        Verb::Digest(args) => deploy::digest(&args),
        Verb::Validate(args) => validate::run(&args),
        Verb::Backup(args) => backup::run(args),
        Verb::Quarantine(args) => quarantine::run(args),
        Verb::Tokens(args) => tokens::run(args),
        Verb::Audit(args) => tokens::audit(args),
        Verb::Compile(args) => compile::run(&args),
        Verb::Ledger(args) => ledger::run(&args),
        Verb::Config(args) => config::show::run(args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Completions(args) => cli::completions(&args),
        Verb::Version => out(&format!("backlot {}\n", env!("CARGO_PKG_VERSION"))),
        #[cfg(feature = "crash-points")]
        Verb::CrashPoints => out(&(backlot_ledger::crash::POINTS.join("\n") + "\n")),
    }
}

/// Writes to standard output. A reader that has gone is no failure of ours.
fn out(text: &str) -> Result<Done, Fault> {
    out_live(text).map(|_| Done::Well)
}

/// As [`out`], for what goes on and on: whether anybody still reads.
fn out_live(text: &str) -> Result<bool, Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(err) => Err(Fault::new(
            "E0902",
            format!("standard output cannot be written: {err}"),
            "write to another place",
        )),
    }
}
