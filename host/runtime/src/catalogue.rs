//! What runs, changed: canaries promoted and withdrawn, older versions live again, functions turned
//! off and removed. Each change is written down first and then made so; a start reads it back.

use std::sync::Arc;

use backlot_ledger::{
    BUILTIN, Decision, Event, FUNCTION_PROMOTED, FUNCTION_ROLLED_BACK, FunctionChange,
    FunctionState, FunctionVersion, LedgerError, crash,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

use crate::deploy::DeployError;
use crate::functions::{Live, Slot, Version};
use crate::manifest::Manifest;
use crate::runtime::{Runtime, Shared};
use crate::trial::{Trial, TrialFigures};

/// Why a change of what runs was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such function.
    #[error("no function {0:?} is deployed")]
    Unknown(String),
    /// There is nothing to promote.
    #[error("function {0:?} has no canary")]
    NoCanary(String),
    /// There is nothing to go back to.
    #[error("function {0:?} has no version before the live one")]
    NoPrevious(String),
    /// No version that is kept has an id that begins so, or several have.
    #[error("function {function:?} has {} that begins with {id}", if *.several { "more than one version" } else { "no version" })]
    Version {
        /// The function's name.
        function: String,
        /// What was asked for.
        id: String,
        /// Whether there are several.
        several: bool,
    },
    /// It was part of the program all along.
    #[error("function {0:?} is part of the program: there is nothing to remove")]
    Builtin(String),
    /// The version cannot run, or must not.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// It could not be written down.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A function as it is now.
#[derive(Clone, Debug)]
pub struct FunctionView {
    /// Its name.
    pub name: String,
    /// The manifest of what is live.
    pub manifest: Manifest,
    /// What is live; None when it cannot run.
    pub live: Option<Arc<Version>>,
    /// Why it cannot.
    pub broken: Option<String>,
    /// Whether what is live is part of the program.
    pub builtin: bool,
    /// The canary with its share, of [`backlot_ledger::WEIGHT_MAX`].
    pub canary: Option<(Arc<Version>, u32)>,
    /// How they compare, since the canary began or the host started.
    pub trial: Option<TrialFigures>,
    /// Id of what was live before.
    pub previous: Option<String>,
    /// Whether events and schedules start it.
    pub enabled: bool,
    /// The version that was last deployed from the folder of functions.
    pub folder: Option<String>,
    /// The version that is part of the program.
    pub program: Option<Arc<Version>>,
    /// Each version that is loaded, what runs first.
    pub loaded: Vec<Arc<Version>>,
}

impl FunctionView {
    fn of(slot: &Slot) -> Self {
        let weight = slot.state.canary.as_ref().map(|canary| canary.weight);
        Self {
            name: slot.state.name.clone(),
            manifest: slot.manifest().clone(),
            live: slot.live().cloned(),
            broken: match &slot.live {
                Live::Broken { reason, .. } => Some(reason.clone()),
                Live::Ready(_) => None,
            },
            builtin: slot.state.live == BUILTIN,
            canary: slot.canary.clone().zip(weight),
            trial: slot.trial.as_ref().map(|trial| trial.figures()),
            previous: slot.state.previous.clone().map(|previous| match &slot.builtin {
                Some(builtin) if previous == BUILTIN => builtin.id().to_owned(),
                _ => previous,
            }),
            enabled: slot.state.enabled,
            folder: slot.state.folder.clone(),
            program: slot.builtin.clone(),
            loaded: slot.loaded(),
        }
    }
}

/// A change that is to be written down and made so.
pub(crate) struct Change {
    pub(crate) slot: Slot,
    pub(crate) version: Option<FunctionVersion>,
    pub(crate) serial: Option<u64>,
    pub(crate) decision: Decision,
    pub(crate) event: Option<Event>,
}

impl Runtime {
    /// Every function, by name.
    pub fn overview(&self) -> Vec<FunctionView> {
        self.shared.functions.slots().values().map(FunctionView::of).collect()
    }

    /// One of them.
    pub fn view(&self, function: &str) -> Option<FunctionView> {
        self.shared.functions.slot(function).map(|slot| FunctionView::of(&slot))
    }

    /// Run again what was deployed before the last stop. What cannot run any more is told in the
    /// log and in its [`FunctionView`]; events for it wait.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub async fn restore(&self) -> Result<(), LedgerError> {
        let mut restored = JoinSet::new();
        for state in self.shared.ledger.functions().await? {
            let shared = self.shared.clone();
            restored.spawn(async move {
                let slot = shared.restored(state).await?;
                shared.functions.set(slot);
                Ok::<_, LedgerError>(())
            });
        }
        while let Some(done) = restored.join_next().await {
            done.unwrap_or(Err(LedgerError::Abandoned))?;
        }
        Ok(())
    }

    /// Make a function's canary what is live.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn promote(&self, function: &str, by: &str) -> Result<(), ChangeError> {
        self.shared.promote(function, None, by, json!({})).await
    }

    /// Withdraw a function's canary; without one, make live again what was before; with a version,
    /// that one.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn roll_back(
        &self,
        function: &str,
        version: Option<&str>,
        by: &str,
    ) -> Result<(), ChangeError> {
        let slot = self.shared.known(function)?;
        if version.is_none() && slot.state.canary.is_some() {
            return self.shared.withdraw(function, None, by, json!({})).await;
        }
        self.shared.go_back(function, version, by).await
    }

    /// Say whether events and schedules start a function. What waits already is done all the same.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_enabled(
        &self,
        function: &str,
        enabled: bool,
        by: &str,
    ) -> Result<(), ChangeError> {
        let turn = self.shared.turn().await;
        let mut slot = self.shared.known(function)?;
        slot.state.enabled = enabled;
        let version = slot.live().map(|live| live.id().to_owned()).unwrap_or_default();
        let what = if enabled { "enabled" } else { "disabled" };
        let decision = decision(what, version, by, &json!({}));
        let change = Change { slot, version: None, serial: None, decision, event: None };
        Ok(self.shared.put(turn, change).await?)
    }

    /// Forget a function with its versions. What is part of the program runs again then.
    ///
    /// # Errors
    /// [`ChangeError::Ledger`] while invocations of it have not ended.
    pub async fn remove(&self, function: &str) -> Result<(), ChangeError> {
        let turn = self.shared.turn().await;
        let slot = self.shared.known(function)?;
        let states = self.shared.ledger.functions().await?;
        if !states.iter().any(|state| state.name == function) {
            return Err(ChangeError::Builtin(function.to_owned()));
        }
        let (shared, function) = (self.shared.clone(), function.to_owned());
        let removed = self.shared.guests.spawn(async move {
            let _turn = turn;
            let nobodys = shared.ledger.remove_function(&function).await?;
            match slot.builtin {
                Some(builtin) => shared.functions.set(Slot::builtin(builtin)),
                None => shared.functions.remove(&function),
            }
            shared.tidy(nobodys).await;
            Ok::<_, LedgerError>(())
        });
        Ok(removed.await.unwrap_or(Err(LedgerError::Abandoned))?)
    }
}

impl Shared {
    /// One change at a time.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.changes.clone().lock_owned().await
    }

    fn known(&self, function: &str) -> Result<Slot, ChangeError> {
        self.functions.slot(function).ok_or_else(|| ChangeError::Unknown(function.to_owned()))
    }

    /// As [`Runtime::promote`]; with a version, only while that is the canary.
    pub(crate) async fn promote(
        self: &Arc<Self>,
        function: &str,
        only: Option<&str>,
        by: &str,
        details: Value,
    ) -> Result<(), ChangeError> {
        let turn = self.turn().await;
        let slot = self.known(function)?;
        let (Some(canary), Some(version)) = (&slot.state.canary, &slot.canary) else {
            return Err(ChangeError::NoCanary(function.to_owned()));
        };
        if only.is_some_and(|only| only != canary.version) {
            return Err(ChangeError::NoCanary(function.to_owned()));
        }
        let (id, version) = (canary.version.clone(), version.clone());
        let change = self.live_again(slot, id, version, "promoted", by, details);
        Ok(self.put(turn, change).await?)
    }

    /// Ends a canary; with a version, only while that is the canary.
    pub(crate) async fn withdraw(
        self: &Arc<Self>,
        function: &str,
        only: Option<&str>,
        by: &str,
        details: Value,
    ) -> Result<(), ChangeError> {
        let turn = self.turn().await;
        let slot = self.known(function)?;
        let canary = slot.state.canary.clone();
        let Some(canary) = canary.filter(|canary| only.is_none_or(|only| only == canary.version))
        else {
            return Err(ChangeError::NoCanary(function.to_owned()));
        };
        let state = FunctionState { canary: None, ..slot.state.clone() };
        let live = slot.live().map(|live| live.id().to_owned());
        let event =
            event(FUNCTION_ROLLED_BACK, function, live.as_deref(), &canary.version, by, &details);
        let change = Change {
            slot: Slot { state, canary: None, trial: None, ..slot },
            version: None,
            serial: None,
            decision: decision("rolled-back", canary.version, by, &details),
            event: Some(event),
        };
        Ok(self.put(turn, change).await?)
    }

    /// Makes an older version live.
    async fn go_back(
        self: &Arc<Self>,
        function: &str,
        version: Option<&str>,
        by: &str,
    ) -> Result<(), ChangeError> {
        let turn = self.turn().await;
        let slot = self.known(function)?;
        let kept = self.ledger.function_versions(function).await?;
        let alias = match (version, &slot.state.previous) {
            (Some(id), _) => named(&slot, &kept, id)?,
            (None, Some(previous)) => previous.clone(),
            (None, None) => return Err(ChangeError::NoPrevious(function.to_owned())),
        };
        let version = match &slot.builtin {
            Some(builtin) if alias == BUILTIN => builtin.clone(),
            _ => match kept.iter().find(|version| version.id == alias) {
                Some(kept) => self.stored(kept).await?,
                None => {
                    let (function, several) = (function.to_owned(), false);
                    return Err(ChangeError::Version { function, id: alias, several });
                }
            },
        };
        let highest = self.ledger.function_serial(function).await?;
        let checked = self.trust.check_serial(function, version.manifest.serial, highest);
        checked.map_err(DeployError::from)?;
        let change = self.live_again(slot, alias, version, "rolled-back", by, json!({}));
        Ok(self.put(turn, change).await?)
    }

    /// The change that makes a version live that was deployed before.
    fn live_again(
        &self,
        slot: Slot,
        alias: String,
        version: Arc<Version>,
        what: &str,
        by: &str,
        details: Value,
    ) -> Change {
        let kind = if what == "promoted" { FUNCTION_PROMOTED } else { FUNCTION_ROLLED_BACK };
        let name = &slot.state.name;
        let before = slot.live().map(|live| live.id().to_owned()).unwrap_or_default();
        let event = event(kind, name, Some(version.id()), &before, by, &details);
        let decision = decision(what, version.id().to_owned(), by, &details);
        let previous = Some(slot.state.live.clone()).filter(|live| *live != alias);
        let state = FunctionState {
            live: alias,
            canary: None,
            previous: previous.or_else(|| slot.state.previous.clone()),
            ..slot.state.clone()
        };
        let serial = version.manifest.serial;
        let slot = Slot::new(state, Live::Ready(version), slot.builtin);
        Change { slot, version: None, serial, decision, event: Some(event) }
    }

    /// Writes a change down, and makes it so, even when whoever asked has gone meanwhile: else what
    /// runs and what is written would differ.
    pub(crate) async fn put(
        self: &Arc<Self>,
        turn: OwnedMutexGuard<()>,
        change: Change,
    ) -> Result<(), LedgerError> {
        let shared = self.clone();
        let put = self.guests.spawn(async move {
            let _turn = turn;
            let Change { slot, version, serial, decision, event } = change;
            let state = slot.state.clone();
            let change = FunctionChange { state, version, serial, decision, event };
            crash::point("deploy.before-publish");
            let nobodys = shared.ledger.change_function(change).await?;
            crash::point("deploy.after-publish");
            shared.functions.set(slot);
            shared.tidy(nobodys).await;
            Ok(())
        });
        put.await.unwrap_or(Err(LedgerError::Abandoned))
    }

    /// Removes components that are nobody's, and machine code that was not used for long.
    async fn tidy(self: &Arc<Self>, nobodys: Vec<String>) {
        let slots = self.functions.slots();
        let live = slots.values().filter_map(|slot| slot.live().map(|live| live.digest));
        let used = live.map(|digest| digest.to_string()).collect();
        let tidied = self.blocking(move |shared| {
            shared.components.remove(&nobodys)?;
            shared.cache.sweep(&used)
        });
        match tidied.await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::warn!(%err, "superfluous components are left"),
            Err(err) => tracing::warn!(%err, "superfluous components are left"),
        }
    }

    /// A function as it was.
    async fn restored(self: &Arc<Self>, state: FunctionState) -> Result<Slot, LedgerError> {
        let function = state.name.clone();
        let builtin = self.functions.slot(&function).and_then(|slot| slot.builtin);
        let kept = self.ledger.function_versions(&function).await?;
        let stored = |id: &str| kept.iter().find(|version| version.id == id);
        let live = match (&builtin, stored(&state.live)) {
            (Some(builtin), _) if state.live == BUILTIN => Live::Ready(builtin.clone()),
            (_, Some(stored)) => match self.stored(stored).await {
                Ok(version) => Live::Ready(version),
                Err(err) => broken(&function, Some(stored), err.to_string()),
            },
            (_, None) => broken(&function, None, format!("its version {} is gone", state.live)),
        };
        let mut slot = Slot::new(state, live, builtin);
        if let Some(canary) = &slot.state.canary {
            let loaded = match stored(&canary.version) {
                Some(stored) => self.stored(stored).await.map_err(|err| err.to_string()),
                None => Err("it is gone".to_owned()),
            };
            match loaded {
                Ok(version) => {
                    slot.trial = Some(Arc::new(Trial::new(version.manifest.canary)));
                    slot.canary = Some(version);
                }
                Err(reason) => {
                    tracing::error!(function, canary = canary.version, reason, "no canary runs");
                }
            }
        }
        Ok(slot)
    }
}

/// A function that cannot run. Its triggers still hold, so that nothing is lost meanwhile.
fn broken(function: &str, stored: Option<&FunctionVersion>, reason: String) -> Live {
    tracing::error!(function, reason, "a function cannot run; deploy another version of it");
    let manifest = stored.and_then(|stored| serde_json::from_str(&stored.manifest).ok());
    let manifest = manifest.unwrap_or_else(|| Manifest::bare(function));
    Live::Broken { manifest: Arc::new(manifest), reason }
}

/// The alias for a version that somebody named by its first digits.
fn named(slot: &Slot, kept: &[FunctionVersion], id: &str) -> Result<String, ChangeError> {
    let is_builtin = slot.builtin.as_ref().is_some_and(|builtin| builtin.id().starts_with(id));
    let mut all = kept.iter().filter(|version| version.id.starts_with(id));
    let found = match (is_builtin, all.next(), all.next()) {
        (true, None, None) => Ok(BUILTIN.to_owned()),
        (false, Some(only), None) => Ok(only.id.clone()),
        (false, None, None) => Err(false),
        _ => Err(true),
    };
    let function = slot.state.name.clone();
    found.map_err(|several| ChangeError::Version { function, id: id.to_owned(), several })
}

fn decision(what: &str, version: String, by: &str, details: &Value) -> Decision {
    Decision {
        time: Timestamp::now(),
        what: what.to_owned(),
        version,
        by: by.to_owned(),
        details: details.to_string(),
    }
}

/// Tells who cares which version is live now, and which one is not any more.
fn event(
    kind: &str,
    function: &str,
    live: Option<&str>,
    before: &str,
    by: &str,
    details: &Value,
) -> Event {
    let data = json!({
        "function": function, "live": live, "withdrawn": before, "by": by, "details": details,
    });
    let source = format!("/functions/{function}");
    Event::json(source, kind, Some(function.to_owned()), data.to_string().into_bytes())
}
