//! `backlot invoke`: gives an event to one function, whatever its triggers say.

use http::Method;
use serde_json::{Value, json};

use crate::answers::{printable, text};
use crate::cli::InvokeArgs;
use crate::client::{self, Client, encoded};
use crate::fault::Fault;
use crate::{Done, events, out};

pub(crate) fn run(args: InvokeArgs) -> Result<Done, Fault> {
    let event = match (&args.event, args.example) {
        (Some(path), _) => events::complete(events::read(path)?)?,
        (None, Some(example)) => events::example(example, &args.function, &args.set)?,
        // Not reached: clap asks for one of them.
        (None, None) => Value::Null,
    };
    let client = Client::new(&args.remote)?;
    client::block_on(invoke(&client, &args, &event))
}

async fn invoke(client: &Client, args: &InvokeArgs, event: &Value) -> Result<Done, Fault> {
    let mut path = format!("/api/v1/functions/{}/invocations", encoded(&args.function));
    if let Some(version) = &args.version {
        path.push_str(&format!("?version={}", encoded(version)));
    }
    let answer = client.change(Method::POST, &path, Some(event)).await;
    let answer = answer.map_err(|fault| match fault.code {
        client::NOT_THERE => {
            Fault::new("E0507", fault.message, "`backlot functions` lists what is deployed")
        }
        _ => fault,
    })?;
    let id = text(&answer, "/id").to_owned();
    let is_json = args.remote.server.json;
    if !args.wait {
        return out(&if is_json { format!("{answer}\n") } else { format!("{id}\n") });
    }
    eprintln!("{id}");
    wait(client, &id).await?;
    let ended = client.get(&format!("/api/v1/invocations/{id}")).await?.unwrap_or_default();
    let done = if text(&ended, "/state") == "succeeded" { Done::Well } else { Done::SomeFailed };
    if is_json {
        let result = json!({
            "id": id, "state": ended.get("state"), "reason": ended.get("reason"),
            "result": ended.get("result"), "cost": ended.get("cost"),
        });
        out(&format!("{result}\n"))?;
    } else {
        if matches!(done, Done::SomeFailed) {
            let (state, reason) = (text(&ended, "/state"), text(&ended, "/reason"));
            eprintln!("{state}: {}", printable(reason));
        }
        out(&result(&ended))?;
    }
    Ok(done)
}

/// Until it ended.
pub(crate) async fn wait(client: &Client, id: &str) -> Result<(), Fault> {
    let path = format!("/api/v1/invocations/follow?invocation={id}");
    loop {
        let mut events = client.events(&path).await?;
        loop {
            match events.next().await {
                Ok((_, run))
                    if ["succeeded", "failed", "cancelled"].contains(&text(&run, "/state")) =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                // The stream was cut, not the work: ask again, which fails if the server is gone.
                Err(fault) if fault.code == "E0508" => break,
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// The handler's answer: text as it is, anything else as JSON. Its bytes are the handler's choice,
/// as with any program whose output is printed.
fn result(ended: &Value) -> String {
    match ended.get("result") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => format!("{text}\n"),
        Some(value) => format!("{value}\n"),
    }
}
