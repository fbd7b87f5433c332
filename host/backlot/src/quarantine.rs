//! `backlot quarantine`: what was found invalid and put away.

use http::Method;
use serde_json::{Value, json};

use crate::answers::{list, number, printable, text};
use crate::cli::{QuarantineArgs, QuarantineVerb};
use crate::client::{self, Client, encoded};
use crate::each::{self, Change};
use crate::fault::Fault;
use crate::{Done, out};

/// Path of the collection, and its name.
const TABLE: &str = "quarantine";

pub(crate) fn run(args: QuarantineArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let as_json = args.remote.server.json;
    client::block_on(async {
        match args.verb {
            QuarantineVerb::List { limit, after } => {
                let mut path = format!("/api/v1/{TABLE}?limit={limit}");
                if let Some(after) = after {
                    path.push_str(&format!("&after={}", encoded(&after)));
                }
                let answer = client.get(&path).await?.unwrap_or_default();
                let objects = list(&answer, TABLE);
                if as_json {
                    return out(&objects.iter().map(|one| format!("{one}\n")).collect::<String>());
                }
                if let Some(next) = answer.get("next").and_then(Value::as_str) {
                    eprintln!("there are more: add --after {next}");
                }
                out(&table(objects))
            }
            QuarantineVerb::Show { id } => {
                let found = client.get(&format!("/api/v1/{TABLE}/{}", encoded(&id))).await?;
                let Some(found) = found else { return Err(unknown(&id)) };
                out(&if as_json { format!("{found}\n") } else { shown(&found) })
            }
            QuarantineVerb::Release { ids, replace } => {
                let body = json!({ "replace": replace });
                let change = Change {
                    table: TABLE,
                    method: Method::POST,
                    suffix: "/release",
                    body: Some(&body),
                    done: "released",
                };
                each::change(&client, &ids, &change, as_json).await
            }
            QuarantineVerb::Drop { ids } => {
                let change = Change {
                    table: TABLE,
                    method: Method::DELETE,
                    suffix: "",
                    body: None,
                    done: "dropped",
                };
                each::change(&client, &ids, &change, as_json).await
            }
        }
    })
}

fn unknown(id: &str) -> Fault {
    Fault::new(
        "E0503",
        format!("there is nothing in quarantine under {id:?}"),
        "`backlot quarantine list` shows what there is",
    )
}

fn table(objects: &[Value]) -> String {
    let mut table = format!("{:<32}  {:<8} {:>12}  {}\n", "ID", "STATE", "BYTES", "OBJECT: WHY");
    table.extend(objects.iter().map(|one| {
        format!(
            "{:<32}  {:<8} {:>12}  {}/{}: {}\n",
            text(one, "/id"),
            state(one),
            number(one, "/size"),
            printable(text(one, "/bucket")),
            printable(text(one, "/key")),
            printable(text(one, "/what")),
        )
    }));
    table
}

/// Where it is; `gone` if it was left in its place, and deleted or replaced there.
fn state(object: &Value) -> &str {
    match object.get("there").and_then(Value::as_bool) {
        Some(false) => "gone",
        _ => text(object, "/became"),
    }
}

fn shown(object: &Value) -> String {
    let line = |name: &str, value: &str| format!("{name:<14} {}\n", printable(value));
    let mut shown = line("id", text(object, "/id"));
    shown.push_str(&line(
        "object",
        &format!("{}/{}", text(object, "/bucket"), text(object, "/key")),
    ));
    shown.push_str(&line("version", text(object, "/version")));
    shown.push_str(&line("bytes", &number(object, "/size").to_string()));
    shown.push_str(&line("state", state(object)));
    shown.push_str(&line("format", text(object, "/format")));
    shown.push_str(&line("what", text(object, "/what")));
    shown.push_str(&line("at byte", &number(object, "/where").to_string()));
    if !text(object, "/second_opinion").is_empty() {
        shown.push_str(&line("second opinion", text(object, "/second_opinion")));
    }
    shown
}
