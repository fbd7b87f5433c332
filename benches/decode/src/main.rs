//! Question: how much slower does a film decode in the sandbox than natively, by the same decoder?
//!
//! The guest `decode` (guests/fixtures/decode) decodes every frame of the film, read from the
//! object store; beside it, in turn, the same crate does so compiled for this machine, from memory.
//! Unit: CPU seconds and frames a CPU second; the ratio is the sandbox's time to the native one's.
//!
//! ```sh
//! cargo run --release --package backlot-bench-decode -- FILM... [--runs 3]
//! ```

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use backlot_builtin::DECODE;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_ledger::{Event, InvocationFilter, Ledger, State};
use backlot_media::{Input, Limits, MediaError, VideoDecoder, index};
use backlot_runtime::{CancellationToken, Manifest, Runtime, RuntimeConfig};
use backlot_storage::{Put, Store, StoreLimits};
use bytes::Bytes;
use cap_std::fs::Dir;

const BUCKET: &str = "films";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut films, mut runs) = (Vec::new(), 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().context("--runs wants a number")?.parse()?,
            option if option.starts_with("--") => bail!("unknown option {option}"),
            _ => films.push(argument),
        }
    }
    ensure!(!films.is_empty(), "usage: backlot-bench-decode FILM... [--runs 3]");

    let folder = tempfile::tempdir()?;
    let ledger = Ledger::open(folder.path())?;
    let blobs = folder.path().join("blobs");
    std::fs::create_dir(&blobs)?;
    let blobs = Dir::open_ambient_dir(&blobs, cap_std::ambient_authority())?;
    let store = Store::open(blobs, ledger.clone(), StoreLimits::default())?;
    store.create_bucket(BUCKET).await?;
    let encoder = Encoder::new(EncoderConfig::default())?;
    let config = RuntimeConfig::new(folder.path().join("cache"), folder.path().join("components"));
    let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder)?;
    runtime.deploy(Manifest::parse(DECODE.manifest)?, DECODE.component.to_vec()).await?;
    let stop = CancellationToken::new();
    let ran = tokio::spawn({
        let (runtime, stop) = (runtime.clone(), stop.clone());
        async move { runtime.run(stop).await }
    });

    println!(
        "film                 frames  guest CPU s  native CPU s  guest fps  native fps  ratio"
    );
    for film in &films {
        let bytes = Bytes::from(std::fs::read(film).with_context(|| film.clone())?);
        let name = Path::new(film).file_name().and_then(|name| name.to_str()).context("a name")?;
        let body = futures::stream::iter([Ok(bytes.clone())]);
        let put = Put { bucket: BUCKET.into(), key: name.into(), ..Put::default() };
        store.put(put, body).await?;
        let (mut guest, mut native, mut frames) = (Vec::new(), Vec::new(), 0);
        for _ in 0..runs {
            // In turn, so that a slow minute of the machine hits both.
            guest.push(in_the_sandbox(&ledger, name).await?);
            let (counted, time) = natively(bytes.clone()).await?;
            frames = counted;
            native.push(time);
        }
        let (guest, native) = (median(guest), median(native));
        let fps = |time: Duration| frames as f64 / time.as_secs_f64();
        println!(
            "{name:20} {frames:6} {:12.2} {:13.2} {:10.0} {:11.0} {:6.2}",
            guest.as_secs_f64(),
            native.as_secs_f64(),
            fps(guest),
            fps(native),
            guest.as_secs_f64() / native.as_secs_f64(),
        );
    }
    stop.cancel();
    ran.await?;
    Ok(())
}

async fn in_the_sandbox(ledger: &Ledger, name: &str) -> anyhow::Result<Duration> {
    let mut changes = ledger.changes();
    let event = Event::json("/benches", "decode", Some(name.to_owned()), b"{}".to_vec());
    let event = ledger.publish(event).await?;
    loop {
        let newest = InvocationFilter { limit: 1, ..InvocationFilter::default() };
        let newest = ledger.invocations(newest).await?.pop().context("an invocation")?;
        ensure!(newest.event == event, "another invocation");
        match newest.state {
            State::Succeeded => return Ok(Duration::from_millis(newest.cost.cpu_ms)),
            state if state.ended() => bail!("{name}: {:?}", newest.reason),
            _ => drop(changes.recv().await?),
        }
    }
}

async fn natively(bytes: Bytes) -> anyhow::Result<(u64, Duration)> {
    let decoding = tokio::task::spawn_blocking(move || {
        let before = thread_cpu();
        let film = Memory(bytes);
        let found = index(&film, &Limits::default())?;
        let mut decoder = VideoDecoder::open(found.main_video()?, &film)?;
        decoder.decode_range(0..decoder.plan().frames())?;
        let mut frames = 0;
        while decoder.next_frame()?.is_some() {
            frames += 1;
        }
        Ok((frames, thread_cpu().saturating_sub(before)))
    });
    decoding.await?
}

struct Memory(Bytes);

impl Input for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(from..from.saturating_add(len).min(self.0.len())).to_vec())
    }
}

fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
