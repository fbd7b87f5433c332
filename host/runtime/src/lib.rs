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
mod catalogue;
mod compile;
mod compiler;
mod components;
mod context;
mod cycles;
mod deploy;
mod dispatch;
mod engine;
mod executor;
mod exports;
mod filter;
mod functions;
mod grants;
mod growth;
mod http;
mod interrupt;
mod limiter;
mod limits;
mod linker;
mod load;
mod log_rate;
mod logs;
mod manifest;
mod meter;
mod probe;
mod progress;
mod runtime;
mod schedule;
mod state;
mod trap;
mod trial;
mod triggers;
mod trust;
mod watchdog;

pub use catalogue::{ChangeError, FunctionView};
pub use compile::{COMPONENT_MAX_BYTES, CompileError, ComponentDigest};
pub use compiler::{CompileLimits, Compiler, compiler_process};
pub use components::{ComponentError, UNUSED_KEPT, Upload};
pub use deploy::{DeployError, Deployed, Deployment, Share};
pub use engine::EngineKind;
pub use filter::Filter;
pub use functions::{Version, version_id};
pub use grants::{Access, Grants, StorageGrant};
pub use http::{
    AnswerBody, AnswerFault, ClientAddress, Http, HttpCounts, HttpFunctions, HttpGrant,
    LATENCY_BUCKETS, NoHost, RequestFault, RouteConflict,
};
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError, Retry};
pub use probe::{Probe, ProbeEvent};
pub use runtime::{Runtime, RuntimeConfig, RuntimeError};
pub use schedule::{Missed, Schedule};
pub use tokio_util::sync::CancellationToken;
pub use trial::{BASELINE_CALLS_MIN, CallEnd, CanaryRule, Figures, TrialFigures};
pub use triggers::{
    ConcurrencyRule, EventTrigger, FunctionEnd, FunctionTrigger, HttpTrigger, ObjectChange,
    ObjectTrigger, Trigger,
};
pub use trust::{SIGNATURE_MAX_BYTES, TrustError, TrustRule, signed_text};
