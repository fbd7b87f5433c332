//! Who asks, and what they may.
//!
//! A token is the one in the data folder, which opens everything, or one that was made over the API
//! and opens what its scope says.

use std::sync::Arc;

use backlot_ledger::Scope;
use http::StatusCode;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::reply::Fault;
use super::{Shared, admin};

/// Who the token in the data folder is, in the audit log.
pub(super) const FIRST: &str = "admin-token";

/// Who asks for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name of the token.
    pub(super) name: String,
}

/// Refuses what does not come with a token of this scope, or comes from a page of another site.
pub(super) async fn check(
    shared: &Arc<Shared>,
    head: &Parts,
    needed: Scope,
) -> Result<Caller, Fault> {
    admin::check_origin(head)?;
    let place = &shared.config.token.place;
    let wrong = |what: &str| {
        let hint = format!(
            "{what}; send `Authorization: Bearer TOKEN`, the first token is in {place}, and \
             `backlot tokens create` makes others"
        );
        Fault::new(StatusCode::UNAUTHORIZED, hint)
    };
    let Some(given) = admin::bearer(&head.headers) else {
        return Err(wrong(&format!("this needs a token of the scope `{}`", needed.name())));
    };
    if shared.config.token.is(given) {
        return Ok(Caller { name: FIRST.to_owned() });
    }
    // Of random tokens the digest tells nothing, so it may be looked up like any name.
    let Some(token) = shared.ledger.token(Sha256::digest(given).into()).await? else {
        return Err(wrong("that is not a token of this server"));
    };
    if token.scope < needed {
        let message = format!(
            "the token {:?} has the scope `{}`, this needs `{}`",
            token.name,
            token.scope.name(),
            needed.name()
        );
        let (method, path) = (&head.method, head.uri.path());
        // Not into the ledger: whoever has a token could fill it.
        tracing::warn!(target: "audit", who = token.name, %method, path, "denied: {message}");
        return Err(Fault::new(StatusCode::FORBIDDEN, message));
    }
    Ok(Caller { name: token.name })
}
