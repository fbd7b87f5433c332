//! The hidden verb by which a server has components compiled: in a child of its own, with limits.

use std::path::PathBuf;

use backlot_runtime::{CompileLimits, Compiler, compiler_process};

use crate::Done;
use crate::cli::CompileArgs;
use crate::fault::Fault;

/// The verb.
pub(crate) const VERB: &str = "compile-component";

/// This program as the compiler, also when its file was replaced meanwhile.
pub(crate) fn compiler(limits: CompileLimits) -> Compiler {
    let program = PathBuf::from("/proc/self/exe");
    Compiler::Child { program, arguments: vec![VERB.into()], limits }
}

pub(crate) fn run(args: &CompileArgs) -> Result<Done, Fault> {
    let CompileArgs { cpu_secs, memory_megabytes, engine } = *args;
    match compiler_process(CompileLimits { cpu_secs, memory_megabytes }, engine) {
        Ok(()) => Ok(Done::Well),
        Err(reason) => {
            // For the server, which puts it into words of its own.
            eprintln!("{reason}");
            Ok(Done::SomeFailed)
        }
    }
}
