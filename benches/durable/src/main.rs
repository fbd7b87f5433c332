//! Questions about durable invocations: how many a second, how soon after the acknowledgement the
//! handler runs, what going through recorded effects again costs, and what a parked invocation
//! costs.
//!
//! Everything is real: the guest `probe` in its sandbox, the ledger on disk with each commit
//! flushed. Beside the first figure the same work is given to PostgreSQL, the usual way to build a
//! queue: 64 clients that each take one row with `FOR UPDATE SKIP LOCKED`, insert an effect, mark
//! the row done and commit (`synchronous_commit` on). It runs no code in a sandbox.
//!
//! ```sh
//! apt-get install postgresql     # brings initdb, pg_ctl and pgbench
//! cargo run --release --package backlot-bench-durable -- [--invocations 20000] [--parked 100000]
//! ```
//! Unit: invocations a second; milliseconds; MiB of resident memory. PostgreSQL is left out, and
//! said to be, where it is not installed.

mod host;
mod parked;
mod postgres;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use backlot_ledger::{Change, Event, State};
use futures::StreamExt;

use crate::host::Host;

/// Invocations that run at once, and clients of the peer.
const AT_ONCE: usize = 64;
/// Invocations of the latency question, one at a time.
const SINGLE: usize = 500;
/// Effects that are gone through again.
const EFFECTS: usize = 100;
/// How often that is done.
const REPLAYS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut invocations, mut many) = (20_000, 100_000);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--invocations" => invocations = value.parse()?,
            "--parked" => many = value.parse()?,
            _ => anyhow::bail!("unknown option {name}"),
        }
    }
    println!("{invocations} invocations with one effect each, {AT_ONCE} at once, a second:");
    let (rate, cpu) = rate(invocations).await?;
    println!("  backlot     {rate:8.0}  ({:.0} CPU us each)", cpu * 1e6);
    match postgres::rate(AT_ONCE)? {
        Some(rate) => println!("  postgresql  {rate:8.0}"),
        None => println!("  postgresql  is not installed"),
    }
    let (p50, p99) = latency().await?;
    println!(
        "from the acknowledgement of an event to its handler: p50 {p50:.2} ms, p99 {p99:.2} ms"
    );
    println!("{EFFECTS} recorded effects gone through again: {:.2} ms", again().await?);
    parked::measure(many).await
}

/// Invocations a second, from the first event to the last end, and CPU seconds each.
async fn rate(count: usize) -> anyhow::Result<(f64, f64)> {
    let host = Host::start(AT_ONCE).await?;
    // Each once before, so that nothing is measured that happens only at first.
    host.finished(host.publish("publish told").await?).await?;
    let mut changes = host.ledger.changes();
    let (begun, cpu) = (Instant::now(), process_cpu());
    let events = futures::stream::iter(0..count).map(|_| host.publish("publish told"));
    let mut events = events.buffer_unordered(4 * AT_ONCE);
    let publish = async {
        while let Some(event) = events.next().await {
            event?;
        }
        anyhow::Ok(())
    };
    let finish = async {
        let mut ended = 0;
        while ended < count {
            ended += usize::from(matches!(changes.recv().await?, Change::Ended(_)));
        }
        anyhow::Ok(())
    };
    tokio::try_join!(publish, finish)?;
    let (time, cpu) = (begun.elapsed(), process_cpu() - cpu);
    drop(events);
    host.stop().await?;
    Ok((count as f64 / time.as_secs_f64(), cpu.as_secs_f64() / count as f64))
}

/// CPU time of all threads, those that have ended too.
fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Milliseconds from the answer that an event is on disk to the first thing that the handler says.
async fn latency() -> anyhow::Result<(f64, f64)> {
    let host = Host::start(2).await?;
    let mut times = Vec::new();
    for _ in 0..SINGLE {
        let mut progress = host.runtime.subscribe_progress();
        let id = host.publish("progress 1").await?;
        let acknowledged = Instant::now();
        progress.recv().await?;
        times.push(acknowledged.elapsed());
        host.finished(id).await?;
    }
    host.stop().await?;
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    Ok((at(50), at(99)))
}

/// Milliseconds of the second attempt of a handler with [`EFFECTS`] effects and a sleep after them.
async fn again() -> anyhow::Result<f64> {
    let host = Host::start(2).await?;
    let told = "publish told x; ".repeat(EFFECTS);
    let mut times = Vec::new();
    for _ in 0..REPLAYS {
        let mut changes = host.ledger.changes();
        let id = host.publish(&format!("program {told} sleep 300")).await?;
        let mut started = None;
        let mut starts = 0;
        loop {
            match changes.recv().await? {
                Change::Started(which) if which == id => {
                    starts += 1;
                    started = Some(Instant::now());
                }
                Change::Ended(which) if which == id => break,
                _ => {}
            }
        }
        ensure!(starts == 2, "{starts} attempts instead of two");
        times.extend(started.map(|started| started.elapsed()));
        let ended = host.ledger.invocation(&id).await?.context("an invocation")?;
        ensure!(ended.state == State::Succeeded, "{:?}", ended.reason);
    }
    host.stop().await?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3)
}

/// An event for the guest `probe`.
fn event(command: &str) -> Event {
    Event::json("/benches", "probe", Some("subject".to_owned()), command.as_bytes().to_vec())
}
