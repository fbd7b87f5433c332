//! What the host keeps for one guest instance, from its start to its end.

use std::time::Duration;

use backlot_backup::guest::BackupCtx;
use backlot_encoding::guest::{EncodingCtx, EncodingView};
use backlot_ledger::LogSource;
use backlot_storage::guest::{StorageCtx, StorageView};
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use crate::context::{Caller, ContextView};
use crate::engine::Engine;
use crate::http::{Outbound, Output, Source};
use crate::limiter::Limiter;
use crate::limits::Limits;
use crate::logs::AttemptLog;

/// Most random bytes of one call.
const RANDOM_MAX_BYTES: u64 = 64 << 10;

/// Most bytes of a guest's header fields, as they lie in memory. Clients read 16 to 64 KiB.
const FIELDS_MAX_BYTES: usize = 64 << 10;

/// The data of a guest's store. Interfaces see it through views of the parts they need.
pub(crate) struct GuestState {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) limiter: Limiter,
    pub(crate) storage: StorageCtx,
    pub(crate) backup: BackupCtx,
    pub(crate) encoding: EncodingCtx,
    pub(crate) caller: Caller,
    pub(crate) http: WasiHttpCtx,
    pub(crate) outbound: Outbound,
}

impl GuestState {
    pub(crate) fn storage(&mut self) -> StorageView<'_> {
        StorageView { table: &mut self.table, ctx: &mut self.storage }
    }

    pub(crate) fn backup(&mut self) -> &mut BackupCtx {
        &mut self.backup
    }

    pub(crate) fn encoding(&mut self) -> EncodingView<'_> {
        EncodingView { table: &mut self.table, ctx: &mut self.encoding }
    }

    pub(crate) fn context(&mut self) -> ContextView<'_> {
        ContextView { caller: &mut self.caller }
    }

    pub(crate) fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// For requests and responses that a guest makes.
pub(crate) fn http() -> WasiHttpCtx {
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(FIELDS_MAX_BYTES);
    http
}

/// A table for the host's handles: readers, writers, sessions, streams, pollables.
pub(crate) fn handles(limits: &Limits) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles());
    table
}

/// A store that holds its guest to the function's limits and lets others have their turn.
pub(crate) fn store(engine: &Engine, state: GuestState, limits: &Limits) -> Store<GuestState> {
    let mut store = Store::new(engine.wasmtime(), state);
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(limits.hostcall_bytes());
    // Counts the guest's own resources, which our table does not.
    store.set_max_component_handles(limits.handles());
    store
}

/// WASI for an HTTP guest: as [`wasi`], but with clocks that go and randomness that nobody knows.
pub(crate) fn wasi_of_request<'a>(
    env: impl Iterator<Item = (&'a str, &'a str)>,
    output: &Output,
) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    for (name, value) in env {
        wasi.env(name, value);
    }
    wasi.stdout(output.stream(Source::Stdout))
        .stderr(output.stream(Source::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_MAX_BYTES);
    wasi.build()
}

/// WASI with nothing behind it: no folders, no sockets, no name lookup, no arguments, and of the
/// environment only `env`. Output goes to the log. The wall clock stands still at the moment when
/// the invocation was accepted, and randomness is seeded by the invocation, so that each attempt
/// sees the same; both are only as secret as the seed.
pub(crate) fn wasi<'a>(
    env: impl Iterator<Item = (&'a str, &'a str)>,
    log: &AttemptLog,
    accepted_at: Timestamp,
    seed: [u8; 32],
) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    for (name, value) in env {
        wasi.env(name, value);
    }
    let mut seeds = StdRng::from_seed(seed);
    wasi.stdout(log.stream(LogSource::Stdout))
        .stderr(log.stream(LogSource::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .wall_clock(Frozen(accepted_at))
        .secure_random(StdRng::from_rng(&mut seeds))
        .insecure_random(StdRng::from_rng(&mut seeds))
        .insecure_random_seed(u128::from_le_bytes(half(seed)))
        .max_random_size(RANDOM_MAX_BYTES);
    wasi.build()
}

fn half(seed: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| seed.get(at).copied().unwrap_or_default())
}

/// A clock that stands still.
struct Frozen(Timestamp);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        // Before 1970 nothing was ever accepted.
        Duration::from_millis(u64::try_from(self.0.as_millisecond()).unwrap_or(0))
    }
}
