//! How far a request is, as the parts that run on their own tell one another.

use std::any::Any;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::counters::End;
use super::incoming::RequestFault;

/// Shared by the guest's run, the request's body and the answer's body.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Set before anything of the guest is torn down, so that whoever sees the answer's body end
    /// knows whether that was its end.
    failure: OnceLock<End>,
    request: OnceLock<RequestFault>,
    held: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl Progress {
    /// The guest did not get to its end. The first reason counts.
    pub(crate) fn fail(&self, end: End) {
        self.failure.get_or_init(|| end);
    }

    /// Why the guest did not get to its end, if it did not.
    pub(crate) fn failure(&self) -> Option<End> {
        self.failure.get().copied()
    }

    /// Keep something until the last part of the request is over.
    pub(crate) fn hold(&self, what: impl Any + Send) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(Box::new(what));
    }

    /// The client's body ended early. The first reason counts.
    pub(crate) fn request_failed(&self, fault: RequestFault) {
        self.request.get_or_init(|| fault);
    }

    /// Why the client's body ended early, if it did.
    pub(crate) fn request_fault(&self) -> Option<RequestFault> {
        self.request.get().copied()
    }
}
