//! The threads that guests run on: a tokio runtime of their own, at a lower priority, so that a
//! guest that computes never delays an answer of the front doors.

use tokio::runtime::{Builder, Handle, Runtime};

/// Longest name that Linux keeps for a thread is 15 bytes.
const THREAD_NAME: &str = "guest";

/// Threads for blocking calls of guests' host calls (reads of the ledger, file syncs). They wait
/// far more than they work.
const BLOCKING_THREADS_MAX: usize = 64;

/// Owns the runtime. Dropping it ends the guests at their next yield, without waiting.
pub(crate) struct Executor {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Executor {
    /// `threads` workers at this niceness (0 to 19).
    pub(crate) fn new(threads: usize, niceness: i32) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name(THREAD_NAME)
            // A guest that computes holds its thread for an epoch's tick, so timers (wall limits,
            // heartbeats) must be looked at after each, not after each 61st.
            .event_interval(1)
            .on_thread_start(move || be_nice(niceness))
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // An ordinary drop blocks, which is a panic in async code.
            runtime.shutdown_background();
        }
    }
}

/// On Linux a niceness belongs to the thread.
fn be_nice(niceness: i32) {
    if let Err(err) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%err, niceness, "guest thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_run_nicer_than_who_started_them() {
        let executor = Executor::new(1, 7).unwrap();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let inside = executor.handle().block_on(executor.handle().spawn(async move { niceness() }));
        assert_eq!(inside.unwrap(), 7);
        assert_eq!(niceness(), before);
    }
}
