//! What a function may touch: the `[grants]` of its manifest. Nothing that is not named here.

use serde::{Deserialize, Serialize};

use crate::http::HttpGrant;

pub use backlot_storage::guest::{Access, Grant as StorageGrant};

/// A function's grants. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Objects, by bucket, key prefix and access.
    pub storage: Vec<StorageGrant>,
    /// The encoder.
    pub encoding: bool,
    /// The virus scanner.
    #[serde(skip_serializing_if = "is_false")]
    pub antivirus: bool,
    /// Buckets whose objects may be handed over to the backups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backup: Vec<String>,
    /// Functions that may be started as children.
    pub children: Vec<String>,
    /// Publishing events of its own.
    pub publish: bool,
    /// HTTP requests to these hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
}

/// What is as it was before there was such a grant is left out, so that versions keep their ids.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
