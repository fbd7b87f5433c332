//! `/api/v1/functions`: what is deployed.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use crate::web::reply::{self, Body, Fault};
use crate::web::{Deployed, Shared};

/// Of the manifest all but the environment: what is in there may be a secret.
const SHOWN: [&str; 4] = ["triggers", "grants", "limits", "retry"];

pub(super) fn list(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    let list: Vec<Value> = shared.live.functions().iter().map(row).collect();
    reply::json(&json!({ "functions": list }))
}

fn row(function: &Deployed) -> Value {
    let mut row = json!({
        "name": function.name,
        "version": function.version,
        "component": function.component,
    });
    if let Some(row) = row.as_object_mut() {
        for key in SHOWN {
            row.insert(key.to_owned(), function.manifest.get(key).cloned().unwrap_or_default());
        }
    }
    row
}
