//! The encoder: an upload becomes a film that plays.
//!
//! One function, three kinds of invocation. The event of an upload runs [`job`], which reads top to
//! bottom as the whole story; it starts children of the same function, each of which runs
//! [`part`] (one part of the video) or [`sound`] (one audio track), and puts together what they
//! stored. Whatever decides something is a pure function in a module of its own, tested natively.

pub mod announce;
pub mod decode;
pub mod fault;
pub mod job;
pub mod messages;
pub mod names;
pub mod opus;
pub mod packets;
pub mod part;
pub mod plan;
pub mod probe;
pub mod publish;
pub mod rung;
pub mod settings;
pub mod sound;
pub mod store;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod threads;
pub mod thumbnails;
pub mod timeline;
pub mod validate;

use backlot_sdk::{Event, Failure, Handler, RetryRequest};

use crate::fault::Fault;

/// Keys under which the parent starts its children: the number follows.
const PART_KEY: &str = "part-";

/// The component's handler.
#[derive(Debug)]
pub struct Encoder;

impl Handler for Encoder {
    fn handle(event: Event) -> Result<Option<Vec<u8>>, Failure> {
        let answer = match event.kind.as_str() {
            "backlot.object.created" => job::created(&event),
            "backlot.object.removed" => job::removed(&event).map(|()| None),
            "backlot.function.failed" => job::gave_up(&event).map(|()| None),
            "backlot.child" => child(&event).map(Some),
            kind => {
                Err(Fault::Passing(format!("no one sends this function events of kind {kind}")))
            }
        };
        answer.map_err(|fault| match fault {
            Fault::Passing(reason) => Failure::Retry(RetryRequest { reason, after_ms: None }),
            Fault::Publisher(reason) => Failure::Reject(reason),
            Fault::Gone => Failure::Reject(fault.to_string()),
        })
    }
}

/// The answer is the key of what the child has to say: it names every fragment, and those of a long
/// film are more than an answer holds.
fn child(event: &Event) -> Result<Vec<u8>, Fault> {
    let key = if event.subject.as_deref().is_some_and(|key| key.starts_with(PART_KEY)) {
        part::handle(&serde_json::from_slice(&event.data)?)?
    } else {
        sound::handle(&serde_json::from_slice(&event.data)?)?
    };
    Ok(key.into_bytes())
}

#[cfg(target_family = "wasm")]
backlot_sdk::export!(Encoder);
