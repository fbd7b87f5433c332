//! What to say about a guest that trapped: one line for the record, frames for the log.

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Lines of a backtrace that are kept.
const BACKTRACE_LINES_MAX: usize = 128;

/// Why the guest ended, in one line.
pub(crate) fn reason(err: &wasmtime::Error, refusal: Option<&str>) -> String {
    let cause = if let Some(exit) = err.downcast_ref::<I32Exit>() {
        format!("the guest exited with status {}", exit.0)
    } else if let Some(trap) = err.downcast_ref::<Trap>() {
        format!("the guest trapped: {}", trap.to_string().trim_start_matches("wasm trap: "))
    } else {
        format!("the guest was ended: {}", err.root_cause())
    };
    match refusal {
        Some(refusal) => format!("{cause} ({refusal})"),
        None => cause,
    }
}

/// Where in the guest, innermost first, with demangled names. Empty when no frame is known.
pub(crate) fn backtrace(err: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = err.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let text = backtrace.to_string();
    text.lines().take(BACKTRACE_LINES_MAX).map(|line| line.trim_end().to_owned()).collect()
}
