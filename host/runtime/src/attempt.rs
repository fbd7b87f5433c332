//! One attempt: a fresh guest instance, run to its end or ended, and what the ledger is told.

use std::sync::Arc;
use std::time::Duration;

use backlot_backup::guest::BackupCtx;
use backlot_bindings::backlot::function::types::{Event as GuestEvent, Failure};
use backlot_encoding::guest::EncodingCtx;
use backlot_ledger::{
    AttemptEnd, Cost, Effects, Event, Fence, Invocation, Leased, LedgerError, Outcome,
    REASON_BYTES_MAX, RESULT_BYTES_MAX, RetryPolicy, crash,
};
use backlot_storage::guest::StorageCtx;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

use crate::context::{Caller, ContextCtx};
use crate::engine::Engine;
use crate::functions::Version;
use crate::http::Outbound;
use crate::interrupt::Interrupt;
use crate::limiter::Limiter;
use crate::logs::AttemptLog;
use crate::meter::Metered;
use crate::progress::cut;
use crate::runtime::Shared;
use crate::state::{self, GuestState};
use crate::trap;
use crate::trial::CallEnd;

/// Tries to tell the ledger how an attempt ended, before its lease is left to run out.
const FINISH_TRIES: u32 = 8;

/// Pause between two of them.
const FINISH_PAUSE: Duration = Duration::from_millis(250);

/// What an attempt of a version that is not live any more may have computed to be given up for the
/// new version, which goes on behind its last effect. Past that it ends on the old one: to encode
/// a part again would cost more than it gains.
const SWAP_CPU_MAX: Duration = Duration::from_secs(1);

/// Heartbeats within one lease: two may fail before it runs out.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// What ends an attempt from outside.
pub(crate) struct Signals {
    /// This attempt is over: cancelled or superseded.
    pub(crate) abort: CancellationToken,
    /// The host shuts down.
    pub(crate) stop: CancellationToken,
    /// News may have been missed: ask the ledger whether the lease still holds.
    pub(crate) recheck: Arc<Notify>,
}

/// How the guest's run ended, before it is put into the ledger's words.
enum Ended {
    /// By itself.
    Returned(wasmtime::Result<Result<Option<Vec<u8>>, Failure>>),
    /// The attempt is over in the ledger already: nothing more can be said about it.
    Over,
    /// The host shuts down.
    Stopped,
    /// Another version of the function takes over.
    Superseded,
    /// It took too long.
    WallLimit,
    /// It computed too long.
    CpuLimit,
}

/// Run one leased invocation and tell the ledger how it ended.
pub(crate) async fn run(shared: &Arc<Shared>, leased: Leased, signals: &Signals) {
    let Leased { invocation, event, fence } = leased;
    // Chosen once: the attempt ends on this version, whatever is deployed meanwhile.
    let version = match shared.version_for(&invocation).await {
        Ok(version) => version,
        Err(reason) => return nothing_to_run(shared, &fence, reason).await,
    };
    let log = AttemptLog::new(version.manifest.limits.log_bytes());
    let started = Instant::now();
    let (ended, used) = guest(shared, &version, &invocation, event, &fence, &log, signals).await;
    let outcome = match ended {
        Ended::Over => None,
        Ended::Stopped => Some(Outcome::Released),
        Ended::Superseded => {
            log.host("another version takes over");
            Some(Outcome::Released)
        }
        Ended::WallLimit => {
            let limit = version.manifest.limits.wall_secs;
            Some(Outcome::Trapped(format!("wall-clock limit of {limit} s was reached")))
        }
        Ended::CpuLimit => {
            let limit = version.manifest.limits.cpu();
            Some(Outcome::Trapped(format!("CPU time limit of {limit:?} was reached")))
        }
        Ended::Returned(result) => outcome(result, used.refusal.as_deref(), &log),
    };
    let Some(outcome) = outcome else {
        shared.progress.end(&fence.invocation);
        tracing::debug!(invocation = %fence.invocation, "attempt was ended by the ledger");
        let logs = log.take(Some(&version.log_rate));
        let left = shared.ledger.leave(&fence, used.cost, logs, version.id().to_owned());
        return match left.await {
            // It was not cancelled but lost: its successor tells the story.
            Ok(()) | Err(LedgerError::Fenced(_)) => {}
            Err(err) => {
                tracing::warn!(invocation = %fence.invocation, %err, "an attempt's log is lost");
            }
        };
    };
    if let Outcome::Trapped(reason) | Outcome::Rejected(reason) | Outcome::Retry { reason, .. } =
        &outcome
    {
        log.host(format!("attempt {} ended: {reason}", invocation.attempt));
    }
    if let (None, Some(end)) = (&invocation.version, call_end(&outcome)) {
        shared.functions.record(&version, end, started.elapsed());
    }
    let end = AttemptEnd {
        outcome,
        logs: log.take(Some(&version.log_rate)),
        cost: used.cost,
        progress: shared.progress.of(&fence.invocation),
        retry: version.manifest.retry.policy(),
        version: Some(version.id().to_owned()),
    };
    finish(shared, &fence, end).await;
    // Only now, so that whoever looks sees either the live progress or the ledger's.
    shared.progress.end(&fence.invocation);
}

/// The end of an attempt that no version is there for.
async fn nothing_to_run(shared: &Shared, fence: &Fence, reason: String) {
    let log = AttemptLog::new(0);
    log.host(&reason);
    let end = AttemptEnd {
        outcome: Outcome::Retry { reason, after: None },
        logs: log.take(None),
        cost: Cost::default(),
        progress: vec![],
        retry: RetryPolicy::default(),
        version: None,
    };
    finish(shared, fence, end).await;
}

/// What a guest used.
#[derive(Default)]
struct Used {
    cost: Cost,
    /// Why memory was refused, if it was.
    refusal: Option<String>,
}

async fn guest(
    shared: &Shared,
    version: &Arc<Version>,
    invocation: &Invocation,
    event: Event,
    fence: &Fence,
    log: &AttemptLog,
    signals: &Signals,
) -> (Ended, Used) {
    let limits = version.manifest.limits;
    let wall_end = Instant::now() + limits.wall();
    let (accepted_at, attempt) = (invocation.accepted_at, invocation.attempt);
    let event = guest_event(event);
    let Some(handler) = &version.handler else {
        let reason = "the function answers HTTP requests alone: it has no handler for events";
        let ended = Ended::Returned(Ok(Err(Failure::Reject(reason.to_owned()))));
        return (ended, Used::default());
    };
    let engine = shared.engine_of(handler.engine);
    let mut store = store(shared, engine, version, accepted_at, attempt, fence, log);
    let _at_work = engine.at_work();
    let call = async {
        let instance = handler.pre.instantiate_async(&mut store).await?;
        instance.backlot_function_handler().call_handle(&mut store, &event).await
    };
    let mut call = Metered::new(call, limits.cpu());
    // A version that was chosen for this invocation is not superseded.
    let mut may_move = invocation.version.is_none();
    let lease_lost = lease_lost(shared, fence, &signals.recheck);
    tokio::pin!(lease_lost);
    let ended = loop {
        break tokio::select! {
            biased;
            () = signals.abort.cancelled() => Ended::Over,
            () = &mut lease_lost => Ended::Over,
            () = signals.stop.cancelled() => Ended::Stopped,
            () = version.superseded.cancelled(), if may_move => {
                if SWAP_CPU_MAX < call.cpu() {
                    may_move = false;
                    continue;
                }
                Ended::Superseded
            }
            () = tokio::time::sleep_until(wall_end) => Ended::WallLimit,
            result = &mut call => result.map_or(Ended::CpuLimit, Ended::Returned),
        };
    };
    let cpu = call.cpu();
    // Ends the guest where it is, if it did not end by itself.
    drop(call);
    let state = store.into_data();
    let cpu = cpu + state.encoding.cpu_time();
    let cpu_ms = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX);
    let cost = Cost {
        cpu_ms,
        bytes_in: state.storage.bytes_read(),
        bytes_out: state.storage.bytes_written(),
    };
    let peak_memory_bytes = state.limiter.peak_bytes();
    tracing::debug!(invocation = %fence.invocation, cpu_ms, peak_memory_bytes, "guest ended");
    (ended, Used { cost, refusal: state.limiter.refusal() })
}

/// A store for one guest, with its limits.
pub(crate) fn store(
    shared: &Shared,
    engine: &Engine,
    version: &Arc<Version>,
    accepted_at: Timestamp,
    attempt: u32,
    fence: &Fence,
    log: &AttemptLog,
) -> Store<GuestState> {
    let state = guest_state(shared, version, accepted_at, attempt, fence, log);
    state::store(engine, state, &version.manifest.limits)
}

fn guest_state(
    shared: &Shared,
    version: &Arc<Version>,
    accepted_at: Timestamp,
    attempt: u32,
    fence: &Fence,
    log: &AttemptLog,
) -> GuestState {
    let limits = version.manifest.limits;
    let grants = &version.manifest.grants;
    let env = &version.manifest.env;
    let cores = shared.cores.to_string();
    let host_env = (!env.contains_key(CORES_VARIABLE)).then_some((CORES_VARIABLE, cores.as_str()));
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(host_env);
    let seed = shared.cache.derive(fence.invocation.as_str());
    let wall = SignedDuration::try_from(limits.wall()).unwrap_or(SignedDuration::MAX);
    let on_denied = log.denials(version.function(), &fence.invocation);
    GuestState {
        table: state::handles(&limits),
        wasi: state::wasi(env, log, accepted_at, seed),
        limiter: Limiter::new(limits.memory_bytes(), limits.table_elements()),
        storage: StorageCtx::new(
            shared.store.clone(),
            version.function().into(),
            grants.storage.clone().into(),
            fence.clone(),
            on_denied.clone(),
        )
        .with_scanner(grants.antivirus.then(|| shared.scanner.clone())),
        backup: BackupCtx::new(
            shared.backups.clone(),
            grants.backup.clone().into(),
            Some(fence.clone()),
            on_denied.clone(),
        ),
        encoding: if grants.encoding {
            EncodingCtx::granted(shared.encoder.clone())
        } else {
            EncodingCtx::denied(on_denied.clone())
        },
        http: state::http(),
        outbound: Outbound::new(grants.http.clone().into(), limits.outbound_calls, on_denied),
        caller: Caller::Invocation(Box::new(ContextCtx {
            ledger: shared.ledger.clone(),
            fence: fence.clone(),
            functions: shared.functions.clone(),
            version: version.clone(),
            progress: shared.progress.clone(),
            log: log.clone(),
            attempt,
            accepted_at,
            deadline: Timestamp::now().saturating_add(wall).unwrap_or(Timestamp::MAX),
            effects: Effects::new(fence.clone()),
        })),
    }
}

/// Tells a guest how many parts run at once, unless its manifest does.
const CORES_VARIABLE: &str = "BACKLOT_CORES";

fn guest_event(event: Event) -> GuestEvent {
    GuestEvent {
        id: event.id.to_string(),
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        time: event.time.to_string(),
        content_type: event.content_type,
        data: event.data,
    }
}

/// In the ledger's words; none when the ledger knows already.
fn outcome(
    result: wasmtime::Result<Result<Option<Vec<u8>>, Failure>>,
    refusal: Option<&str>,
    log: &AttemptLog,
) -> Option<Outcome> {
    let err = match result {
        Ok(Ok(answer)) => {
            let bytes = answer.as_ref().map_or(0, Vec::len);
            if bytes <= RESULT_BYTES_MAX {
                return Some(Outcome::Succeeded(answer));
            }
            let text = format!("answer of {bytes} bytes is over the limit of {RESULT_BYTES_MAX}");
            return Some(Outcome::Trapped(text));
        }
        Ok(Err(Failure::Reject(reason))) => {
            return Some(Outcome::Rejected(cut(reason, REASON_BYTES_MAX)));
        }
        Ok(Err(Failure::Retry(retry))) => {
            let after = retry.after_ms.map(Duration::from_millis);
            return Some(Outcome::Retry { reason: cut(retry.reason, REASON_BYTES_MAX), after });
        }
        Err(err) => err,
    };
    match err.downcast_ref::<Interrupt>() {
        Some(Interrupt::Parked(children)) => Some(Outcome::Parked { children: children.clone() }),
        Some(Interrupt::Asleep(until)) => Some(Outcome::Asleep { until: *until }),
        Some(Interrupt::Fenced) => None,
        Some(Interrupt::Unavailable(reason)) => {
            let reason = cut(reason.clone(), REASON_BYTES_MAX);
            Some(Outcome::Retry { reason, after: None })
        }
        None => {
            for frame in trap::backtrace(&err) {
                log.host(frame);
            }
            Some(Outcome::Trapped(cut(trap::reason(&err, refusal), REASON_BYTES_MAX)))
        }
    }
}

/// As a call of its version, if it was a whole one.
fn call_end(outcome: &Outcome) -> Option<CallEnd> {
    match outcome {
        Outcome::Succeeded(_) => Some(CallEnd::Answered),
        Outcome::Rejected(_) | Outcome::Retry { .. } => Some(CallEnd::Failed),
        Outcome::Trapped(_) => Some(CallEnd::Trapped),
        Outcome::Parked { .. } | Outcome::Asleep { .. } | Outcome::Released => None,
    }
}

/// Renews the lease again and again; returns when it is lost.
async fn lease_lost(shared: &Shared, fence: &Fence, recheck: &Notify) {
    let mut renewed_at = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(shared.lease / HEARTBEATS_PER_LEASE) => {}
            () = recheck.notified() => {}
        }
        match shared.ledger.renew(fence, shared.lease).await {
            Ok(()) => renewed_at = Instant::now(),
            Err(LedgerError::Fenced(_)) => return,
            Err(err) => {
                tracing::warn!(invocation = %fence.invocation, %err, "lease is not renewed");
                if shared.lease < renewed_at.elapsed() {
                    return;
                }
            }
        }
    }
}

/// Tell the ledger. What it does not take is run again when the lease has run out.
async fn finish(shared: &Shared, fence: &Fence, end: AttemptEnd) {
    let parks = matches!(end.outcome, Outcome::Parked { .. } | Outcome::Asleep { .. });
    for _ in 0..FINISH_TRIES {
        crash::point(if parks { "park.before" } else { "attempt.before-finish" });
        match shared.ledger.finish(fence, end.clone()).await {
            Ok(()) => {
                crash::point(if parks { "park.after" } else { "attempt.after-finish" });
                return;
            }
            Err(LedgerError::Fenced(_)) => {
                tracing::debug!(invocation = %fence.invocation, "attempt ended too late to count");
                return;
            }
            Err(LedgerError::Busy { .. }) => tokio::time::sleep(FINISH_PAUSE).await,
            Err(err) => {
                tracing::error!(invocation = %fence.invocation, %err, "attempt's end is not kept");
                tokio::time::sleep(FINISH_PAUSE).await;
            }
        }
    }
}
