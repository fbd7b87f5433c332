//! The encoder guest.

use backlot_sdk::{Event, Failure, Handler};

struct Encoder;

impl Handler for Encoder {
    fn handle(event: Event) -> Result<Option<Vec<u8>>, Failure> {
        Err(Failure::Reject(format!("{} is not an event for the encoder", event.kind)))
    }
}

backlot_sdk::export!(Encoder);
