//! `backlot runs`: what a running server runs and ran.

use serde_json::Value;

use crate::cli::{RunsArgs, RunsVerb};
use crate::fault::Fault;
use crate::{Done, client, node, out};

/// Lists without a limit of their own.
const LIST: u16 = 50;

pub(crate) fn run(args: RunsArgs) -> Result<Done, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| node::internal("starting threads", &err))?;
    let text = match &args.verb {
        Some(RunsVerb::Show { id }) => {
            let path = format!("/api/v1/invocations/{}", clean(id));
            let answer = runtime.block_on(client::get(args.http, &path))?;
            let Some(run) = answer else {
                return Err(Fault::new(
                    "E0503",
                    format!("there is no invocation {id:?}"),
                    "`backlot runs` lists their ids",
                ));
            };
            if args.json { format!("{run}\n") } else { show(&run) }
        }
        list => {
            let path = match list {
                Some(RunsVerb::List { function, state, limit }) => {
                    let mut path = format!("/api/v1/invocations?limit={limit}");
                    for (name, value) in [("function", function), ("state", state)] {
                        if let Some(value) = value {
                            path.push_str(&format!("&{name}={}", clean(value)));
                        }
                    }
                    path
                }
                _ => format!("/api/v1/invocations?limit={LIST}"),
            };
            let answer = runtime.block_on(client::get(args.http, &path))?.unwrap_or_default();
            let runs = list_of(&answer, "invocations");
            let line = |run: &Value| if args.json { format!("{run}\n") } else { row(run) };
            let head = if args.json || runs.is_empty() {
                String::new()
            } else {
                format!(
                    "{:<32}  {:<10} {:<9} {:<19}  {}\n",
                    "ID", "FUNCTION", "STATE", "ACCEPTED (UTC)", "SUBJECT"
                )
            };
            head + &runs.iter().map(line).collect::<String>()
        }
    };
    out(&text)
}

/// What cannot be part of an id, a name or a state would only change the request.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
        .collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn list_of(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// To the second, without the zone.
fn moment(value: &Value, path: &str) -> String {
    text(value, path).chars().take(19).collect::<String>().replace('T', " ")
}

fn row(run: &Value) -> String {
    format!(
        "{:<32}  {:<10} {:<9} {:<19}  {}\n",
        text(run, "/id"),
        text(run, "/function"),
        text(run, "/state"),
        moment(run, "/accepted_at"),
        printable(text(run, "/event/subject")),
    )
}

fn show(run: &Value) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            page.push_str(&format!("{name:<10} {}\n", printable(value)));
        }
    };
    line("id", text(run, "/id"));
    line("function", text(run, "/function"));
    line("state", text(run, "/state"));
    line("reason", text(run, "/reason"));
    line("event", text(run, "/event/kind"));
    line("source", text(run, "/event/source"));
    line("subject", text(run, "/event/subject"));
    line("parent", text(run, "/parent"));
    line("accepted", &moment(run, "/accepted_at"));
    line("started", &moment(run, "/started_at"));
    line("ended", &moment(run, "/ended_at"));
    line("cpu", &format!("{} ms", number(run, "/cost/cpu_ms")));
    for strand in list_of(run, "progress") {
        let done = format!(
            "{} of {} {}",
            number(&strand, "/done"),
            number(&strand, "/total"),
            text(&strand, "/unit")
        );
        line(&format!("  {}", text(&strand, "/name")), &done);
    }
    for attempt in list_of(run, "attempts") {
        let outcome = text(&attempt, "/outcome");
        let outcome = if outcome.is_empty() { "running" } else { outcome };
        let reason = text(&attempt, "/reason");
        line(&format!("attempt {}", number(&attempt, "/number")), &format!("{outcome} {reason}"));
    }
    for child in list_of(run, "children") {
        line(
            &format!("  {}", text(&child, "/key")),
            &format!("{:<9} {}", text(&child, "/state"), text(&child, "/id")),
        );
    }
    for entry in list_of(run, "logs") {
        line(&moment(&entry, "/time"), text(&entry, "/text"));
    }
    page
}

/// Keys and logs are other people's bytes: no control characters reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
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
        let line = row(&run);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains('\u{1b}'));
        assert!(line.contains("2026-01-02 03:04:05"));
    }

    #[test]
    fn a_query_cannot_be_smuggled_in() {
        assert_eq!(clean("failed&limit=1 HTTP/1.1\r\n"), "failedlimit1HTTP1.1");
    }
}
