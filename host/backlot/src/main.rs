//! The `backlot` binary: one file a verb, the configuration, and the wiring of everything else.

mod cli;
mod client;
mod config;
mod credentials;
mod encode;
mod explain;
mod fault;
mod functions_folder;
mod history;
mod logging;
mod node;
mod runs;
mod serve;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use fault::Fault;

/// Exit code of a verb that was ended by Ctrl-C, as shells count it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// How a verb ended that did not fail.
enum Done {
    Well,
    /// By a signal, in good order, with something left to go on with.
    Interrupted,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.verb.wants_json();
    match run(cli) {
        Ok(Done::Well) => ExitCode::SUCCESS,
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
        Verb::Config(args) => config::show::run(args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Completions(args) => cli::completions(&args),
        Verb::Version => out(&format!("backlot {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

/// Writes to standard output. A reader that has gone is no failure of ours.
fn out(text: &str) -> Result<Done, Fault> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != std::io::ErrorKind::BrokenPipe => Err(Fault::new(
            "E0902",
            format!("standard output cannot be written: {err}"),
            "write to another place",
        )),
        _ => Ok(Done::Well),
    }
}
