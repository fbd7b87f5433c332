//! The same change for several things of one kind, one after the other.

use http::Method;
use serde_json::{Value, json};

use crate::answers::text;
use crate::client::{Client, encoded};
use crate::fault::Fault;
use crate::{Done, out_live};

/// Faults that the next invocation would meet too: no server, no token, no standard output.
const FINAL: [&str; 4] = ["E0501", "E0502", "E0504", "E0902"];

/// What is done to each.
pub(crate) struct Change<'a> {
    /// Where they are, such as `invocations`.
    pub(crate) table: &'static str,
    pub(crate) method: Method,
    /// After its path.
    pub(crate) suffix: &'static str,
    pub(crate) body: Option<&'a Value>,
    /// Said of each that it was done to.
    pub(crate) done: &'static str,
}

/// Prints a line for each, goes on after what is refused, and says whether all was done.
pub(crate) async fn change(
    client: &Client,
    ids: &[String],
    change: &Change<'_>,
    is_json: bool,
) -> Result<Done, Fault> {
    let mut all_done = true;
    for id in ids {
        let path = format!("/api/v1/{}/{}{}", change.table, encoded(id), change.suffix);
        match client.change(change.method.clone(), &path, change.body).await {
            Ok(answer) => {
                if !out_live(&line(change.table, id, &answer, change.done, is_json))? {
                    return Ok(Done::Well);
                }
            }
            Err(fault) if FINAL.contains(&fault.code) => return Err(fault),
            Err(mut fault) => {
                fault.message = format!("{id}: {}", fault.message);
                fault.print(is_json);
                all_done = false;
            }
        }
    }
    Ok(if all_done { Done::Well } else { Done::SomeFailed })
}

fn line(table: &str, id: &str, answer: &Value, done: &str, is_json: bool) -> String {
    let now = text(answer, "/id");
    // What has ended is not cancelled any more.
    let state = text(answer, "/state");
    let done = if ["succeeded", "failed"].contains(&state) { state } else { done };
    if is_json {
        return format!(
            "{}\n",
            json!({ table.trim_end_matches('s'): id, "done": done, "id": now })
        );
    }
    // A fresh replay is another invocation.
    if now == id || now.is_empty() {
        format!("{id} {done}\n")
    } else {
        format!("{id} {done} as {now}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_new_invocation_where_there_is_one() {
        assert_eq!(
            line("invocations", "a", &json!({ "id": "a" }), "replayed", false),
            "a replayed\n"
        );
        assert_eq!(
            line("invocations", "a", &json!({ "id": "b" }), "replayed", false),
            "a replayed as b\n"
        );
        let late = line(
            "invocations",
            "a",
            &json!({ "id": "a", "state": "succeeded" }),
            "cancelled",
            false,
        );
        assert_eq!(late, "a succeeded\n");
        let parsed: Value = serde_json::from_str(&line(
            "invocations",
            "a",
            &json!({ "id": "b" }),
            "replayed",
            true,
        ))
        .unwrap();
        assert_eq!(parsed, json!({ "invocation": "a", "done": "replayed", "id": "b" }));
    }
}
