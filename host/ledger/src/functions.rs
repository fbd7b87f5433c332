//! Deployed functions: their versions, which of them run, and what was decided about that.
//!
//! Each change is one operation: the versions, the aliases, the decision with its reasons and the
//! event that tells of it are on disk together or not at all.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{Event, Ledger, LedgerError};

mod change;
mod read;

/// Stands in an alias for the version that is in the program itself.
pub const BUILTIN: &str = "builtin";
/// Functions that may be deployed at once.
pub const FUNCTIONS_MAX: usize = 1_000;
/// Versions of a function that are kept, the newest, beside those that an alias or an invocation
/// names.
pub const VERSIONS_KEPT: usize = 8;
/// Decisions of a function that are kept, the newest.
pub const DECISIONS_KEPT: usize = 100;
/// Shares of a canary are of so many.
pub const WEIGHT_MAX: u32 = 10_000;
/// Kind of the event that a canary became live.
pub const FUNCTION_PROMOTED: &str = "backlot.function.promoted";
/// Kind of the event that a canary was withdrawn, or an older version became live again.
pub const FUNCTION_ROLLED_BACK: &str = "backlot.function.rolled-back";

/// One component with one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionVersion {
    /// The function's name.
    pub function: String,
    /// SHA-256 over component and manifest, in hexadecimal.
    pub id: String,
    /// SHA-256 of the component, in hexadecimal.
    pub component: String,
    /// Its size.
    pub bytes: u64,
    /// As JSON.
    pub manifest: String,
    /// Interfaces and items that the component imports.
    pub imports: Vec<String>,
    /// Id of the key that signed it.
    pub signer: Option<String>,
    /// Who deployed it.
    pub deployed_by: String,
    /// When; set by the ledger.
    pub deployed_at: Timestamp,
}

/// Which versions of a function run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionState {
    /// Its name.
    pub name: String,
    /// Id of the version that runs, or [`BUILTIN`].
    pub live: String,
    /// The version that runs for a share of what comes.
    pub canary: Option<Canary>,
    /// What was live before.
    pub previous: Option<String>,
    /// Whether events and schedules start it.
    pub enabled: bool,
    /// The version that was last deployed from the folder of functions.
    pub folder: Option<String>,
}

/// A version that runs for a share of what comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its id.
    pub version: String,
    /// Its share, of [`WEIGHT_MAX`].
    pub weight: u32,
}

/// What was decided about a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When; set by the ledger.
    pub time: Timestamp,
    /// Such as `deployed`, `promoted`.
    pub what: String,
    /// Id of the version that it is about.
    pub version: String,
    /// Who decided: a token's name, or a part of the host.
    pub by: String,
    /// Reasons and figures, as JSON.
    pub details: String,
}

/// A change of what runs.
#[derive(Clone, Debug)]
pub struct FunctionChange {
    /// As it is from now on.
    pub state: FunctionState,
    /// A version that is new, or deployed again.
    pub version: Option<FunctionVersion>,
    /// The serial of what is live from now on.
    pub serial: Option<u64>,
    /// Why.
    pub decision: Decision,
    /// What tells of it.
    pub event: Option<Event>,
}

impl Ledger {
    /// Makes a change of what runs, and forgets versions that are not kept ([`VERSIONS_KEPT`]):
    /// none that an alias names, or that an invocation which has not ended was pinned to. Answers
    /// the components that no version has any more.
    ///
    /// # Errors
    /// [`LedgerError::OverLimit`] for more than [`FUNCTIONS_MAX`] functions.
    pub async fn change_function(
        &self,
        change: FunctionChange,
    ) -> Result<Vec<String>, LedgerError> {
        self.write(move |tx| tx.change_function(&change)).await
    }

    /// Forgets a function with its versions and decisions; the components that no version has any
    /// more.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] while invocations of it have not ended.
    pub async fn remove_function(&self, name: &str) -> Result<Vec<String>, LedgerError> {
        let name = name.to_owned();
        self.write(move |tx| tx.remove_function(&name)).await
    }

    /// All functions, by name.
    pub async fn functions(&self) -> Result<Vec<FunctionState>, LedgerError> {
        self.read(read::states).await
    }

    /// The versions of a function that are kept, the newest first.
    pub async fn function_versions(
        &self,
        function: &str,
    ) -> Result<Vec<FunctionVersion>, LedgerError> {
        let function = function.to_owned();
        self.read(move |conn| read::versions(conn, &function)).await
    }

    /// What was decided about a function, the newest first; at most [`DECISIONS_KEPT`].
    pub async fn function_decisions(&self, function: &str) -> Result<Vec<Decision>, LedgerError> {
        let function = function.to_owned();
        self.read(move |conn| read::decisions(conn, &function)).await
    }

    /// The highest serial of the function that was ever live.
    pub async fn function_serial(&self, function: &str) -> Result<Option<u64>, LedgerError> {
        let function = function.to_owned();
        self.read(move |conn| read::serial(conn, &function)).await
    }

    /// The components that versions have.
    pub async fn components(&self) -> Result<BTreeSet<String>, LedgerError> {
        self.read(read::components).await
    }
}
