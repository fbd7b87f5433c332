//! Question: how fast is a file validated in the sandbox, beside the same walker compiled for this
//! machine, and how much memory does a guest instance need for it?
//!
//! The validator walks each file, read from the object store; beside it, in turn, the same crate does
//! so natively, from memory. Unit: MB/s of the walk alone, best of the runs; the ratio is the
//! sandbox's time to the native one's. Memory is the least limit of a guest instance, in MiB, under
//! which the walk succeeds.
//!
//! ```sh
//! cargo run --release --package backlot-bench-validate -- [FILE...] [--runs 5]
//! cargo run --release --package backlot-bench-validate -- --idle 1000000
//! ```
//! Without files, it makes some of about 16 MB each (with ffmpeg, ImageMagick, zip, gzip and zstd).
//!
//! With `--idle`: what does the scheduled check cost, from its event to its end, when so many objects
//! are in the bucket and none has changed? Budget: 10 ms.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use backlot_builtin::VALIDATOR;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_formats::{Declared, Limits, validate};
use backlot_ledger::{Event, Ledger, State};
use backlot_policy::{POLICY_TAG, Policy, VERDICT_TAG};
use backlot_runtime::{Access, CancellationToken, Manifest, Runtime, RuntimeConfig, StorageGrant};
use backlot_storage::{Pairs, Put, Store, StoreLimits};
use bytes::Bytes;
use cap_std::fs::Dir;
use futures::StreamExt;
use serde_json::{Value, json};

const BUCKET: &str = "files";
/// The limit of the validator's own manifest, in MiB.
const MEMORY_MEGABYTES: u64 = 32;

/// Above the rows.
const HEAD: &str = "file                   MB  guest MB/s  native MB/s  ratio  MiB  verdict";

/// Objects written at once.
const PUTS: usize = 64;
/// Checks of which the median is told.
const CHECKS: usize = 101;

/// Name, and the command that makes it.
const FILES: &[(&str, &str)] = &[
    ("noise.png", "convert -size 2400x2400 xc: +noise Random -depth 8 OUT"),
    ("noise.jpg", "convert -size 6000x6000 xc: +noise Random -quality 80 OUT"),
    (
        "film.mp4",
        "ffmpeg -v error -f lavfi -i mandelbrot=s=1280x720:r=25 -t 12 -c:v libx264 -preset ultrafast -b:v 12M OUT",
    ),
    ("film.mkv", "ffmpeg -v error -i film.mp4 -c copy OUT"),
    ("film.ts", "ffmpeg -v error -i film.mp4 -c copy OUT"),
    ("tone.wav", "ffmpeg -v error -f lavfi -i anoisesrc=d=90:r=48000 -ac 2 OUT"),
    ("tone.flac", "ffmpeg -v error -i tone.wav OUT"),
    ("tone.mp3", "ffmpeg -v error -stream_loop 5 -i tone.wav -b:a 320k OUT"),
    ("tone.ogg", "ffmpeg -v error -stream_loop 5 -i tone.wav -c:a libvorbis -q:a 9 OUT"),
    ("numbers.csv", "seq 1600000 | sed 's/$/,x,1.5/' > OUT"),
    ("numbers.json", "(echo '['; seq -s, 2200000; echo ']') > OUT"),
    ("numbers.txt", "seq 2200000 > OUT"),
    ("several.zip", "zip -q OUT noise.png numbers.csv numbers.txt"),
    ("numbers.csv.gz", "gzip -c numbers.csv > OUT"),
    ("numbers.csv.zst", "zstd -q -3 numbers.csv -o OUT"),
    ("windows.zst", "zstd -q -19 numbers.csv -o OUT"),
];

/// A ledger, a store and a runtime with nothing but the validator in it.
struct Bed {
    ledger: Ledger,
    store: Store,
    runtime: Arc<Runtime>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut files, mut runs, mut idle) = (Vec::new(), 5, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().context("--runs wants a number")?.parse()?,
            "--idle" => idle = Some(arguments.next().context("--idle wants a number")?.parse()?),
            option if option.starts_with("--") => bail!("unknown option {option}"),
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let folder = tempfile::tempdir()?;
    if files.is_empty() && idle.is_none() {
        files = make(folder.path())?;
    }
    let bed = Bed::open(folder.path())?;
    let stop = CancellationToken::new();
    let ran = tokio::spawn({
        let (runtime, stop) = (bed.runtime.clone(), stop.clone());
        async move { runtime.run(stop).await }
    });
    if let Some(count) = idle {
        bed.idle(count).await?;
    }
    if !files.is_empty() {
        println!("{HEAD}");
    }
    for file in &files {
        bed.measure(file, runs).await?;
    }
    stop.cancel();
    ran.await?;
    Ok(())
}

fn make(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    for (name, command) in FILES {
        let command = format!("set -euo pipefail; {}", command.replace("OUT", name));
        let made = Command::new("bash").args(["-c", &command]).current_dir(folder).status()?;
        ensure!(made.success(), "{command}");
    }
    Ok(FILES.iter().map(|(name, _)| folder.join(name)).collect())
}

impl Bed {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let ledger = Ledger::open(folder)?;
        let blobs = folder.join("blobs");
        std::fs::create_dir(&blobs)?;
        let blobs = Dir::open_ambient_dir(&blobs, cap_std::ambient_authority())?;
        let store = Store::open(blobs, ledger.clone(), StoreLimits::default())?;
        let encoder = Encoder::new(EncoderConfig::default())?;
        let config = RuntimeConfig::new(folder.join("cache"), folder.join("components"));
        let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder)?;
        Ok(Self { ledger, store, runtime })
    }

    async fn measure(&self, file: &Path, runs: usize) -> anyhow::Result<()> {
        let bytes = Bytes::from(std::fs::read(file).with_context(|| file.display().to_string())?);
        let name = file.file_name().and_then(|name| name.to_str()).context("a name")?;
        if self.store.bucket(BUCKET).await?.is_none() {
            self.store.create_bucket(BUCKET).await?;
        }
        let put = Put { bucket: BUCKET.into(), key: name.into(), ..Put::default() };
        self.store.put(put, futures::stream::iter([Ok(bytes.clone())])).await?;
        self.deploy(MEMORY_MEGABYTES).await?;
        let (mut guest, mut native) = (Duration::MAX, Duration::MAX);
        let mut verdict = String::new();
        for _ in 0..runs {
            // In turn, so that a slow minute of the machine hits both.
            let answer = self.walk(name).await?.map_err(|reason| anyhow::anyhow!("{reason}"))?;
            let took = answer.get("took_us").and_then(Value::as_u64).context("a time")?;
            guest = guest.min(Duration::from_micros(took));
            answer
                .get("verdict")
                .and_then(Value::as_str)
                .context("a verdict")?
                .clone_into(&mut verdict);
            let bytes = bytes.to_vec();
            let declared = Declared { name: Some(name.to_owned()), content_type: None };
            let time = tokio::task::spawn_blocking(move || {
                let begun = Instant::now();
                validate(&bytes, &declared, &Limits::default()).map(|_| begun.elapsed())
            });
            native = native.min(time.await??);
        }
        let megabytes = bytes.len() as f64 / 1e6;
        let speed = |time: Duration| megabytes / time.as_secs_f64();
        println!(
            "{name:<18} {megabytes:6.1} {:11.0} {:12.0} {:6.2} {:4}  {verdict}",
            speed(guest),
            speed(native),
            guest.as_secs_f64() / native.as_secs_f64(),
            self.least_memory(name).await?,
        );
        Ok(())
    }

    /// The least limit, in MiB, under which the walk of a file succeeds.
    async fn least_memory(&self, name: &str) -> anyhow::Result<u64> {
        let (mut least, mut most) = (1, MEMORY_MEGABYTES);
        while least < most {
            let middle = least.midpoint(most);
            self.deploy(middle).await?;
            if self.walk(name).await?.is_ok() {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        Ok(least)
    }

    async fn deploy(&self, memory_megabytes: u64) -> anyhow::Result<()> {
        let mut manifest = Manifest::parse(VALIDATOR.manifest)?;
        manifest.triggers.clear();
        manifest.limits.memory_megabytes = memory_megabytes;
        manifest.retry.attempts = 1;
        manifest.grants.storage = vec![StorageGrant {
            bucket: BUCKET.into(),
            prefix: String::new(),
            access: vec![Access::Read],
        }];
        self.runtime.deploy(manifest, VALIDATOR.component.to_vec()).await?;
        Ok(())
    }

    /// The cost of a check when all objects are judged already.
    async fn idle(&self, count: usize) -> anyhow::Result<()> {
        let policy = Policy::of(BUCKET);
        let tags: Pairs = [(VERDICT_TAG, "valid".to_owned()), (POLICY_TAG, policy.digest())]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        for bucket in [BUCKET, "validator", "quarantine"] {
            self.store.create_bucket(bucket).await?;
        }
        let put = |number: usize| {
            let key = format!("{:04}/{number:07}.json", number / 1_000);
            let put = Put { bucket: BUCKET.into(), key, tags: tags.clone(), ..Put::default() };
            self.store.put(put, futures::stream::iter([Ok(Bytes::from_static(b"{}"))]))
        };
        let mut puts = futures::stream::iter(0..count).map(put).buffer_unordered(PUTS);
        while let Some(put) = puts.next().await {
            put?;
        }
        let mut manifest = Manifest::parse(VALIDATOR.manifest)?;
        manifest.triggers.clear();
        manifest.grants.storage.push(StorageGrant {
            bucket: BUCKET.into(),
            prefix: String::new(),
            access: vec![Access::Read, Access::Tag],
        });
        manifest.env.insert("BACKLOT_POLICY_0".to_owned(), policy.json());
        manifest.env.insert("BACKLOT_SETTLE_SECS".to_owned(), "0".to_owned());
        self.runtime.deploy(manifest, VALIDATOR.component.to_vec()).await?;
        // The first ones go through all of it.
        let begun = Instant::now();
        let mut cursor = None;
        loop {
            self.ask("backlot.schedule", json!({})).await?.map_err(anyhow::Error::msg)?;
            let state = self.store.open_object("validator", "cursors/files", None).await?;
            let state: Value = serde_json::from_slice(&state.read_at(0, 4_096).await?)?;
            let now = state.get("cursor").cloned();
            if now == cursor {
                break;
            }
            cursor = now;
        }
        println!("{count} objects judged before, gone through once in {:.2?}", begun.elapsed());
        let mut took = Vec::new();
        for _ in 0..CHECKS {
            let begun = Instant::now();
            self.ask("backlot.schedule", json!({})).await?.map_err(anyhow::Error::msg)?;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        let median = took.get(CHECKS / 2).context("checks")?;
        println!("a check with nothing to do: median {median:.2?} of {CHECKS}");
        Ok(())
    }

    /// The validator's answer about an object, or why it has none.
    async fn walk(&self, name: &str) -> anyhow::Result<Result<Value, String>> {
        self.ask("validator.walk", json!({ "bucket": BUCKET, "key": name })).await
    }

    /// The validator's answer to an event, or why it has none.
    async fn ask(&self, kind: &str, data: Value) -> anyhow::Result<Result<Value, String>> {
        let mut changes = self.ledger.changes();
        let event = Event::json("/benches", kind, None, data.to_string().into_bytes());
        let id = self.ledger.invoke("validator", event, None).await?;
        loop {
            let found = self.ledger.invocation(&id).await?.context("the invocation")?;
            match found.state {
                State::Succeeded => {
                    let answer = found.result.as_deref().map(serde_json::from_slice).transpose()?;
                    return Ok(Ok(answer.unwrap_or_default()));
                }
                state if state.ended() => return Ok(Err(found.reason.unwrap_or_default())),
                _ => drop(changes.recv().await?),
            }
        }
    }
}
