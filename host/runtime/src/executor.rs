//! The threads that guests run on: tokio runtimes of their own, so that a guest that computes never
//! delays an answer of the other front doors. Those of durable guests have a lower priority; HTTP
//! guests share theirs with the listener that their requests come in by, because a request that
//! changes threads costs more than many guests take.

use tokio::runtime::{Builder, Handle, Runtime};

/// Longest name that Linux keeps for a thread is 15 bytes.
const THREAD_NAME: &str = "guest";

/// Of those of HTTP guests.
const HTTP_THREAD_NAME: &str = "guest-http";

/// Threads for blocking calls of guests' host calls (reads of the ledger, file syncs). They wait
/// far more than they work.
const BLOCKING_THREADS_MAX: usize = 64;

/// How often a thread of HTTP guests looks at sockets and timers, in guests that it ran: they are
/// short, and each look is a system call. Guests that compute without end hold a thread for an
/// epoch's tick each, so a look is never more than that many ticks away.
const HTTP_EVENT_INTERVAL: u32 = 4;

/// Owns the runtime. Dropping it ends the guests at their next yield, without waiting.
pub(crate) struct Executor {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Executor {
    /// `threads` workers for durable guests, at this niceness (0 to 19).
    pub(crate) fn for_guests(threads: usize, niceness: i32) -> std::io::Result<Self> {
        // A guest that computes holds its thread for an epoch's tick, so timers (wall limits,
        // heartbeats) must be looked at after each, not after each 61st.
        Self::new(THREAD_NAME, threads, niceness, 1)
    }

    /// `threads` workers for HTTP guests and their listener.
    pub(crate) fn for_http(threads: usize) -> std::io::Result<Self> {
        Self::new(HTTP_THREAD_NAME, threads, 0, HTTP_EVENT_INTERVAL)
    }

    fn new(
        name: &str,
        threads: usize,
        niceness: i32,
        event_interval: u32,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name(name)
            .event_interval(event_interval)
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
    if niceness == 0 {
        return;
    }
    if let Err(err) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%err, niceness, "guest thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_run_nicer_than_who_started_them() {
        let executor = Executor::for_guests(1, 7).unwrap();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let inside = executor.handle().block_on(executor.handle().spawn(async move { niceness() }));
        assert_eq!(inside.unwrap(), 7);
        assert_eq!(niceness(), before);
    }
}
