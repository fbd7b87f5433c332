//! What all requests of a version have in common, made once when it is deployed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grant::HttpGrant;
use super::outbound::OnDenied;
use super::settings::Http;
use crate::grants::StorageGrant;
use crate::limits::Limits;
use crate::log_rate::LogRate;
use crate::manifest::Manifest;

/// A version, as its HTTP guests know it.
pub(crate) struct Profile {
    pub(crate) function: Arc<str>,
    /// The version's id.
    pub(crate) version: String,
    pub(crate) settings: Http,
    pub(crate) limits: Limits,
    pub(crate) log_rate: Arc<LogRate>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) storage: Arc<[StorageGrant]>,
    pub(crate) hosts: Arc<[HttpGrant]>,
    pub(crate) publish: bool,
    pub(crate) encoding: bool,
    pub(crate) antivirus: bool,
    pub(crate) backup: Arc<[String]>,
    pub(crate) on_denied: OnDenied,
}

impl Profile {
    pub(crate) fn new(manifest: &Manifest, version: &str, log_rate: Arc<LogRate>) -> Self {
        Self {
            function: manifest.name.as_str().into(),
            version: version.to_owned(),
            settings: manifest.http,
            limits: manifest.limits,
            log_rate,
            env: manifest.env.clone(),
            storage: manifest.grants.storage.clone().into(),
            hosts: manifest.grants.http.clone().into(),
            publish: manifest.grants.publish,
            encoding: manifest.grants.encoding,
            antivirus: manifest.grants.antivirus,
            backup: manifest.grants.backup.clone().into(),
            on_denied: audit(manifest.name.clone()),
        }
    }
}

/// Denials of HTTP guests go to the audit log alone: there is no attempt whose log they would be in.
fn audit(function: String) -> OnDenied {
    Arc::new(move |text| tracing::warn!(target: "audit", function, "denied: {text}"))
}
