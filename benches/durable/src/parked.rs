//! What many parked invocations cost.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use backlot_ledger::State;
use futures::StreamExt;

use crate::host::Host;

/// Print the growth of resident memory for `count` invocations that sleep an hour, and how long a
/// host takes to start over them.
pub(crate) async fn measure(count: usize) -> anyhow::Result<()> {
    let host = Host::start(64).await?;
    host.finished(host.publish("program publish told x").await?).await?;
    let before = resident_kib()?;
    let mut asleep = futures::stream::iter(0..count)
        .map(|_| host.publish("program sleep 3600000"))
        .buffer_unordered(256);
    let mut last = None;
    while let Some(id) = asleep.next().await {
        last = Some(id?);
    }
    drop(asleep);
    // Asleep, all of them: none is left that could be leased.
    let last = last.context("none")?;
    loop {
        let found = host.ledger.invocation(&last).await?.context("an invocation")?;
        if found.state == State::Queued && found.due_at.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(host.ledger.backlog().await?.invocations == count as u64, "some have ended");
    let grown = resident_kib()?.saturating_sub(before);
    println!("{count} parked: {:.1} MiB more resident memory", grown as f64 / 1024.0);
    let folder = host.stop().await?;
    let begun = Instant::now();
    let host = Host::over(folder, 64).await?;
    // It answers a first invocation, not only opens the file.
    host.finished(host.publish("program publish told x").await?).await?;
    println!(
        "restart over them until the first invocation has ended: {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    host.stop().await?;
    Ok(())
}

fn resident_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
