//! `backlot encode FILE --out DIR`: the server's pipeline for one file, in this process.
//!
//! The state is a data folder in DIR/.backlot. An interrupted encode is gone on with by the same
//! command: parts that are finished stay finished. When the film is done its files are in DIR and
//! the state is gone.

mod bar;
mod export;
mod source;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backlot_gateway::web::Work;
use backlot_ledger::{AttemptOutcome, Invocation, InvocationFilter, InvocationId, State};
use backlot_runtime::CompileLimits;
use serde_json::{Value, json};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::cli::EncodeArgs;
use crate::config::LogFormat;
use crate::fault::Fault;
use crate::node::{self, Node, Setup};
use crate::{Done, logging, out, signals};

use bar::Bar;
use source::Source;

/// Folder of the state, in the output folder.
const STATE: &str = ".backlot";
/// How often the bar is redrawn and the end looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Nice value of the encoding threads: the machine stays usable.
const NICENESS: i32 = 10;
/// Largest source, in MiB: what the store takes as one object.
const SOURCE_MEGABYTES_MAX: u64 = 5 * 1024 * 1024;
/// Logs of the parts below would tear the bar; `BACKLOT_LOG_LEVEL` turns them on.
const LOG_LEVEL: &str = "error";

pub(crate) fn run(args: EncodeArgs) -> Result<Done, Fault> {
    let level = std::env::var("BACKLOT_LOG_LEVEL").unwrap_or_else(|_| LOG_LEVEL.to_owned());
    logging::start(&level, LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("backlot-io")
        .build()
        .map_err(|err| node::internal("starting threads", &err))?;
    runtime.block_on(encode(&args))
}

/// How the root invocation ended, or that it did not.
enum End {
    Ready(Value),
    Rejected(String),
    Failed(String),
    Interrupted,
}

async fn encode(args: &EncodeArgs) -> Result<Done, Fault> {
    let stop = signals::stop_token()?;
    let source = Source::look_at(&args.file)?;
    let state = args.out.join(STATE);
    fs::create_dir_all(&args.out).map_err(|err| unwritable(&args.out, &err))?;
    let env = settings(args);
    let node = Node::open(Setup {
        data: &state,
        cache: cache(&state),
        slots: args.jobs.map(usize::from),
        niceness: NICENESS,
        compile: CompileLimits::default(),
        trust: Vec::new(),
        uploads_at_once: 1,
        put_megabytes_max: SOURCE_MEGABYTES_MAX,
        // It has no listener of functions.
        http_requests: 1,
        http_idle: 0,
        encoder: Some(env.clone()),
        scanner: None,
        backups: Vec::new(),
        validation: None,
    })
    .await
    .map_err(|fault| retell(fault, &args.out))?;

    let begun = Instant::now();
    let root = tokio::select! {
        root = source.put(&node, &env) => root?,
        () = stop.cancelled() => {
            tokio::task::block_in_place(|| drop(node));
            return interrupted(args, None);
        }
    };
    let ran = tokio::spawn({
        let (runtime, stop) = (node.runtime.clone(), stop.clone());
        async move { runtime.run(stop).await }
    });
    let mut bar = Bar::new(&args.file);
    let end = watch(&node, &root, &mut bar, &stop).await;
    stop.cancel();
    ran.await.map_err(|err| node::internal("the runtime", &err))?;
    let end = match end? {
        // It may have ended while it was being stopped.
        End::Interrupted => ended(&node, &root).await?.unwrap_or(End::Interrupted),
        end => end,
    };
    let done = match end {
        End::Ready(content) => {
            let exported = export::export(&node, &content, &args.out).await?;
            bar.finish();
            tokio::task::block_in_place(|| drop(node));
            remove_state(&state);
            report(args, &content, &exported, begun.elapsed())?;
            return Ok(Done::Well);
        }
        End::Rejected(reason) => Err(Fault::new(
            "E0403",
            format!("{} cannot be encoded: {reason}", args.file.display()),
            "try another file, or convert this one first",
        )),
        End::Failed(reason) => Err(Fault::new(
            "E0404",
            format!("encoding {} failed: {reason}", args.file.display()),
            "run it again; if it fails again, with BACKLOT_LOG_LEVEL=info, and report what it says",
        )),
        End::Interrupted => Ok(watched(&node, &root).await?),
    };
    bar.abandon();
    tokio::task::block_in_place(|| drop(node));
    match done {
        Ok(work) => interrupted(args, Some(&work)),
        Err(fault) => {
            remove_state(&state);
            Err(fault)
        }
    }
}

/// Compiled guests are kept for the next encode: in the user's cache folder, where there is one.
pub(crate) fn cache(state: &Path) -> PathBuf {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    user.map_or_else(|| state.join("cache"), |cache| cache.join("backlot"))
}

/// What the guest gets to know, as the server tells it.
fn settings(args: &EncodeArgs) -> Vec<(&'static str, String)> {
    let optional = [
        ("BACKLOT_QUALITY", args.quality.map(|quality| quality.to_string())),
        ("BACKLOT_PARTS", args.parts.map(|parts| parts.to_string())),
        ("BACKLOT_RUNGS", (!args.rungs.is_empty()).then(|| args.rungs.join(","))),
        ("BACKLOT_MP4", args.mp4.then(|| "1".to_owned())),
    ];
    let mut env = vec![("BACKLOT_PRESET", args.preset.name().to_owned())];
    env.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    env
}

async fn watch(
    node: &Node,
    root: &InvocationId,
    bar: &mut Bar,
    stop: &CancellationToken,
) -> Result<End, Fault> {
    loop {
        if let Some(end) = ended(node, root).await? {
            return Ok(end);
        }
        let work = watched(node, root).await?;
        let bytes = stored_bytes(node, root).await?;
        bar.show(&work, bytes);
        tokio::select! {
            () = stop.cancelled() => return Ok(End::Interrupted),
            () = time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

async fn root_of(node: &Node, root: &InvocationId) -> Result<Invocation, Fault> {
    let found = node.ledger.invocation(root).await;
    let found = found.map_err(|err| node::internal("reading the ledger", &err))?;
    found.ok_or_else(|| Fault::new("E0901", "the encode's own record is gone", "report this"))
}

async fn watched(node: &Node, root: &InvocationId) -> Result<Work, Fault> {
    let job = root_of(node, root).await?;
    Work::read(&node.ledger, &*node.runtime, &job)
        .await
        .map_err(|err| node::internal("reading the ledger", &err))
}

/// What parts that are stored have written.
async fn stored_bytes(node: &Node, root: &InvocationId) -> Result<u64, Fault> {
    let children = node.ledger.children_of(root).await;
    let children = children.map_err(|err| node::internal("reading the ledger", &err))?;
    let stored = children.iter().filter(|child| child.state == State::Succeeded);
    Ok(stored.map(|child| child.cost.bytes_out).sum())
}

async fn ended(node: &Node, root: &InvocationId) -> Result<Option<End>, Fault> {
    let job = root_of(node, root).await?;
    let reason = job.reason.unwrap_or_else(|| "no reason was given".to_owned());
    Ok(match job.state {
        State::Succeeded => {
            let result = job.result.unwrap_or_default();
            let content = serde_json::from_slice(&result)
                .map_err(|err| node::internal("reading the encoder's answer", &err))?;
            Some(End::Ready(content))
        }
        State::Failed if rejected(node, root).await? => Some(End::Rejected(reason)),
        State::Failed | State::Cancelled => Some(End::Failed(reason)),
        State::Queued | State::Running | State::Parked => None,
    })
}

/// Whether the encoder said that it can never work, rather than run out of attempts.
async fn rejected(node: &Node, root: &InvocationId) -> Result<bool, Fault> {
    let attempts = node.ledger.attempts(root).await;
    let attempts = attempts.map_err(|err| node::internal("reading the ledger", &err))?;
    Ok(attempts.last().is_some_and(|last| last.outcome == Some(AttemptOutcome::Rejected)))
}

/// The newest invocation for a key, if any.
async fn newest_root(node: &Node, key: &str) -> Result<Option<Invocation>, Fault> {
    let filter = InvocationFilter {
        function: Some(node::ENCODER.to_owned()),
        roots_only: true,
        ..InvocationFilter::default()
    };
    let found = node.ledger.invocations(filter).await;
    let found = found.map_err(|err| node::internal("reading the ledger", &err))?;
    Ok(found.into_iter().find(|job| job.event_subject.as_deref() == Some(key)))
}

fn interrupted(args: &EncodeArgs, work: Option<&Work>) -> Result<Done, Fault> {
    let parts = work.map(Work::summary).unwrap_or_default();
    let kept = match parts.parts {
        0 => "nothing was finished yet".to_owned(),
        all => format!("{} of {all} parts are finished and kept", parts.parts_stored),
    };
    eprintln!("interrupted: {kept}; the same command goes on ({})", args.out.join(STATE).display());
    Ok(Done::Interrupted)
}

fn report(
    args: &EncodeArgs,
    content: &Value,
    exported: &export::Exported,
    took: Duration,
) -> Result<(), Fault> {
    let frames = content["frames"].as_u64().unwrap_or_default();
    let secs = took.as_secs_f64();
    let master = args.out.join("master.m3u8");
    if args.json {
        let result = json!({
            "state": "ready",
            "file": args.file,
            "out": args.out,
            "master": master,
            "frames": frames,
            "duration_ms": content["duration_ms"],
            "rungs": in_folder(&content["rungs"]),
            "audio": in_folder(&content["audio"]),
            "encoder": content["encoder"],
            "preset": content["preset"],
            "bytes": exported.bytes,
            "files": exported.files,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        return out(&format!("{result}\n")).map(drop);
    }
    eprintln!(
        "{}: {frames} frames, {} rungs, {} in {secs:.1} s",
        master.display(),
        content["rungs"].as_array().map_or(0, Vec::len),
        indicatif::DecimalBytes(exported.bytes),
    );
    Ok(())
}

/// Renditions with the names their files have in the output folder.
fn in_folder(renditions: &Value) -> Value {
    let mut renditions = renditions.clone();
    for one in renditions.as_array_mut().into_iter().flatten() {
        if let Some(Value::String(file)) = one.get_mut("file")
            && let Some((_, name)) = file.rsplit_once('/')
        {
            *file = name.to_owned();
        }
    }
    renditions
}

/// What is in the way of removing the state must not spoil a finished film.
fn remove_state(state: &Path) {
    if let Err(err) = fs::remove_dir_all(state) {
        tracing::warn!(folder = %state.display(), %err, "the state could not be removed");
    }
}

fn unwritable(out: &Path, err: &io::Error) -> Fault {
    Fault::new(
        "E0402",
        format!("the output folder {} cannot be written: {err}", out.display()),
        "name another with --out",
    )
}

/// The data folder is the user's output folder here.
fn retell(fault: Fault, out: &Path) -> Fault {
    let folder: PathBuf = out.join(STATE);
    match fault.code {
        "E0201" => Fault::new(
            "E0201",
            format!("{} is in use: another encode writes to {}", folder.display(), out.display()),
            "wait for it, or name another folder with --out",
        ),
        "E0202" => Fault::new("E0402", fault.message, "name another folder with --out"),
        _ => fault,
    }
}
