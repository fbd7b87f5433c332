//! A version is tried before it is published: instantiated once, and given the event and the request
//! of its manifest's `[probe]`. It may read what it is granted, and change nothing.

use std::sync::Arc;
use std::time::Duration;

use backlot_bindings::backlot::function::types::{Event as GuestEvent, Failure};
use backlot_ledger::Fence;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::attempt;
use crate::functions::Version;
use crate::http::{self as http_functions, HttpFunctions};
use crate::interrupt::Interrupt;
use crate::logs::AttemptLog;
use crate::manifest::{ManifestError, at_most, out_of_range, within};
use crate::runtime::Shared;
use crate::trap;

/// Most `wall_secs` of a probe.
pub(crate) const WALL_MAX_SECS: u64 = 300;

/// How long an instance may take to start.
const START_MAX: Duration = Duration::from_secs(10);

/// Largest data of a probe's event, in bytes.
const DATA_MAX_BYTES: usize = 256 << 10;

/// What a trial's log keeps, in bytes: it is for the trial alone.
const LOG_BYTES: usize = 16 << 10;

/// Lines of the log that are told when the trial fails.
const LINES_TOLD: usize = 8;

/// What a version must be able to handle before it is published: `[probe]` of its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// An event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<ProbeEvent>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<ProbeRequest>,
    /// How long either may take: 1 to 300 s; 10 by default.
    #[serde(default = "wall_secs")]
    pub wall_secs: u64,
}

/// The request of a probe: without a body, and from nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// Its path, with its query if there is one.
    pub path: String,
    /// Its method; `GET` by default.
    #[serde(default = "method")]
    pub method: String,
    /// The host that it asks for; `probe` by default.
    #[serde(default = "host")]
    pub host: String,
    /// The status of the answer that passes: 200 to 599; 200 by default.
    #[serde(default = "status")]
    pub status: u16,
}

/// The event of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeEvent {
    /// Its kind.
    pub kind: String,
    /// Its source; `/probe` by default.
    #[serde(default = "source")]
    pub source: String,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its data, given to the handler as JSON; null by default.
    #[serde(default)]
    pub data: serde_json::Value,
}

fn wall_secs() -> u64 {
    10
}

fn method() -> String {
    "GET".to_owned()
}

fn host() -> String {
    "probe".to_owned()
}

fn status() -> u16 {
    200
}

fn source() -> String {
    "/probe".to_owned()
}

impl Probe {
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        if let Some(event) = &self.event {
            if event.kind.is_empty() {
                return Err(out_of_range("probe.event.kind", "\"\"".to_owned(), "an event's kind"));
            }
            at_most("bytes of probe.event.data", event.data.to_string().len(), DATA_MAX_BYTES)?;
        }
        if let Some(request) = &self.request {
            within("probe.request.status", request.status.into(), 200, 599)?;
            if let Err(err) = request.build() {
                let wanted = format!("a request to a path like \"/health\": {err}");
                return Err(out_of_range("probe.request", format!("{:?}", request.path), wanted));
            }
        }
        if self.event.is_none() && self.request.is_none() {
            let wanted = "given an `event`, a `request`, or both";
            return Err(out_of_range("probe", "empty".to_owned(), wanted));
        }
        within("probe.wall_secs", self.wall_secs, 1, WALL_MAX_SECS)
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(self.wall_secs)
    }
}

impl ProbeRequest {
    fn build(&self) -> http::Result<Request<Empty<Bytes>>> {
        let uri = Uri::builder().scheme("http").authority(self.host.as_str());
        let uri = uri.path_and_query(self.path.as_str()).build()?;
        Request::builder().method(self.method.as_str()).uri(uri).body(Empty::new())
    }
}

/// Tries a version; why it does not do.
pub(crate) async fn run(shared: &Arc<Shared>, version: &Version) -> Result<(), String> {
    let dry = Arc::new(version.without_effects());
    let shared = shared.clone();
    let tried = shared.guests.clone().spawn(async move {
        ask(&shared, &dry).await?;
        handle(&shared, &dry).await
    });
    tried.await.map_err(|_| "the trial died".to_owned())?
}

/// Starts the version's HTTP handler, and gives it the probe's request.
async fn ask(shared: &Arc<Shared>, version: &Arc<Version>) -> Result<(), String> {
    let Some(handler) = &version.http else { return Ok(()) };
    let started = timeout(START_MAX, http_functions::try_out(shared, handler)).await;
    let started = started.map_err(|_| format!("it did not start within {START_MAX:?}"))?;
    started.map_err(|err| format!("to start it: {}", trap::reason(&err, None)))?;
    let Some(probe) = &version.manifest.probe else { return Ok(()) };
    let Some(request) = &probe.request else { return Ok(()) };
    let (method, path, wanted) = (&request.method, &request.path, request.status);
    let request = request.build().map_err(|err| err.to_string())?;
    let functions = HttpFunctions::new(shared.clone());
    let asked = async {
        let answer = functions.answer_by(version.clone(), None, request, Instant::now()).await;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|err| format!("the answer to its probe: {err}"))?;
        }
        if status.as_u16() == wanted {
            return Ok(());
        }
        Err(format!("it answers {status} to its probe {method} {path}, not {wanted}"))
    };
    let asked = timeout(probe.wall(), asked).await;
    asked.unwrap_or_else(|_| Err(format!("its probe took more than {} s", probe.wall_secs)))
}

/// Starts the version's handler of events, and gives it the probe's event.
async fn handle(shared: &Shared, version: &Arc<Version>) -> Result<(), String> {
    let Some(handler) = &version.handler else { return Ok(()) };
    // Of no invocation: what would be recorded for one is refused, and ends the trial there.
    let id = "0".repeat(32).parse().map_err(|err| format!("{err}"))?;
    let fence = Fence { invocation: id, token: 0 };
    let log = AttemptLog::new(LOG_BYTES);
    let engine = shared.engine_of(handler.engine);
    let mut store = attempt::store(shared, engine, version, Timestamp::now(), 1, &fence, &log);
    let _at_work = engine.at_work();
    let started = timeout(START_MAX, handler.pre.instantiate_async(&mut store)).await;
    let instance = match started {
        Ok(Ok(instance)) => instance,
        Ok(Err(err)) => {
            return Err(told(&log, &format!("to start it: {}", trap::reason(&err, None))));
        }
        Err(_) => return Err(told(&log, &format!("it did not start within {START_MAX:?}"))),
    };
    let Some(probe) = &version.manifest.probe else { return Ok(()) };
    let Some(ProbeEvent { kind, source, subject, data }) = &probe.event else { return Ok(()) };
    let event = GuestEvent {
        id: "probe".to_owned(),
        source: source.clone(),
        kind: kind.clone(),
        subject: subject.clone(),
        time: Timestamp::now().to_string(),
        content_type: Some("application/json".to_owned()),
        data: data.to_string().into_bytes(),
    };
    let handled = instance.backlot_function_handler().call_handle(&mut store, &event);
    let failed = match timeout(probe.wall(), handled).await {
        Ok(Ok(Ok(_))) => return Ok(()),
        Ok(Ok(Err(Failure::Reject(reason)))) => format!("it rejects its probe: {reason}"),
        Ok(Ok(Err(Failure::Retry(retry)))) => format!("it fails its probe: {}", retry.reason),
        Ok(Err(err)) => match err.downcast_ref::<Interrupt>() {
            // It came to where it would have to be recorded what it did, or to wait.
            Some(Interrupt::Fenced | Interrupt::Parked(_) | Interrupt::Asleep(_)) => return Ok(()),
            Some(interrupt) => interrupt.to_string(),
            None => format!("its probe: {}", trap::reason(&err, None)),
        },
        Err(_) => format!("its probe took more than {} s", probe.wall_secs),
    };
    Err(told(&log, &failed))
}

/// The reason, with the end of what the guest wrote.
fn told(log: &AttemptLog, reason: &str) -> String {
    let lines = log.take(None);
    let mut text = reason.to_owned();
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_TOLD)) {
        text.push_str("; ");
        text.push_str(&line.text);
    }
    text
}
