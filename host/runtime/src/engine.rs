//! The wasmtime engine: one for the process, sized for the workers that can run guests at once.
//!
//! Guests are compiled ahead of time (see [`crate::compile`]), get their memory from a pool, run as
//! futures that yield at least every [`EPOCH_TICK`], and can be dropped at any such point.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// How often a running guest yields to its executor: an aborted or overdue guest that never calls
/// the host is gone after at most about two of these. 10 ms costs a guest that computes nothing
/// measurable and keeps us well inside the promise of 100 ms.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Largest single linear memory, in bytes: all that a 32-bit guest can address. What a function
/// may use in all is its manifest's `memory_megabytes`.
pub(crate) const MEMORY_MAX_BYTES: usize = 4 << 30;

/// Core instances a guest may consist of: a Rust guest needs four (module, adapter, two shims), a
/// composed JS or Python one up to about thirty.
pub(crate) const CORE_INSTANCES_PER_GUEST: u32 = 64;

/// Linear memories of one guest: its own, and those of what it is composed of.
pub(crate) const MEMORIES_PER_GUEST: u32 = 8;

/// Tables of one guest.
pub(crate) const TABLES_PER_GUEST: u32 = 32;

/// Elements of one table. A decoder's function table has a few thousand.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Native stack of a guest's own frames, in bytes. Deep recursion past it is a trap.
const WASM_STACK_BYTES: usize = 1 << 20;

/// Stack of a guest's fibre: its own frames and those of the host calls it makes.
const FIBRE_STACK_BYTES: usize = 3 << 20;

/// Bytes at the start of each memory and table of a guest's slot that stay for the next guest in
/// it, cleared: all that a small guest writes. What a large one took goes back to the system.
const KEPT_BYTES: usize = 1 << 20;

/// Frames of a trap's backtrace that are kept.
const BACKTRACE_FRAMES_MAX: usize = 64;

/// A wasmtime engine with the thread that advances its epoch.
#[derive(Clone)]
pub(crate) struct Engine {
    inner: wasmtime::Engine,
    /// Stops the ticker when the last clone goes.
    _ticker: Arc<Ticker>,
}

impl Engine {
    /// An engine whose pool holds `guests` guest instances at once.
    ///
    /// # Errors
    /// When the address space for the pool cannot be reserved (a low `ulimit -v`), or no thread
    /// can be started.
    pub(crate) fn new(guests: usize) -> wasmtime::Result<Self> {
        let inner = wasmtime::Engine::new(&config(guests)?)?;
        let ticker = Ticker::start(inner.clone())?;
        Ok(Self { inner, _ticker: Arc::new(ticker) })
    }

    /// An engine that only compiles, for the others: it reserves no memory for guests.
    ///
    /// # Errors
    /// When the configuration is one that wasmtime does not take, which is a bug of ours.
    pub(crate) fn compiling() -> wasmtime::Result<wasmtime::Engine> {
        let mut config = config(1)?;
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        wasmtime::Engine::new(&config)
    }

    /// The wasmtime engine.
    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

/// Whether the kernel can tell which pages a guest has written, so that only those are cleared
/// before the next one; else why not.
fn page_scan() -> Result<(), &'static str> {
    if !PoolingAllocationConfig::is_pagemap_scan_available() {
        return Err("the kernel has no PAGEMAP_SCAN (Linux 6.7)");
    }
    // https://github.com/bytecodealliance/wasmtime/issues/14357: a page that was swapped out is
    // taken for one that was never written.
    match std::fs::read_to_string("/proc/swaps") {
        // The first line is the heading.
        Ok(swaps) if swaps.lines().count() <= 1 => Ok(()),
        Ok(_) => Err("swap is on"),
        Err(_) => Err("whether swap is on cannot be told: /proc/swaps cannot be read"),
    }
}

fn config(guests: usize) -> wasmtime::Result<Config> {
    let guests = u32::try_from(guests)?.max(1);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(guests)
        .total_stacks(guests)
        .total_core_instances(guests.saturating_mul(CORE_INSTANCES_PER_GUEST))
        .total_memories(guests.saturating_mul(MEMORIES_PER_GUEST))
        .total_tables(guests.saturating_mul(TABLES_PER_GUEST))
        .max_core_instances_per_component(CORE_INSTANCES_PER_GUEST)
        .max_memories_per_component(MEMORIES_PER_GUEST)
        .max_tables_per_component(TABLES_PER_GUEST)
        .max_memories_per_module(MEMORIES_PER_GUEST)
        .max_tables_per_module(TABLES_PER_GUEST)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_MAX_BYTES)
        // As few slots as run at once, so that what stays resident is bounded by that.
        .max_unused_warm_slots(0);
    match page_scan() {
        Ok(()) => {
            pool.pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(KEPT_BYTES)
                .table_keep_resident(KEPT_BYTES);
        }
        // Without the scan it costs more to clear what is kept than to fault it in anew.
        Err(why) => tracing::info!(why, "guests start slower: their pages are not kept"),
    }

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_component_model(true)
        // No interface that we link is async in WIT, and stores without that machinery are
        // cheaper. It is turned on with the first one that is.
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // Only debuggers and profilers of the host read it; backtraces of traps do not.
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES)
        // All of what 32 bits can address is reserved (not committed), so that no access needs a
        // bounds check and no growth ever moves a memory.
        .memory_reservation(MEMORY_MAX_BYTES as u64)
        .memory_may_move(false);
    Ok(config)
}

/// The thread that advances the epoch. Dropping it ends the thread.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("guest-epoch".into()).spawn(move || {
            // Ends when the sender is dropped; nothing is ever sent.
            while stopped.recv_timeout(EPOCH_TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It wakes at once and does nothing that could panic.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_thread_ends_with_the_last_engine() {
        let engine = Engine::new(1).unwrap();
        let other = engine.clone();
        drop(engine);
        let ticker = Arc::downgrade(&other._ticker);
        // Joins the thread: it would hang here if the thread did not end.
        drop(other);
        assert_eq!(ticker.strong_count(), 0);
    }
}
