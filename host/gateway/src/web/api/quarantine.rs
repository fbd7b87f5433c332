//! What is in quarantine: listed, shown, released, dropped.

use std::sync::Arc;

use backlot_ledger::{Event, EventId};
use backlot_storage::{LIST_MAX, Place, Quarantined, StoreError};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query;
use crate::web::Shared;
use crate::web::access::Caller;
use crate::web::reply::{self, Body, Fault};

/// Objects on a page unless the query says otherwise.
const LIMIT: u32 = 100;
/// Kind of the event that tells of a release.
const RELEASED: &str = "quarantine.released";
/// The function that judges what is released.
const VALIDATOR: &str = "validator";
/// Its source.
const SOURCE: &str = "/quarantine";

/// Body of a release; it may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReleaseBody {
    replace: bool,
}

/// GET `quarantine`. Query: `limit` (1 to 1,000), `after` (an id).
pub(super) async fn list(shared: &Arc<Shared>, query: &str) -> Result<Response<Body>, Fault> {
    let (mut limit, mut after) = (LIMIT, None);
    for (name, value) in query::pairs(query)? {
        match name.as_str() {
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit = number.ok_or_else(|| Fault::bad(format!("limit is 1 to {LIST_MAX}")))?;
            }
            "after" => after = Some(value),
            _ => return Err(query::unknown(&name, "limit, after")),
        }
    }
    let page = shared.store.quarantine(after.as_deref(), limit).await?;
    let mut objects = Vec::with_capacity(page.objects.len());
    for object in page.objects {
        objects.push(shown(shared, object).await?);
    }
    reply::json(&json!({ "quarantine": objects, "next": page.next }))
}

/// GET `quarantine/ID`.
pub(super) async fn show(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let object = shared.store.quarantined(id).await.map_err(|err| fault(id, err))?;
    reply::json(&shown(shared, object).await?)
}

/// POST `quarantine/ID/release`.
pub(super) async fn release(
    shared: &Arc<Shared>,
    caller: &Caller,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let body: ReleaseBody = if body.trim_ascii().is_empty() {
        ReleaseBody::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|err| Fault::bad(format!("the body is not {{\"replace\": bool}}: {err}")))?
    };
    let validator = shared.live.runtime().and_then(|runtime| runtime.view(VALIDATOR));
    if validator.is_none_or(|function| !function.enabled) {
        let text = "nobody would judge it anew: enable the function \"validator\" first";
        return Err(Fault::new(StatusCode::CONFLICT, text));
    }
    let released = shared.store.release(id, &caller.name, body.replace).await;
    let released = released.map_err(|err| fault(id, err))?;
    let mut data = json!(released);
    if let Some(data) = data.as_object_mut() {
        data.insert("id".to_owned(), json!(id));
        data.insert("by".to_owned(), json!(caller.name));
    }
    let event = Event::json(SOURCE, RELEASED, Some(released.key), data.to_string().into_bytes());
    // The same event if it is released again, because the entry could not be removed.
    let event = Event { id: EventId::from(format!("{RELEASED}/{id}")), ..event };
    if shared.ledger.event(&event.id).await?.is_none() {
        shared.ledger.publish(event).await?;
    }
    let forgotten = shared.store.forget_quarantined(id, &caller.name).await;
    forgotten.map_err(|err| fault(id, err))?;
    reply::json(&data)
}

/// DELETE `quarantine/ID`.
pub(super) async fn drop(
    shared: &Arc<Shared>,
    caller: &Caller,
    id: &str,
) -> Result<Response<Body>, Fault> {
    let dropped = shared.store.drop_quarantined(id, &caller.name).await;
    dropped.map_err(|err| fault(id, err))?;
    reply::json(&json!({ "id": id }))
}

/// An entry, with whether its object still is what it was.
async fn shown(shared: &Arc<Shared>, object: Quarantined) -> Result<Value, Fault> {
    let is_there = match object.became {
        Place::Moved => true,
        Place::Denied => {
            let Quarantined { bucket, key, version, content_id, .. } = &object;
            match shared.store.head(bucket, key, Some(version)).await {
                Ok(info) => info.content_id == *content_id,
                Err(
                    StoreError::NotFound(_)
                    | StoreError::NoSuchVersion(_)
                    | StoreError::NoSuchBucket(_)
                    | StoreError::DeleteMarker { .. },
                ) => false,
                Err(err) => return Err(err.into()),
            }
        }
    };
    let mut value = json!(object);
    if let Some(value) = value.as_object_mut() {
        value.insert("id".to_owned(), json!(object.content_id));
        value.insert("there".to_owned(), json!(is_there));
    }
    Ok(value)
}

fn fault(id: &str, err: StoreError) -> Fault {
    match err {
        StoreError::NotFound(found) if found == id => {
            Fault::not_found(format!("there is nothing in quarantine under {id:?}"))
        }
        StoreError::NotFound(_)
        | StoreError::NoSuchVersion(_)
        | StoreError::DeleteMarker { .. } => {
            let text = format!(
                "the object was deleted or replaced meanwhile: \
                 `backlot quarantine drop {id}` forgets it"
            );
            Fault::new(StatusCode::CONFLICT, text)
        }
        StoreError::PreconditionFailed { .. } => {
            let text = "there is another object under its key now: release it with --replace";
            Fault::new(StatusCode::CONFLICT, text)
        }
        StoreError::NoSuchBucket(bucket) => {
            let text = format!("its bucket {bucket:?} is gone: make it again first");
            Fault::new(StatusCode::CONFLICT, text)
        }
        err => err.into(),
    }
}
