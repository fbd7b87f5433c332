//! Guests that compute for long leave the threads that answer.
//!
//! Most answers take well under a millisecond of computing. A guest that takes more goes on where
//! handlers of events run, on threads of lower priority, so that others are answered as fast as
//! before.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::HTTP_EPOCH_TICK;

/// A poll that takes so long was ended by the epoch, not by the guest.
const LONG_POLL: Duration = HTTP_EPOCH_TICK.checked_div(2).expect("2 is not 0");

/// Long polls in a row after which a guest moves.
const LONG_POLLS_MAX: u32 = 2;

/// A guest's future that moves to other threads when it computes for long. Dropping it ends the
/// guest, wherever it is.
pub(super) struct Movable<T> {
    place: Place<T>,
    long_polls: u32,
    elsewhere: Handle,
}

enum Place<T> {
    /// Within whoever polls it.
    Here(Pin<Box<dyn Future<Output = T> + Send>>),
    /// On other threads.
    Elsewhere(AbortOnDropHandle<T>),
    /// Between the two; it has ended.
    Gone,
}

impl<T: Send + 'static> Movable<T> {
    /// A guest that moves to `elsewhere`.
    pub(super) fn new(guest: impl Future<Output = T> + Send + 'static, elsewhere: Handle) -> Self {
        Self { place: Place::Here(Box::pin(guest)), long_polls: 0, elsewhere }
    }
}

impl<T: Send + 'static> Future for Movable<T> {
    /// None when it panicked elsewhere, which is a fault of the host's.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if let Place::Here(guest) = &mut this.place {
            let began = Instant::now();
            if let Poll::Ready(output) = guest.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            this.long_polls = if began.elapsed() < LONG_POLL { 0 } else { this.long_polls + 1 };
            if this.long_polls < LONG_POLLS_MAX {
                return Poll::Pending;
            }
        }
        let mut handle = match std::mem::replace(&mut this.place, Place::Gone) {
            Place::Here(guest) => AbortOnDropHandle::new(this.elsewhere.spawn(guest)),
            Place::Elsewhere(handle) => handle,
            Place::Gone => return Poll::Ready(None),
        };
        let polled = pin!(&mut handle).poll(cx).map(Result::ok);
        this.place = Place::Elsewhere(handle);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the thread after so many rounds of computing.
    async fn computes(rounds: u32) -> String {
        for _ in 0..rounds {
            let until = Instant::now() + HTTP_EPOCH_TICK;
            while Instant::now() < until {}
            tokio::task::yield_now().await;
        }
        std::thread::current().name().unwrap().to_owned()
    }

    #[test]
    fn what_computes_for_long_moves_and_what_is_short_stays() {
        let elsewhere = tokio::runtime::Builder::new_multi_thread()
            .thread_name("elsewhere")
            .worker_threads(1)
            .build()
            .unwrap();
        let here = tokio::runtime::Builder::new_multi_thread()
            .thread_name("here")
            .worker_threads(1)
            .build()
            .unwrap();
        for (rounds, place) in [(0, "here"), (1, "here"), (5, "elsewhere")] {
            let guest = Movable::new(computes(rounds), elsewhere.handle().clone());
            let ended = here.block_on(here.spawn(guest)).unwrap();
            assert_eq!(ended.as_deref(), Some(place), "{rounds}");
        }
    }
}
