//! Some of everything that a server does, within a few seconds: uploads, a film, functions that
//! write, publish, sleep, wait and trap. Run once in peace it leaves what it must always leave,
//! whenever and however often the server dies in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::probe::{self, JOBS, OUT, PLAIN};
use crate::s3::S3;
use crate::server::Server;
use crate::wait_for;

/// The longest all of it may take on a loaded machine.
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// Between the first connection that breaks and the end of the process.
const DYING_MAX: Duration = Duration::from_secs(5);
/// SIGABRT: how a crash point ends the process.
const ABORTED: i32 = 6;
/// Larger than what the store keeps in its ledger.
const LARGE_BYTES: usize = 100_000;
/// Settings of the encoder: three parts, as fast as they go.
const SETTINGS: [(&str, &str); 2] =
    [("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_ENCODER_PARTS", "3")];

/// Programs of the probe, each an object in [`JOBS`]. No two write the same object, so that what is
/// left does not depend on who was first.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "puts",
        "program put out a/1 one; put out a/1 two; delete out a/2; publish note echo hi; \
         sleep 150; put out a/3 three; fill out a/large 80000; sleep 120; put out a/1 four",
    ),
    (
        "children",
        "program child square 3; child program put out b/1 x, publish note echo b, sleep 130, \
         put out b/2 y; fill out b/large 90000; wait; put out b/3 done; remember chosen this; \
         child program fill out b/more 70000, delete out b/none; wait; publish note echo end",
    ),
    (
        "retries",
        "program put out c/1 x; trap-on 1; put out c/1 x; sleep 110; trap-on 3; delete out c/1; \
         child program put out c/2 x, trap-on 2, put out c/3 x; wait; publish note echo c",
    ),
    (
        "chain",
        "program put out d/1 x; \
         publish note program put out d/2 x, publish note program put out d/3 x; \
         child program put out d/4 x, publish note program put out d/5 x; wait",
    ),
];

/// What is there when all has ended.
#[derive(Debug)]
pub struct Left {
    /// SHA-256 of every current object, by bucket and key.
    pub objects: BTreeMap<String, String>,
    /// Versions and markers of each key in [`OUT`].
    pub versions: BTreeMap<String, usize>,
    /// How many invocations there were, by function, event and state.
    pub invocations: BTreeMap<String, usize>,
}

impl Left {
    /// What is not as it is in `calm`, a line each.
    pub fn differences(&self, calm: &Self) -> Vec<String> {
        let mut lines = compare(&self.objects, &calm.objects);
        lines.extend(compare(&self.versions, &calm.versions));
        lines.extend(compare(&self.invocations, &calm.invocations));
        lines
    }
}

fn compare<T: PartialEq + Debug>(
    these: &BTreeMap<String, T>,
    calm: &BTreeMap<String, T>,
) -> Vec<String> {
    let names: BTreeSet<&String> = these.keys().chain(calm.keys()).collect();
    let pairs = names.into_iter().map(|name| (name, these.get(name), calm.get(name)));
    pairs
        .filter(|(_, this, calm)| this != calm)
        .map(|(name, this, calm)| format!("{name}: {this:?} instead of {calm:?}"))
        .collect()
}

/// Where a server is told to die: a crash point, and how often it is passed first.
#[derive(Clone, Copy, Debug)]
pub struct CrashAt<'a> {
    /// The point's name.
    pub point: &'a str,
    /// It dies the so many'th time.
    pub hit: u32,
}

/// The server, which may die once, and is started again then.
struct Phoenix<'a> {
    folder: &'a Path,
    crash: Option<CrashAt<'a>>,
    server: Option<Server>,
}

impl Phoenix<'_> {
    /// The server that runs now; started if none does.
    fn server(&mut self) -> anyhow::Result<&Server> {
        if let Some(server) = &mut self.server
            && let Some(status) = server.ended()?
        {
            self.server = None;
            self.died(status.signal())?;
        }
        if self.server.is_none() {
            self.server = Some(match self.start() {
                Ok(server) => server,
                // A point may be passed before the server is ready.
                Err(err) if self.crash.is_some() && format!("{err:#}").contains("SIGABRT") => {
                    self.died(Some(ABORTED))?;
                    self.start()?
                }
                Err(err) => return Err(err),
            });
        }
        self.server.as_ref().context("it was started")
    }

    fn start(&self) -> anyhow::Result<Server> {
        let crash = self.crash.map(|CrashAt { point, hit }| format!("{point}:{hit}"));
        let mut settings = SETTINGS.to_vec();
        settings.extend(crash.as_deref().map(|crash| ("BACKLOT_CRASH_AT", crash)));
        probe::start(self.folder, &settings)
    }

    fn died(&mut self, signal: Option<i32>) -> anyhow::Result<()> {
        let told = self.crash.take();
        ensure!(
            told.is_some() && signal == Some(ABORTED),
            "the server ended by itself (signal {signal:?})\n{}",
            std::fs::read_to_string(self.folder.join("server.log"))?
        );
        Ok(())
    }

    /// Whether it is about to end because it was told to: what went wrong is no wonder then.
    fn dies(&mut self) -> bool {
        let Some(server) = self.server.as_mut().filter(|_| self.crash.is_some()) else {
            return false;
        };
        wait_for("its end", DYING_MAX, || server.ended()).is_ok()
    }

    /// Do something with whichever server runs, until it is done. What goes wrong because the
    /// server dies is done again.
    fn until<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&Server) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        wait_for(what, SETTLED_MAX, || match work(self.server()?) {
            Ok(done) => Ok(done),
            Err(err) => {
                if self.dies() {
                    Ok(None)
                } else {
                    Err(err)
                }
            }
        })
    }
}

/// Run all of it in a folder of its own; what is left in the end.
///
/// # Errors
/// When anything is refused, does not end, or the server does not die as it is told.
pub fn run(folder: &Path, film: &[u8], crash: Option<CrashAt<'_>>) -> anyhow::Result<Left> {
    let mut phoenix = Phoenix { folder, crash, server: None };
    phoenix.until("buckets", |server| probe::make_buckets(&S3::new(&server.ready)).map(Some))?;
    let large: Vec<u8> = (0..LARGE_BYTES).map(|index| (index % 251) as u8).collect();
    let mut uploads: Vec<(&str, String, &[u8])> = vec![("uploads", "film.mp4".into(), film)];
    uploads.extend(PROGRAMS.iter().map(|(key, text)| (JOBS, (*key).into(), text.as_bytes())));
    uploads.extend((0..6).map(|number| (PLAIN, number.to_string(), large.as_slice())));
    for (bucket, key, body) in uploads {
        phoenix.until(&key, |server| {
            let s3 = S3::new(&server.ready);
            // One that was made although nobody was told must not be made again: that would be
            // another event.
            if s3.get(bucket, &key)?.is_none() {
                s3.put(bucket, &key, body)?;
            }
            Ok(Some(()))
        })?;
    }
    let all = phoenix.until("quiet", Server::quiet)?;
    let unused = phoenix.crash;
    let server = phoenix.server.take().context("a server")?;
    if let Some(CrashAt { point, hit }) = unused {
        bail!("{point} was not passed {hit} times");
    }
    let unlucky: Vec<&Value> = all.iter().filter(|run| run["state"] != "succeeded").collect();
    ensure!(unlucky.is_empty(), "not all has succeeded: {unlucky:#?}\n{}", server.log()?);
    let left = left(&server, &all)?;
    server.stop()?;
    Ok(left)
}

fn left(server: &Server, all: &[Value]) -> anyhow::Result<Left> {
    let s3 = S3::new(&server.ready);
    let mut objects = BTreeMap::new();
    for bucket in ["uploads", "content", JOBS, OUT, PLAIN] {
        for key in s3.keys(bucket)? {
            let bytes = s3.get(bucket, &key)?.with_context(|| format!("{key} is listed"))?;
            objects.insert(format!("{bucket}/{key}"), bytes);
        }
    }
    let mut invocations: BTreeMap<String, usize> = BTreeMap::new();
    for run in all {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&run["event"]["kind"]);
        let name = format!("{} {kind} {}", text(&run["function"]), text(&run["state"]));
        *invocations.entry(name).or_default() += 1;
    }
    Ok(Left { objects: digests(objects)?, versions: s3.versions(OUT)?, invocations })
}

/// SHA-256 in hexadecimal, without the names that are others for each upload, even of the same
/// bytes: that of the film's build, and that of the upload.
fn digests(objects: BTreeMap<String, Vec<u8>>) -> anyhow::Result<BTreeMap<String, String>> {
    let pointer = objects.iter().find(|(key, _)| key.ends_with("/content.json"));
    let (_, pointer) = pointer.context("the film is not published")?;
    let pointer: Value = serde_json::from_slice(pointer)?;
    let build = pointer["build"].as_str().context("a build")?;
    let upload = pointer["source"]["contentId"].as_str().context("an upload")?;
    let digest = |(key, bytes): (String, Vec<u8>)| {
        let bytes = if key.ends_with("/content.json") {
            let text = String::from_utf8(bytes)?;
            text.replace(build, "BUILD").replace(upload, "UPLOAD").into_bytes()
        } else {
            bytes
        };
        anyhow::Ok((key.replace(build, "BUILD"), hex::encode(Sha256::digest(bytes))))
    };
    objects.into_iter().map(digest).collect()
}
