//! Question: how long does `backlot serve` take from its start in an empty folder until it is ready,
//! how much memory does it have then, and how large is the binary?
//!
//! `cold` compiles the builtin guests, as the first start on a machine does; `warm` finds them
//! compiled. The clock runs from the start of the process until the ready file is there. Memory is
//! resident (proc(5): VmRSS), asked when nothing has happened for two seconds. Unit: milliseconds,
//! MiB; medians.
//!
//! ```sh
//! cargo build --release --package backlot --package backlot-bench-start
//! target/release/backlot-bench-start [--runs 10]
//! ```

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use backlot_tests::server::Server;

/// How long the server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let mut runs = 10;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--runs" => runs = value.parse()?,
            _ => anyhow::bail!("unknown option {name}"),
        }
    }
    let bytes = fs::metadata(backlot_tests::backlot())?.len();
    println!("binary {:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let shared = tempfile::tempdir()?;
    // The first fills the cache that the others find.
    start(shared.path())?;
    println!("start  ready ms  idle MiB");
    for (name, cold) in [("cold", true), ("warm", false)] {
        let mut times = Vec::new();
        let mut memory = Vec::new();
        for _ in 0..runs {
            let own = tempfile::tempdir()?;
            let (time, kib) = start(if cold { own.path() } else { shared.path() })?;
            times.push(time);
            memory.push(kib);
        }
        times.sort_unstable();
        memory.sort_unstable();
        let time = times.get(times.len() / 2).copied().unwrap_or_default();
        let kib = memory.get(memory.len() / 2).copied().unwrap_or_default();
        println!("{name:5} {:9.0} {:9.1}", time.as_secs_f64() * 1e3, kib as f64 / 1024.0);
    }
    Ok(())
}

/// Time until ready, and resident KiB when idle.
fn start(cache: &Path) -> anyhow::Result<(Duration, u64)> {
    let folder = tempfile::tempdir()?;
    let cache = cache.to_str().context("a path of text")?;
    let begun = Instant::now();
    let server = Server::start_with(folder.path(), &[], &[("BACKLOT_CACHE", cache)])?;
    let time = begun.elapsed();
    std::thread::sleep(IDLE);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib = line.trim().trim_end_matches(" kB").parse()?;
    server.stop()?;
    Ok((time, kib))
}
