//! Instances that serve several requests at once: `http.concurrency`, of `wasi:http` 0.3 only.
//!
//! A crowd shares one store and so one thread and one fate: a trap ends all of its requests. A
//! single request cannot be ended (wasmtime#11833), so an instance with an overdue one gets no more
//! requests, and is dropped when none is left that is in time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::channel::oneshot;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use wasmtime_wasi_http::handler::Request;

use super::counters::End;
use super::handler::HttpHandler;
use super::instance::{AnswerTo, Instance};
use super::progress::Progress;

/// The crowded instances of a version.
#[derive(Default)]
pub(crate) struct Crowds {
    open: Mutex<Vec<Crowd>>,
}

/// An instance that takes more requests.
struct Crowd {
    jobs: mpsc::Sender<Job>,
    seats: Arc<Semaphore>,
    /// Requests that it may still be given.
    left: u64,
    id: u64,
}

/// A request for a crowd.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) answer: AnswerTo,
    pub(crate) progress: Arc<Progress>,
    pub(crate) deadline: Instant,
    /// Told when the guest's handler has ended, or that it was never called; dropped when its
    /// instance has ended.
    pub(crate) done: oneshot::Sender<Handled>,
}

/// What became of a request in a crowd.
#[allow(clippy::large_enum_variant, reason = "one at a time, and the usual `Done` is not kept")]
pub(crate) enum Handled {
    /// The handler has ended.
    Done,
    /// The instance ended before its turn came.
    NotBegun(Request, AnswerTo),
}

/// What a new crowd needs to be run.
pub(crate) struct NewCrowd {
    jobs: mpsc::Receiver<Job>,
    seats: Arc<Semaphore>,
    seats_max: usize,
    pub(crate) id: u64,
}

impl Crowds {
    /// A seat in a crowd that has room; and if a new one was begun for it, what is to be run.
    pub(crate) fn seat(
        &self,
        handler: &HttpHandler,
    ) -> (mpsc::Sender<Job>, OwnedSemaphorePermit, Option<NewCrowd>) {
        let mut open = self.open();
        for at in 0..open.len() {
            let Some(crowd) = open.get_mut(at) else { break };
            let Ok(seat) = crowd.seats.clone().try_acquire_owned() else { continue };
            let jobs = crowd.jobs.clone();
            crowd.left -= 1;
            if crowd.left == 0 {
                open.remove(at);
            }
            return (jobs, seat, None);
        }
        let settings = handler.profile.settings;
        let seats_max = usize::try_from(settings.concurrency).unwrap_or(usize::MAX);
        let seats = Arc::new(Semaphore::new(seats_max));
        let seat = seats.clone().try_acquire_owned().expect("a new crowd has room");
        let (sender, jobs) = mpsc::channel(seats_max);
        let id = handler.next_crowd();
        let left = settings.reuse - 1;
        if 0 < left {
            open.push(Crowd { jobs: sender.clone(), seats: seats.clone(), left, id });
        }
        (sender, seat, Some(NewCrowd { jobs, seats, seats_max, id }))
    }

    /// No more requests for that crowd: who waits for it is told by its end.
    pub(crate) fn close(&self, id: u64) {
        self.open().retain(|crowd| crowd.id != id);
    }

    fn open(&self) -> MutexGuard<'_, Vec<Crowd>> {
        // What a panicking holder left is still a list of whole crowds.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of a crowd that are not over.
#[derive(Default)]
struct Present {
    entered: Notify,
    requests: Mutex<Vec<(Instant, Weak<Progress>)>>,
}

impl Present {
    fn enter(&self, job: &Job) {
        let mut requests = self.requests();
        requests.retain(|(_, progress)| 0 < progress.strong_count());
        requests.push((job.deadline, Arc::downgrade(&job.progress)));
        self.entered.notify_one();
    }

    /// The first and the last deadline of those that are here.
    fn deadlines(&self) -> Option<(Instant, Instant)> {
        let mut requests = self.requests();
        requests.retain(|(_, progress)| 0 < progress.strong_count());
        let deadlines = || requests.iter().map(|(deadline, _)| *deadline);
        Some((deadlines().min()?, deadlines().max()?))
    }

    fn fail(&self, end: End) {
        for progress in self.requests().iter().filter_map(|(_, progress)| progress.upgrade()) {
            progress.fail(end);
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<(Instant, Weak<Progress>)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Run a crowd to its end: until it may have no more requests and has none.
///
/// # Errors
/// When the guest traps, with the instance that it did it in.
pub(crate) async fn run(
    handler: &HttpHandler,
    mut instance: Instance,
    crowd: NewCrowd,
    superseded: impl Future<Output = ()>,
) -> Result<(), (wasmtime::Error, Instance)> {
    let NewCrowd { mut jobs, seats, seats_max, id } = crowd;
    let present = Present::default();
    let ended = {
        let mut serving = pin!(serve(&mut instance, &mut jobs, &present));
        let ending = keep_time(handler, &present, (&seats, seats_max), id, superseded);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = ending => Ok(()),
        };
        // Before anything is torn down, and the guest's halves of the answers' bodies with it.
        present.fail(if ended.is_ok() { End::TimedOut } else { End::Failed });
        ended
    };
    handler.crowds.close(id);
    jobs.close();
    while let Ok(Job { request, answer, done, .. }) = jobs.try_recv() {
        done.send(Handled::NotBegun(request, answer)).ok();
    }
    ended.map_err(|err| (err, instance))
}

/// Give the guest its requests as they come, until there are to be no more.
async fn serve(
    instance: &mut Instance,
    jobs: &mut mpsc::Receiver<Job>,
    present: &Present,
) -> wasmtime::Result<()> {
    instance
        .run(async |guest| {
            let mut running = FuturesUnordered::new();
            let mut open = true;
            while open || !running.is_empty() {
                tokio::select! {
                    job = jobs.recv(), if open => match job {
                        Some(job) => {
                            present.enter(&job);
                            let Job { request, answer, progress, done, .. } = job;
                            let handling = guest.begin(request, answer)?;
                            running.push(async move {
                                handling.await?;
                                drop(progress);
                                // Nobody waits for a request whose client has gone.
                                done.send(Handled::Done).ok();
                                wasmtime::error::Ok(())
                            });
                        }
                        None => open = false,
                    },
                    Some(ended) = running.next() => ended?,
                }
            }
            poll_fn(|cx| guest.poll_idle(cx)).await;
            Ok(())
        })
        .await
}

/// Ends when all requests that are left are overdue. Takes the crowd out of the way of new requests
/// when one is, when it has been empty for long, and when it is superseded.
async fn keep_time(
    handler: &HttpHandler,
    present: &Present,
    (seats, seats_max): (&Semaphore, usize),
    id: u64,
    superseded: impl Future<Output = ()>,
) {
    let mut superseded = pin!(superseded);
    let mut closed = false;
    let idle = handler.profile.settings.idle();
    let mut empty_since = Instant::now();
    loop {
        let now = Instant::now();
        let look_again = match present.deadlines() {
            Some((_, last)) if last <= now => return,
            Some((first, last)) => {
                empty_since = now;
                if first <= now {
                    closed = true;
                    last
                } else {
                    first
                }
            }
            None if empty_since + idle <= now && seats.available_permits() == seats_max => {
                closed = true;
                now + idle
            }
            None => empty_since + idle,
        };
        if closed {
            handler.crowds.close(id);
        }
        tokio::select! {
            () = &mut superseded, if !closed => closed = true,
            () = present.entered.notified() => {}
            () = sleep_until(look_again.min(now + idle)) => {}
        }
    }
}
