//! The wasmtime engines: one for durable handlers, one for HTTP handlers, each sized for the guests
//! that can run at once.
//!
//! Guests are compiled ahead of time (see [`crate::compile`]), get their memory from a pool, run as
//! futures that yield at least every [`EPOCH_TICK`] (HTTP: [`HTTP_EPOCH_TICK`]), and can be dropped
//! at any such point.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// How often a running guest yields to its executor: an aborted or overdue guest that never calls
/// the host is gone after at most about two of these. 10 ms costs a guest that computes nothing
/// measurable and keeps us well inside the promise of 100 ms.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// The same for HTTP guests: they share their threads with whoever waits for an answer.
pub(crate) const HTTP_EPOCH_TICK: Duration = Duration::from_millis(2);

/// Ticks without a guest at work, after which there are none until one is: an idle host sleeps,
/// and one that has a request now and then need not wake its ticker for each.
const IDLE_TICKS: u32 = 100;

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

/// What of an HTTP guest's fibre stack stays resident for the next one, in bytes.
const HTTP_STACK_KEPT_BYTES: usize = 64 << 10;

/// Slots of the HTTP pool that keep what a guest of one module left while others start, so that
/// functions which take turns do not clear one another's.
const HTTP_WARM_SLOTS: u32 = 64;

/// Frames of a trap's backtrace that are kept.
const BACKTRACE_FRAMES_MAX: usize = 64;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// That of handlers of events.
    Durable,
    /// That of handlers of HTTP requests.
    Http,
}

impl EngineKind {
    /// Its name, which [`str::parse`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Http => "http",
        }
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "durable" => Ok(Self::Durable),
            "http" => Ok(Self::Http),
            other => Err(format!("{other:?} is no engine: durable or http")),
        }
    }
}

/// A wasmtime engine with the thread that advances its epoch.
#[derive(Clone)]
pub(crate) struct Engine {
    inner: wasmtime::Engine,
    /// Stopped when the last clone goes.
    ticker: Arc<Ticker>,
}

/// A guest at work.
pub(crate) struct AtWork(Arc<Ticker>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Engine {
    /// An engine for durable handlers, whose pool holds `guests` guest instances at once.
    ///
    /// # Errors
    /// When the address space for the pool cannot be reserved (a low `ulimit -v`), or no thread
    /// can be started.
    pub(crate) fn durable(guests: usize) -> wasmtime::Result<Self> {
        // No interface that these guests import is async in WIT, and stores without that machinery
        // are cheaper.
        Self::new(config(pool(guests)?).concurrency_support(false), EPOCH_TICK)
    }

    /// An engine for HTTP handlers, whose pool holds `guests` guest instances at once.
    ///
    /// # Errors
    /// As [`Engine::durable`].
    pub(crate) fn http(guests: usize) -> wasmtime::Result<Self> {
        let mut pool = pool(guests)?;
        pool.async_stack_keep_resident(HTTP_STACK_KEPT_BYTES)
            .max_unused_warm_slots(HTTP_WARM_SLOTS);
        // Handlers of `wasi:http` 0.3 are async in WIT.
        Self::new(config(pool).concurrency_support(true), HTTP_EPOCH_TICK)
    }

    fn new(config: &Config, tick: Duration) -> wasmtime::Result<Self> {
        let inner = wasmtime::Engine::new(config)?;
        let ticker = Ticker::start(inner.clone(), tick)?;
        Ok(Self { inner, ticker: Arc::new(ticker) })
    }

    /// Held while guests run on this engine: the epoch advances meanwhile.
    pub(crate) fn at_work(&self) -> AtWork {
        self.ticker.enter();
        AtWork(self.ticker.clone())
    }

    /// An engine that only compiles, for the others: it reserves no memory for guests.
    ///
    /// # Errors
    /// When the configuration is one that wasmtime does not take, which is a bug of ours.
    pub(crate) fn compiling(kind: EngineKind) -> wasmtime::Result<wasmtime::Engine> {
        let mut config = config(pool(1)?);
        config.concurrency_support(kind == EngineKind::Http);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        wasmtime::Engine::new(&config)
    }

    /// The wasmtime engine.
    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

/// Whether the kernel can tell which pages a guest has written, so that only those are cleared
/// before the next one. Else the log says once why not.
static PAGE_SCAN: LazyLock<bool> = LazyLock::new(|| match page_scan() {
    Ok(()) => true,
    Err(why) => {
        tracing::info!(why, "guests start slower: their pages are not kept");
        false
    }
});

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

fn pool(guests: usize) -> wasmtime::Result<PoolingAllocationConfig> {
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
    // Without the scan it costs more to clear what is kept than to fault it in anew.
    if *PAGE_SCAN {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_BYTES);
    }
    Ok(pool)
}

/// What both engines have in common.
fn config(pool: PoolingAllocationConfig) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_component_model(true)
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
    config
}

/// The thread that advances the epoch while guests are at work. Dropping it ends the thread.
struct Ticker {
    shared: Arc<Beat>,
    /// Wakes the thread; dropped, it ends it.
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and those whom it ticks for have in common.
#[derive(Default)]
struct Beat {
    at_work: AtomicUsize,
    asleep: AtomicBool,
}

impl Ticker {
    fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let (wake, woken) = mpsc::channel::<()>();
        let shared = Arc::new(Beat::default());
        let beat = shared.clone();
        let thread = std::thread::Builder::new().name("guest-epoch".into()).spawn(move || {
            while beat.wait(&woken, tick) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { shared, wake: Some(wake), thread: Some(thread) })
    }

    fn enter(&self) {
        self.shared.at_work.fetch_add(1, Ordering::SeqCst);
        // Seen to be asleep after the count went up, or it sees the count before it sleeps.
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(wake) = &self.wake
        {
            // Fails only when the thread has ended, which it does when this is dropped.
            wake.send(()).ok();
        }
    }

    fn leave(&self) {
        self.shared.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Beat {
    /// Wait for the next tick; false when there is to be none.
    fn wait(&self, woken: &mpsc::Receiver<()>, tick: Duration) -> bool {
        for _ in 0..IDLE_TICKS {
            if woken.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Disconnected) {
                return false;
            }
            if 0 < self.at_work.load(Ordering::SeqCst) {
                return true;
            }
        }
        self.asleep.store(true, Ordering::SeqCst);
        let idle = self.at_work.load(Ordering::SeqCst) == 0;
        let goes_on = !idle || woken.recv().is_ok();
        self.asleep.store(false, Ordering::SeqCst);
        goes_on
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.wake.take());
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
        let engine = Engine::durable(1).unwrap();
        let other = engine.clone();
        drop(engine);
        let ticker = Arc::downgrade(&other.ticker);
        // Joins the thread: it would hang here if the thread did not end.
        drop(other);
        assert_eq!(ticker.strong_count(), 0);
    }

    #[test]
    fn the_epoch_stands_still_without_guests_and_goes_on_with_the_next() {
        let engine = Engine::durable(1).unwrap();
        let asleep = || engine.ticker.shared.asleep.load(Ordering::SeqCst);
        let wait_until = |condition: &dyn Fn() -> bool| {
            while !condition() {
                std::thread::yield_now();
            }
        };
        for _ in 0..2 {
            wait_until(&asleep);
            let at_work = engine.at_work();
            wait_until(&|| !asleep());
            drop(at_work);
        }
    }
}
