//! The validator: what arrives is checked, what is whole is backed up, what is not is kept apart.
//!
//! One function, several kinds of invocation. The event of a new object runs [`judge`], which reads
//! top to bottom as the whole story of one object. A schedule runs [`sweep`], which goes through
//! what changed since the last time and judges what no event had judged. Somebody who asks is
//! answered by [`walk`].

pub mod fault;
pub mod judge;
pub mod record;
pub mod settings;
pub mod source;
pub mod sweep;
pub mod walk;

use backlot_sdk::objects::Pinned;
use backlot_sdk::{Event, Failure, Handler, RetryRequest};
use serde::Deserialize;

use crate::fault::Fault;

/// Kind of the event that asks about one object.
const WALK: &str = "validator.walk";
/// Kind of the event that tells of an object that an operator released from quarantine.
const RELEASED: &str = "quarantine.released";

/// The component's handler.
#[derive(Debug)]
pub struct Validator;

impl Handler for Validator {
    fn handle(event: Event) -> Result<Option<Vec<u8>>, Failure> {
        answer(&event).map_err(|fault| match fault {
            Fault::Passing(reason) => Failure::Retry(RetryRequest { reason, after_ms: None }),
            Fault::Never(reason) => Failure::Reject(reason),
            Fault::Gone => Failure::Reject(fault.to_string()),
        })
    }
}

fn answer(event: &Event) -> Result<Option<Vec<u8>>, Fault> {
    match event.kind.as_str() {
        "backlot.object.created" => judged(&created(&event.data)?),
        "backlot.object.removed" => sweep::removed(&created(&event.data)?).map(|()| None),
        RELEASED => judged(&serde_json::from_slice::<Released>(&event.data)?.pinned()),
        "backlot.schedule" => sweep::run().map(|()| None),
        "backlot.child" => {
            let done = sweep::page(&serde_json::from_slice(&event.data)?)?;
            Ok(Some(serde_json::to_vec(&done)?))
        }
        WALK => {
            let answer = walk::answer(&serde_json::from_slice(&event.data)?)?;
            Ok(Some(serde_json::to_vec(&answer)?))
        }
        kind => Err(Fault::Never(format!("no one sends this function events of kind {kind}"))),
    }
}

fn judged(object: &Pinned) -> Result<Option<Vec<u8>>, Fault> {
    let Some(policy) = settings::policy(&object.bucket)? else {
        return Err(Fault::Never(format!("bucket {:?} has no policy", object.bucket)));
    };
    match judge::object(&policy, object) {
        Ok(Some(record)) => Ok(Some(serde_json::to_vec(&record)?)),
        // It was judged before, or is not there any more: what replaced it has its own event.
        Ok(None) | Err(Fault::Gone) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The object that an event of the host is about.
fn created(data: &[u8]) -> Result<Pinned, Fault> {
    let Created { s3 } = serde_json::from_slice(data)?;
    Ok(Pinned {
        bucket: s3.bucket.name,
        key: s3.object.key,
        version: s3.object.version_id,
        content_id: s3.object.content_id,
    })
}

#[derive(Deserialize)]
struct Created {
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    version_id: String,
    content_id: String,
}

#[derive(Deserialize)]
struct Released {
    bucket: String,
    key: String,
    version: String,
    content_id: String,
}

impl Released {
    fn pinned(self) -> Pinned {
        let Self { bucket, key, version, content_id } = self;
        Pinned { bucket, key, version, content_id }
    }
}

#[cfg(target_family = "wasm")]
backlot_sdk::export!(Validator);
