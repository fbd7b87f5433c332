//! Tokens: made, listed, revoked.

use std::sync::Arc;

use backlot_ledger::{NewToken, Scope};
use http::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::web::Shared;
use crate::web::access::{Caller, FIRST};
use crate::web::reply::{self, Body, Fault};

/// How every token begins, so that one that was leaked is recognised as ours.
const PREFIX: &str = "backlot_";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 20;
/// Most `days`: ten years.
const DAYS_MAX: u32 = 3_650;

/// Body of POST `tokens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    scope: Scope,
    /// How long it opens anything; for ever where it is missing.
    days: Option<u32>,
}

/// GET `tokens`.
pub(super) async fn list(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    reply::json(&json!({ "tokens": shared.ledger.tokens().await? }))
}

/// POST `tokens`. The token is in the answer, and nowhere else, ever.
pub(super) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let Wanted { name, scope, days } = serde_json::from_slice(body).map_err(|err| {
        let shape = r#"{"name": string, "scope": "read"|"deploy"|"admin", "days": number}"#;
        Fault::bad(format!("the body is not {shape}: {err}"))
    })?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if name == FIRST || !name.bytes().all(plain) {
        return Err(Fault::bad(format!(
            "{name:?} is no name for a token: letters, digits and -_.@, and not {FIRST}"
        )));
    }
    if days.is_some_and(|days| days == 0 || DAYS_MAX < days) {
        return Err(Fault::bad(format!("days must be 1 to {DAYS_MAX}")));
    }
    let lives = days.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|err| {
        tracing::error!(%err, "the system has no randomness");
        Fault::internal("the system has no randomness")
    })?;
    let token = format!("{PREFIX}{}", hex::encode(random));
    let expires_at = lives.and_then(|lives| Timestamp::now().checked_add(lives).ok());
    let new = NewToken {
        name: name.clone(),
        digest: Sha256::digest(&token).into(),
        scope,
        created_by: caller.name.clone(),
        expires_at,
    };
    shared.ledger.create_token(new).await?;
    let answer = json!({ "name": name, "scope": scope, "expires_at": expires_at, "token": token });
    reply::json(&answer)
}

/// DELETE `tokens/NAME`.
pub(super) async fn revoke(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    if shared.ledger.revoke_token(name).await? {
        return reply::json(&json!({ "name": name }));
    }
    Err(Fault::not_found(format!("there is no token {name:?}")))
}
