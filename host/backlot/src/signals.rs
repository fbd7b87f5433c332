//! The first SIGINT or SIGTERM asks for an end in good order, the second ends the process.

use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::INTERRUPTED;
use crate::fault::Fault;

/// A token that the first signal cancels. Must be called within a runtime.
pub(crate) fn stop_token() -> Result<CancellationToken, Fault> {
    let fault = |err: std::io::Error| {
        Fault::new("E0901", format!("signals cannot be received: {err}"), "report this")
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                process::exit(i32::from(INTERRUPTED));
            }
            stop.cancel();
        }
    });
    Ok(token)
}
