//! `backlot validate FILE|BUCKET/KEY`: the walk through a file or an object, and the verdict.
//!
//! A file is put into a data folder of its own, in the system's folder for temporary files, and
//! walked there by the same guest in the same sandbox as on a server: nothing here reads it.

mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use backlot_ledger::{Event, InvocationId, State};
use backlot_policy::Policy;
use backlot_runtime::CompileLimits;
use backlot_storage::{Expected, ObjectHeaders, Put, StoreError};
use futures::StreamExt;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time;
use tokio_util::io::ReaderStream;

use crate::answers::text;
use crate::cli::ValidateArgs;
use crate::client::{self, Client};
use crate::config::LogFormat;
use crate::fault::Fault;
use crate::node::{self, Node, Setup};
use crate::validator::{VALIDATOR, Validation};
use crate::{Done, encode, events, invoke, logging, signals};

/// Kind of the event that asks about one object.
const WALK: &str = "validator.walk";
/// Source of that event.
const SOURCE: &str = "/cli/validate";
/// How an object is named where there may be a file of that name.
const SCHEME: &str = "s3://";
/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// How often the end is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Largest file, in MiB: what the store takes as one object.
const FILE_MEGABYTES_MAX: u64 = 5 * 1024 * 1024;
/// Logs of the parts below would tear the bar; `BACKLOT_LOG_LEVEL` turns them on.
const LOG_LEVEL: &str = "error";

pub(crate) fn run(args: &ValidateArgs) -> Result<Done, Fault> {
    let path = Path::new(&args.what);
    let is_file = !args.what.starts_with(SCHEME) && path.is_file();
    let answer = if is_file { of_file(args, path)? } else { of_object(args)? };
    report::print(&answer, args.quiet, args.remote.server.json)
}

/// Asks a server.
fn of_object(args: &ValidateArgs) -> Result<Value, Fault> {
    let name = args.what.strip_prefix(SCHEME).unwrap_or(&args.what);
    let Some((bucket, key)) = name
        .split_once('/')
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty() && !bucket.starts_with('.'))
    else {
        return Err(unreadable(&args.what, &"there is no such file"));
    };
    let client = Client::new(&args.remote)?;
    let data = json!({ "bucket": bucket, "key": key });
    let event = json!({ "type": WALK, "source": SOURCE, "subject": key, "data": data });
    let event = events::complete(event)?;
    client::block_on(async {
        let path = format!("/api/v1/functions/{VALIDATOR}/invocations");
        let asked = client.change(Method::POST, &path, Some(&event)).await;
        let asked = asked.map_err(|fault| match fault.code {
            client::NOT_THERE => Fault::new(
                "E0405",
                format!("the server validates nothing: {}", fault.message),
                format!("add [[validate]] with bucket = {bucket:?} to its backlot.toml"),
            ),
            _ => fault,
        })?;
        let id = text(&asked, "/id").to_owned();
        invoke::wait(&client, &id).await?;
        let ended = client.get(&format!("/api/v1/invocations/{id}")).await?.unwrap_or_default();
        match (text(&ended, "/state"), ended.get("result")) {
            ("succeeded", Some(answer)) => Ok(answer.clone()),
            _ => Err(not_validated(&args.what, text(&ended, "/reason"))),
        }
    })
}

/// Walks a file here.
fn of_file(args: &ValidateArgs, path: &Path) -> Result<Value, Fault> {
    let level = std::env::var("BACKLOT_LOG_LEVEL").unwrap_or_else(|_| LOG_LEVEL.to_owned());
    logging::start(&level, LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("backlot-io")
        .build()
        .map_err(|err| node::internal("starting threads", &err))?;
    let folder = tempfile::Builder::new().prefix("backlot-validate-").tempdir();
    let folder = folder.map_err(|err| {
        Fault::new(
            "E0405",
            format!("there is no folder for temporary files: {err}"),
            "name one with the variable TMPDIR that has room for the file",
        )
    })?;
    runtime.block_on(walk(args, path, folder.path()))
}

async fn walk(args: &ValidateArgs, path: &Path, folder: &Path) -> Result<Value, Fault> {
    let stop = signals::stop_token()?;
    let node = Node::open(setup(folder)).await?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bar = bar(&name);
    let walked = async {
        put(&node, path, &name, args.content_type.clone(), &bar).await?;
        let data = json!({ "bucket": node::UPLOADS, "key": name }).to_string().into_bytes();
        let event = Event::json(SOURCE, WALK, Some(name.clone()), data);
        let id = node.ledger.invoke(VALIDATOR, event, None).await;
        let id = id.map_err(|err| node::internal("starting the validator", &err))?;
        let running = node.runtime.run(stop.clone());
        tokio::select! {
            answer = ended(&node, &id, &args.what, &bar) => answer,
            () = running => Err(not_validated(&args.what, "it was interrupted")),
        }
    };
    let answer = tokio::select! {
        answer = walked => answer,
        () = stop.cancelled() => Err(not_validated(&args.what, "it was interrupted")),
    };
    bar.finish_and_clear();
    tokio::task::block_in_place(|| drop(node));
    let mut answer = answer?;
    if let Some(answer) = answer.as_object_mut() {
        // It never was in a bucket for those who asked.
        answer.remove("bucket");
        answer.remove("key");
        answer.insert("file".to_owned(), json!(path));
    }
    Ok(answer)
}

fn setup(folder: &Path) -> Setup<'_> {
    Setup {
        data: folder,
        cache: encode::cache(folder),
        slots: Some(1),
        niceness: 0,
        uploads_at_once: 1,
        put_megabytes_max: FILE_MEGABYTES_MAX,
        http_requests: 1,
        http_idle: 0,
        compile: CompileLimits::default(),
        trust: Vec::new(),
        encoder: None,
        scanner: None,
        backups: Vec::new(),
        validation: Some(Validation {
            policies: vec![Policy::of(node::UPLOADS)],
            schedule: None,
            settle_secs: 0,
        }),
    }
}

async fn put(
    node: &Node,
    path: &Path,
    name: &str,
    content_type: Option<String>,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    let shown: PathBuf = path.to_owned();
    let failed = |err: std::io::Error| unreadable(&shown.display().to_string(), &err);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let size = file.metadata().await.map_err(failed)?.len();
    bar.set_length(size);
    bar.set_message("reading");
    let put = Put {
        bucket: node::UPLOADS.to_owned(),
        key: name.to_owned(),
        headers: ObjectHeaders { content_type, ..ObjectHeaders::default() },
        expected: Expected { size: Some(size), ..Expected::default() },
        principal: "validate".to_owned(),
        ..Put::default()
    };
    let stream = ReaderStream::with_capacity(file, CHUNK_BYTES).inspect(|chunk| {
        bar.inc(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
    });
    match node.store.put(put, stream).await {
        Ok(_) => Ok(()),
        Err(StoreError::Body(err)) => Err(failed(err)),
        Err(StoreError::WrongSize { .. }) => {
            Err(failed(std::io::Error::other("it changed while it was read")))
        }
        Err(StoreError::Disk(err)) => Err(Fault::new(
            "E0405",
            format!("{} cannot be copied: {err}", path.display()),
            "name a folder that has room for it with the variable TMPDIR",
        )),
        Err(err) => Err(node::internal("copying the file", &err)),
    }
}

/// The validator's answer.
async fn ended(
    node: &Node,
    id: &InvocationId,
    what: &str,
    bar: &ProgressBar,
) -> Result<Value, Fault> {
    bar.set_message("walking");
    bar.set_position(0);
    loop {
        let found = node.ledger.invocation(id).await;
        let found = found.map_err(|err| node::internal("reading the ledger", &err))?;
        let Some(found) = found else { return Err(not_validated(what, "its record is gone")) };
        match found.state {
            State::Succeeded => {
                let answer = serde_json::from_slice(&found.result.unwrap_or_default());
                return answer.map_err(|err| node::internal("reading the answer", &err));
            }
            State::Failed | State::Cancelled => {
                return Err(not_validated(what, &found.reason.unwrap_or_default()));
            }
            State::Queued | State::Running | State::Parked => {}
        }
        if let Some(strand) = node.runtime.progress(id).first() {
            bar.set_position(strand.done);
        }
        time::sleep(LOOK_INTERVAL).await;
    }
}

/// On standard error, and only on a terminal.
fn bar(name: &str) -> ProgressBar {
    let template = "{prefix}: {msg} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(name.to_owned())
}

fn unreadable(what: &str, reason: &dyn std::fmt::Display) -> Fault {
    Fault::new(
        "E0401",
        format!("{what} cannot be read: {reason}"),
        "name a file that you can read, or BUCKET/KEY of an object on a server",
    )
}

fn not_validated(what: &str, reason: &str) -> Fault {
    Fault::new(
        "E0405",
        format!("{what} could not be validated: {reason}"),
        "mend what it names, then run it again",
    )
}
