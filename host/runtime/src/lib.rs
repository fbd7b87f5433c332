//! Runs functions: a component and an event go in, an outcome goes to the ledger.
//!
//! [`Runtime`] leases invocations from the ledger, gives each a fresh guest instance of the version
//! that its function runs now, and finishes it under its fence. A guest sees nothing that its
//! manifest does not grant, uses nothing past its limits, and can be ended at any moment.
//!
//! - The dispatcher never polls: it waits for the ledger's news or for what is due.
//! - Guests run on threads of their own, at a lower priority than whoever answers clients.
//! - A guest that waits for its children does not exist meanwhile: it is dropped, and run again.

mod attempt;
mod compile;
mod context;
mod dispatch;
mod engine;
mod executor;
mod exports;
mod filter;
mod functions;
mod grants;
mod http;
mod interrupt;
mod limiter;
mod linker;
mod logs;
mod manifest;
mod meter;
mod progress;
mod runtime;
mod schedule;
mod state;
mod trap;
mod triggers;

pub use compile::{COMPONENT_MAX_BYTES, CompileError, ComponentDigest};
pub use filter::Filter;
pub use functions::Version;
pub use grants::{Access, Grants, StorageGrant};
pub use http::{
    AnswerBody, AnswerFault, Http, HttpCounts, HttpFunctions, HttpGrant, LATENCY_BUCKETS, NoHost,
    RequestFault, RouteConflict,
};
pub use manifest::{Limits, Manifest, ManifestError, Retry};
pub use runtime::{DeployError, Runtime, RuntimeConfig, RuntimeError};
pub use schedule::{Missed, Schedule};
pub use tokio_util::sync::CancellationToken;
pub use triggers::{
    ConcurrencyRule, EventTrigger, FunctionEnd, FunctionTrigger, HttpTrigger, ObjectChange,
    ObjectTrigger, Trigger,
};
