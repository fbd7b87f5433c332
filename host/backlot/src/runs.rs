//! `backlot runs`: what a running server runs and ran.

mod page;

use serde_json::Value;

use crate::answers::{list, moment, printable, text};
use crate::cli::{ListArgs, RunsArgs, RunsVerb};
use crate::client::{self, Client, encoded};
use crate::fault::Fault;
use crate::{Done, logs, out, out_live, select};

/// Pages of effects that are asked for; more than one invocation can have.
const EFFECT_PAGES_MAX: usize = 250;

pub(crate) fn run(args: RunsArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let is_json = args.remote.server.json;
    client::block_on(async {
        match args.verb {
            Some(RunsVerb::Show { id }) => {
                let run = whole(&client, &id).await?;
                out(&if is_json { format!("{run}\n") } else { page::show(&run) })
            }
            Some(RunsVerb::List(list)) => show_list(&client, &list, is_json).await,
            None => show_list(&client, &args.list, is_json).await,
        }
    })
}

async fn show_list(client: &Client, args: &ListArgs, is_json: bool) -> Result<Done, Fault> {
    let query = select::query(&args.filter);
    if args.follow {
        return follow(client, &format!("limit={}&{query}", args.limit), is_json).await;
    }
    let found = select::listed(client, &query, usize::from(args.limit)).await?;
    out(&table(&found, is_json))
}

/// What the list has, oldest first, then each change.
async fn follow(client: &Client, query: &str, is_json: bool) -> Result<Done, Fault> {
    let mut events = client.events(&format!("/api/v1/invocations/follow?{query}")).await?;
    if !is_json && !out_live(&head())? {
        return Ok(Done::Well);
    }
    loop {
        let (_, run) = events.next().await?;
        if !out_live(&line(&run, is_json))? {
            return Ok(Done::Well);
        }
    }
}

/// An invocation with all its effects.
async fn whole(client: &Client, id: &str) -> Result<Value, Fault> {
    let path = format!("/api/v1/invocations/{}", encoded(id));
    let mut run = client.get(&path).await?.ok_or_else(|| logs::no_invocation(id))?;
    let mut skip = list(&run, "effects").len();
    let mut more = run.get("more_effects") == Some(&Value::Bool(true));
    for _ in 0..EFFECT_PAGES_MAX {
        if !more {
            break;
        }
        let page = client.get(&format!("{path}/effects?skip={skip}")).await?.unwrap_or_default();
        let effects = list(&page, "effects");
        if let Some(all) = run.get_mut("effects").and_then(Value::as_array_mut) {
            all.extend(effects.iter().cloned());
        }
        skip += effects.len();
        more = page.get("next").is_some_and(|next| !next.is_null());
    }
    if let Some(run) = run.as_object_mut() {
        run.insert("more_effects".to_owned(), more.into());
    }
    Ok(run)
}

/// Invocations, one a line.
pub(crate) fn table(runs: &[Value], is_json: bool) -> String {
    let head = if is_json || runs.is_empty() { String::new() } else { head() };
    head + &runs.iter().map(|run| line(run, is_json)).collect::<String>()
}

fn head() -> String {
    format!(
        "{:<32}  {:<10} {:<9} {:<19}  {}\n",
        "ID", "FUNCTION", "STATE", "ACCEPTED (UTC)", "SUBJECT"
    )
}

fn line(run: &Value, is_json: bool) -> String {
    if is_json {
        return format!("{run}\n");
    }
    format!(
        "{:<32}  {:<10} {:<9} {:<19}  {}\n",
        text(run, "/id"),
        text(run, "/function"),
        text(run, "/state"),
        moment(run, "/accepted_at"),
        printable(text(run, "/event/subject")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_one_line_without_control_characters() {
        let run = json!({
            "id": "0123", "function": "encoder", "state": "running",
            "accepted_at": "2026-01-02T03:04:05.678Z", "event": { "subject": "a\u{1b}[31m\nb.mp4" },
        });
        let line = line(&run, false);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains('\u{1b}'));
        assert!(line.contains("2026-01-02 03:04:05"));
    }
}
