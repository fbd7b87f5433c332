//! `backlot publish`: gives an event to all functions with a trigger for it.

use http::Method;
use serde_json::{Value, json};

use crate::answers::text;
use crate::cli::PublishArgs;
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::{Done, events, out};

pub(crate) fn run(args: PublishArgs) -> Result<Done, Fault> {
    let event = event(&args)?;
    let client = Client::of(&args.server, None)?;
    let answer = client::block_on(client.change(Method::POST, "/api/v1/events", Some(&event)))?;
    if args.server.json {
        return out(&format!("{answer}\n"));
    }
    let known = answer.get("duplicate") == Some(&Value::Bool(true));
    let known = if known { " (known already)" } else { "" };
    out(&format!("{}{known}\n", text(&answer, "/id")))
}

fn event(args: &PublishArgs) -> Result<Value, Fault> {
    let mut event = json!({ "specversion": "1.0", "type": args.kind });
    if let Some(event) = event.as_object_mut() {
        for (name, value) in
            [("subject", &args.subject), ("source", &args.source), ("id", &args.id)]
        {
            if let Some(value) = value {
                event.insert(name.to_owned(), value.as_str().into());
            }
        }
        if let Some(data) = &args.data {
            event.insert("data".to_owned(), events::data(data)?);
        }
    }
    Ok(event)
}
