//! `backlot dead-letters`: events whose handling failed, with what is known about it. They are kept
//! until they are replayed or dropped, or their time is over.

use http::Method;

use crate::answers::text;
use crate::cli::{DeadLettersArgs, DeadLettersVerb, Which};
use crate::client::{self, Client, encoded};
use crate::each::{self, Change};
use crate::fault::Fault;
use crate::{Done, out, replay, runs, select};

pub(crate) fn run(args: DeadLettersArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let is_json = args.remote.server.json;
    client::block_on(async {
        match args.verb {
            DeadLettersVerb::List { letters, limit } => {
                let filter = select::dead(&letters);
                let found = select::roots(&client, &filter, usize::from(limit)).await?;
                out(&runs::table(&found, is_json))
            }
            DeadLettersVerb::Replay { which, again } => {
                let ids = chosen(&client, which).await?;
                replay::each(&client, &ids, &again, is_json).await
            }
            DeadLettersVerb::Drop { which, yes } => {
                if which.all && !yes {
                    return Err(Fault::new(
                        "E0603",
                        "dropping all dead letters cannot be undone",
                        "look at them with `backlot dead-letters list`, then add --yes",
                    ));
                }
                let ids = chosen(&client, which).await?;
                drop_each(&client, &ids, is_json).await
            }
        }
    })
}

async fn chosen(client: &Client, which: Which) -> Result<Vec<String>, Fault> {
    if which.all { select::ids(client, &select::dead(&which.letters)).await } else { Ok(which.ids) }
}

async fn drop_each(client: &Client, ids: &[String], is_json: bool) -> Result<Done, Fault> {
    let mut letters = Vec::with_capacity(ids.len());
    let mut all_dead = true;
    for id in ids {
        // What succeeded is no dead letter: a mistaken id must not lose it.
        let found = client.get(&format!("/api/v1/invocations/{}", encoded(id))).await?;
        match found.as_ref().map(|run| text(run, "/state")) {
            Some("failed") | None => letters.push(id.clone()),
            Some(state) => {
                let message = format!("{id}: not a dead letter, it is {state}");
                let help = "`backlot dead-letters list` lists those there are";
                Fault::new("E0505", message, help).print(is_json);
                all_dead = false;
            }
        }
    }
    let change = Change {
        table: "invocations",
        method: Method::DELETE,
        suffix: "",
        body: None,
        done: "dropped",
    };
    let done = each::change(client, &letters, &change, is_json).await?;
    Ok(if all_dead { done } else { Done::SomeFailed })
}
