//! The front door while every core encodes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use backlot_tests::server::Server;
use backlot_tests::wait_for;

use crate::client::Client;

const UPLOADS: usize = 50;
const SIZE: usize = 16 << 10;
const ENCODING_MAX: Duration = Duration::from_secs(120);

/// Print the latency of a PUT, one at a time, idle and while [`UPLOADS`] films are to be encoded.
pub(crate) fn measure(film: &Path, time: Duration) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let ready = &server.ready;
    let client = Client::new(&ready.s3, &ready.access_key, &ready.secret_key)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (idle, _) = runtime.block_on(client.measure(SIZE, 1, time))?;
    for number in 0..UPLOADS {
        server.upload(film, "uploads", &format!("{number}.mp4"))?;
    }
    wait_for("frames that are encoded", ENCODING_MAX, || {
        let list = server.json("/api/v1/content")?;
        let jobs = list.get("content").and_then(|jobs| jobs.as_array()).context("a list")?;
        Ok(jobs
            .iter()
            .any(|job| job.get("state").is_some_and(|state| state == "encoding"))
            .then_some(()))
    })?;
    let (busy, _) = runtime.block_on(client.measure(SIZE, 1, time))?;
    println!("16 KiB PUT  p50 ms  p99 ms");
    for (name, rate) in [("idle", idle), ("busy", busy)] {
        println!("{name:10} {:7.2} {:7.2}", rate.p50_ms, rate.p99_ms);
    }
    println!("p99 busy/idle {:.2}", busy.p99_ms / idle.p99_ms);
    Ok(())
}
