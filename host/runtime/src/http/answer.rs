//! From a request to its answer.
//!
//! The guest runs within the future of its request: what most guests do, an answer made in one go,
//! needs no task, no timer and no channel between threads. A guest that is not done when the head
//! of its answer is, goes on as a task of its own, so that its deadline holds even while nobody
//! reads the answer.
//!
//! `wasmtime_wasi_http::handler::ProxyHandler` is not used but what is beneath it
//! ([`Prepared`](wasmtime_wasi_http::handler::Prepared)): it starts a task for each instance and
//! queues requests without a bound, a client that goes away before the head of the answer leaves
//! its guest running, and a guest that traps within a body looks like one that has finished it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use wasmtime_wasi_http::WasiBody;

use super::body::{AnswerBody, Pace, Stream, Tally};
use super::counters::End;
use super::crowd::{self, Handled, Job, NewCrowd};
use super::handler::HttpHandler;
use super::heavy::Movable;
use super::incoming::{self, RequestFault};
use super::instance::{AnswerTo, Instance};
use super::progress::Progress;
use super::routes::Routed;
use crate::engine::AtWork;
use crate::functions::{Functions, Version};
use crate::meter::{Metered, OutOfCpu};
use crate::runtime::Shared;
use crate::trap;

/// When a client that was told that there is no room may try again.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("1");

/// Polls of a guest that has given the head of its answer, before it goes on as a task of its own.
/// One of 0.3 writes the body of its answer as a task within the guest, whose turn comes with the
/// next poll; most are done then.
const LAST_WORDS_POLLS: usize = 2;

/// Crowds that a request is given to, one after the other, while each ends before its turn comes.
const CROWDS_TRIED: usize = 3;

/// An extension of a request: who sent it.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// Answers HTTP requests with the functions whose routes they match. Clones are the same one.
#[derive(Clone)]
pub struct HttpFunctions {
    shared: Arc<Shared>,
}

/// A guest at work for a request, up to its end, with the instance if it may be used again. Why it
/// was ended was told as far as it matters.
type Guest = Movable<Result<Option<Instance>, End>>;

impl HttpFunctions {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The answer to a request: the function's, or one of ours that says why there is none.
    ///
    /// Dropping the future ends the guest; so does dropping the body before its end. To be awaited
    /// on the threads of [`crate::Runtime::http_threads`].
    pub async fn answer<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<RequestFault>,
    {
        let started = Instant::now();
        let host = incoming::host(&request).unwrap_or_default();
        let functions = &self.shared.functions;
        let routed = functions.routes.find(host, request.uri().path(), request.method());
        let slot = match routed {
            Routed::To(slot) => slot,
            Routed::NotFound => {
                return plain(StatusCode::NOT_FOUND, "no function answers here\n");
            }
            Routed::MethodNotAllowed(methods) => return method_not_allowed(&methods),
        };
        let version = match &slot.canary {
            None => slot.live(),
            Some(_) => slot.choose(&affinity(&request)),
        };
        let Some(version) = version.cloned() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the function cannot run\n");
        };
        let trial = slot.trial.is_some().then(|| (functions.clone(), version.clone()));
        self.answer_by(version, trial, request, started).await
    }

    /// The answer of a version.
    pub(crate) async fn answer_by<B>(
        &self,
        version: Arc<Version>,
        trial: Option<(Arc<Functions>, Arc<Version>)>,
        request: Request<B>,
        started: Instant,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<RequestFault>,
    {
        let Some(handler) = &version.http else {
            return plain(StatusCode::NOT_FOUND, "no function answers here\n");
        };
        let settings = handler.profile.settings;
        if settings.request_bytes() < request.body().size_hint().lower() {
            return too_large();
        }
        let places = match self.places(handler) {
            Ok(places) => places,
            Err((status, text)) => {
                handler.counters.refuse();
                let mut answer = plain(status, text);
                answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECS);
                return answer;
            }
        };
        let progress = Arc::new(Progress::default());
        let request = incoming::for_guest(request, settings.request_bytes(), progress.clone());
        let Some(request) = request else {
            return plain(StatusCode::BAD_REQUEST, "the request names no host\n");
        };
        let tally = Tally { counters: handler.counters.clone(), trial, started, end: None };
        let (sender, mut head) = oneshot::channel();
        let deadline = started + settings.timeout();
        let shared = self.shared.clone();
        let elsewhere = shared.guests.clone();
        let mut guest: Guest = if handler.crowded() {
            progress.hold(places);
            let (answer, progress) = (sender, progress.clone());
            let guest = join_crowd(shared, version.clone(), request, answer, progress, deadline);
            Movable::new(guest, elsewhere)
        } else {
            let guest = run(shared, version.clone(), request, sender, progress.clone(), places);
            if handler.profile.limits.cpu() == Duration::MAX {
                Movable::new(guest, elsewhere)
            } else {
                Movable::new(metered(guest, version.clone(), progress.clone()), elsewhere)
            }
        };
        let mut alarm = pin!(sleep_until(deadline));
        let mut answer = None;
        let reached = poll_fn(|cx| {
            for _ in 0..=LAST_WORDS_POLLS {
                // The guest first: it may give its answer and end in the same moment.
                if let Poll::Ready(ended) = Pin::new(&mut guest).poll(cx) {
                    return Poll::Ready(Reached::End(ended.unwrap_or(Err(End::Failed))));
                }
                if answer.is_none()
                    && let Poll::Ready(Ok(given)) = Pin::new(&mut head).poll(cx)
                {
                    answer = Some(given);
                }
                if answer.is_none() {
                    return alarm.as_mut().poll(cx).map(|()| Reached::Deadline);
                }
            }
            Poll::Ready(Reached::Head)
        })
        .await;
        let answer = answer.or_else(|| head.try_recv().ok().flatten());
        let call = Call { handler, tally, progress: progress.clone() };
        match (reached, answer) {
            (Reached::Deadline, _) => call.refused(End::TimedOut),
            (Reached::End(Err(end)), _) => call.refused(end),
            (_, None) => call.refused(progress.failure().unwrap_or(End::Failed)),
            (_, Some(Err(err))) => match progress.failure() {
                // It was ended, on other threads: that it has no answer now is but what follows.
                Some(end) => call.refused(end),
                None => call.gave_up(&err),
            },
            (Reached::End(Ok(instance)), Some(Ok(answer))) => {
                if let Some(instance) = instance {
                    keep(&self.shared, &version, instance);
                }
                call.whole(answer, deadline)
            }
            (Reached::Head, Some(Ok(answer))) => {
                let guest = until(guest, deadline, progress, self.shared.clone(), version.clone());
                call.streamed(answer, guest, deadline)
            }
        }
    }

    /// A place among the function's requests, and one among those of all functions; else what the
    /// client is told.
    fn places(&self, handler: &HttpHandler) -> Result<Places, (StatusCode, &'static str)> {
        let Ok(of_function) = handler.slots.clone().try_acquire_owned() else {
            let text = "the function is at its limit of requests at once\n";
            return Err((StatusCode::TOO_MANY_REQUESTS, text));
        };
        let Ok(of_host) = self.shared.http.guests.clone().try_acquire_owned() else {
            let text = "the host is at its limit of requests at once\n";
            return Err((StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let at_work = self.shared.http.engine.at_work();
        Ok(Places { _of_function: of_function, _of_host: of_host, _at_work: at_work })
    }
}

/// How far a request got before it needs a decision.
enum Reached {
    /// The guest ended.
    End(Result<Option<Instance>, End>),
    /// The guest gave the head of its answer, and goes on.
    Head,
    Deadline,
}

/// Held while a guest runs.
struct Places {
    _of_function: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
    _at_work: AtWork,
}

/// Answer one request with an instance.
async fn run(
    shared: Arc<Shared>,
    version: Arc<Version>,
    request: Request<WasiBody>,
    answer: AnswerTo,
    progress: Arc<Progress>,
    _places: Places,
) -> Result<Option<Instance>, End> {
    let Some(handler) = &version.http else { return Err(End::Failed) };
    let instance = match handler.take_idle() {
        Some(instance) => Ok(instance),
        None => Instance::start(&shared, handler).await,
    };
    let mut instance = match instance {
        Ok(instance) => instance,
        Err(err) => {
            report(handler, &err, None);
            return Err(End::Failed);
        }
    };
    if let Err(err) = instance.serve(request, answer).await {
        // Before the instance is torn down, and its half of the answer's body with it.
        progress.fail(End::Failed);
        report(handler, &err, instance.refusal().as_deref());
        return Err(End::Failed);
    }
    Ok(Some(instance))
}

/// A guest that is ended when it has computed for too long.
async fn metered(
    guest: impl Future<Output = Result<Option<Instance>, End>>,
    version: Arc<Version>,
    progress: Arc<Progress>,
) -> Result<Option<Instance>, End> {
    let limits = version.manifest.limits;
    let mut guest = Metered::new(guest, limits.cpu());
    (&mut guest).await.unwrap_or_else(|OutOfCpu| {
        // Before the guest is torn down, and its half of the answer's body with it.
        progress.fail(End::TimedOut);
        let (function, version, limit_ms) = (version.function(), version.id(), limits.cpu_ms);
        tracing::warn!(function, version, limit_ms, "an HTTP guest was ended at its CPU limit");
        Err(End::TimedOut)
    })
}

/// Keep an instance that has answered, if it may answer more.
fn keep(shared: &Shared, version: &Arc<Version>, instance: Instance) {
    if let Some(handler) = &version.http
        && !version.superseded.is_cancelled()
        && handler.keep(instance, &shared.http.idle_places)
    {
        tokio::spawn(look_after_idle(version.clone()));
    }
}

/// Answer one request among others in the same instance.
async fn join_crowd(
    shared: Arc<Shared>,
    version: Arc<Version>,
    mut request: Request<WasiBody>,
    mut answer: AnswerTo,
    progress: Arc<Progress>,
    deadline: Instant,
) -> Result<Option<Instance>, End> {
    let Some(handler) = &version.http else { return Err(End::Failed) };
    for _ in 0..CROWDS_TRIED {
        let (jobs, seat, new) = handler.crowds.seat(handler);
        progress.hold(seat);
        if let Some(new) = new {
            let crowd = run_crowd(shared.clone(), version.clone(), new);
            tokio::spawn(Movable::new(crowd, shared.guests.clone()));
        }
        let (done, handled) = oneshot::channel();
        let job = Job { request, answer, progress: progress.clone(), deadline, done };
        let sent = jobs.send(job).await;
        drop(jobs);
        let not_begun = match sent {
            Ok(()) => handled.await,
            Err(mpsc::error::SendError(job)) => Ok(Handled::NotBegun(job.request, job.answer)),
        };
        match not_begun {
            Ok(Handled::Done) => return Ok(None),
            Ok(Handled::NotBegun(again, to)) => (request, answer) = (again, to),
            Err(oneshot::Canceled) => break,
        }
    }
    Err(progress.failure().unwrap_or(End::Failed))
}

async fn run_crowd(shared: Arc<Shared>, version: Arc<Version>, crowd: NewCrowd) {
    let Some(handler) = &version.http else { return };
    let ended = match Instance::start(&shared, handler).await {
        Ok(instance) => crowd::run(handler, instance, crowd, version.superseded.cancelled()).await,
        Err(err) => {
            handler.crowds.close(crowd.id);
            return report(handler, &err, None);
        }
    };
    if let Err((err, instance)) = ended {
        report(handler, &err, instance.refusal().as_deref());
    }
}

/// Drops idle instances in time, until there are none.
async fn look_after_idle(version: Arc<Version>) {
    let Some(handler) = &version.http else { return };
    loop {
        let superseded = tokio::select! {
            () = version.superseded.cancelled() => true,
            () = tokio::time::sleep(handler.profile.settings.idle() / 2) => false,
        };
        if !handler.drop_idle(superseded) {
            return;
        }
    }
}

/// Into the log, with where it happened: clients are told nothing of it.
fn report(handler: &HttpHandler, err: &wasmtime::Error, refusal: Option<&str>) {
    let (function, version) = (&*handler.profile.function, &handler.profile.version);
    let reason = trap::reason(err, refusal);
    let backtrace = trap::backtrace(err).join("\n");
    tracing::warn!(function, version, reason, backtrace, "an HTTP guest was ended");
}

/// A request whose answer is being put together.
struct Call<'a> {
    handler: &'a HttpHandler,
    tally: Tally,
    progress: Arc<Progress>,
}

impl Call<'_> {
    /// The guest gave no answer.
    fn refused(mut self, end: End) -> Response<AnswerBody> {
        self.tally.end = Some(end);
        if let Some(RequestFault::TooLarge(_)) = self.progress.request_fault() {
            return too_large();
        }
        match end {
            End::TimedOut => {
                plain(StatusCode::GATEWAY_TIMEOUT, "the function took too long to answer\n")
            }
            _ => plain(StatusCode::BAD_GATEWAY, "the function failed\n"),
        }
    }

    /// The guest answered with an error in place of an answer.
    fn gave_up(self, err: &wasmtime::Error) -> Response<AnswerBody> {
        report(self.handler, err, None);
        self.refused(End::Failed)
    }

    /// The guest is done: most often all of its answer is there, and goes out in one piece.
    fn whole(mut self, answer: Response<WasiBody>, deadline: Instant) -> Response<AnswerBody> {
        let settings = self.handler.profile.settings;
        if answer.status().is_informational() {
            return self.refused(End::Failed);
        }
        let (head, mut body) = answer.into_parts();
        let mut pieces = VecDeque::new();
        let mut left_bytes = settings.response_bytes();
        let mut cx = Context::from_waker(Waker::noop());
        while settings.response_kilobytes_per_sec.is_none() {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if (piece.len() as u64) <= left_bytes => {
                        left_bytes -= piece.len() as u64;
                        pieces.push_back(Frame::data(piece));
                    }
                    Ok(_) => return self.refused(End::TooLong),
                    Err(trailers) => {
                        pieces.push_back(trailers);
                        break;
                    }
                },
                Poll::Ready(Some(Err(_))) => return self.refused(End::Failed),
                Poll::Ready(None) => {
                    self.tally.end = Some(End::Answered(head.status.as_u16()));
                    let pieces = pieces.into_iter().filter_map(|piece| piece.into_data().ok());
                    return Response::from_parts(head, AnswerBody::whole(pieces.collect()));
                }
                // It comes from elsewhere: the guest handed on a body that it was given.
                Poll::Pending => break,
            }
        }
        self.stream(Response::from_parts(head, body), pieces, None, deadline)
    }

    /// The guest goes on, as a task of its own.
    fn streamed(
        self,
        answer: Response<WasiBody>,
        guest: impl Future<Output = ()> + Send + 'static,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        if answer.status().is_informational() {
            return self.refused(End::Failed);
        }
        let guest = tokio::spawn(guest);
        self.stream(answer, VecDeque::new(), Some(guest.abort_handle()), deadline)
    }

    fn stream(
        self,
        answer: Response<WasiBody>,
        first: VecDeque<Frame<Bytes>>,
        guest: Option<AbortHandle>,
        deadline: Instant,
    ) -> Response<AnswerBody> {
        let settings = self.handler.profile.settings;
        let (head, body) = answer.into_parts();
        let stream = Stream {
            first,
            body,
            status: head.status.as_u16(),
            declared_bytes: declared_bytes(&head.headers),
            sent_bytes: 0,
            limit_bytes: settings.response_bytes(),
            pace: settings.response_kilobytes_per_sec.map(Pace::new),
            alarm: Box::pin(sleep_until(deadline)),
            progress: self.progress,
            guest,
            tally: self.tally,
        };
        Response::from_parts(head, AnswerBody::stream(stream))
    }
}

/// Run the guest to its end, or end it at its deadline.
async fn until(
    mut guest: Guest,
    deadline: Instant,
    progress: Arc<Progress>,
    shared: Arc<Shared>,
    version: Arc<Version>,
) {
    tokio::select! {
        ended = &mut guest => {
            if let Some(Ok(Some(instance))) = ended {
                keep(&shared, &version, instance);
            }
        }
        () = sleep_until(deadline) => progress.fail(End::TimedOut),
    }
}

/// What a client is known by, so that it stays on its side of a canary: its credentials or cookies,
/// else its address.
fn affinity<B>(request: &Request<B>) -> String {
    let headers = request.headers();
    let own = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE));
    if let Some(value) = own {
        return String::from_utf8_lossy(value.as_bytes()).into_owned();
    }
    match request.extensions().get::<ClientAddress>() {
        Some(ClientAddress(address)) => address.to_string(),
        None => request.uri().path().to_owned(),
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large() -> Response<AnswerBody> {
    let text = "the body of the request is over the function's limit\n";
    plain(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn method_not_allowed(methods: &str) -> Response<AnswerBody> {
    let text = "the function that answers here does not take this method\n";
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    // Method names are visible ASCII.
    if let Ok(methods) = HeaderValue::try_from(methods) {
        answer.headers_mut().insert(header::ALLOW, methods);
    }
    answer
}

/// An answer of the host's own.
fn plain(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::text(text));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
