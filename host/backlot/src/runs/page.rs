//! One invocation as a page: its event, what each attempt did, and how it ended.

use serde_json::Value;

use crate::answers::{list, moment, number, printable, short, text, version};

/// Longest payload or result on the page, in characters; `--json` has all of it.
const PAYLOAD_CHARS: usize = 2_000;
/// Longest answer of an effect, in characters.
const ANSWER_CHARS: usize = 60;

pub(super) fn show(run: &Value) -> String {
    let mut page = Page(String::new());
    facts(&mut page, run);
    for attempt in list(run, "attempts") {
        page.line(&format!("attempt {}", number(attempt, "/number")), &ending(attempt));
    }
    for effect in list(run, "effects") {
        let subject = printable(text(effect, "/subject"));
        let answer = effect.get("answer").map(|answer| short(answer, ANSWER_CHARS));
        let what = format!(
            "{} attempt {} {} {subject} {}",
            moment(effect, "/time"),
            number(effect, "/attempt"),
            text(effect, "/call"),
            answer.unwrap_or_default(),
        );
        page.line("effect", what.trim_end());
    }
    if run.get("more_effects") == Some(&Value::Bool(true)) {
        page.line("effect", "… and more");
    }
    for child in list(run, "children") {
        page.line(
            &format!("child {}", text(child, "/key")),
            &format!("{:<9} {}", text(child, "/state"), text(child, "/id")),
        );
    }
    for entry in list(run, "logs") {
        let line = format!(
            "{} {:<6} {}",
            moment(entry, "/time"),
            text(entry, "/source"),
            text(entry, "/text")
        );
        page.line("log", &line);
    }
    page.line("outcome", text(run, "/state"));
    page.line("reason", text(run, "/reason"));
    page.line("result", &payload(run.get("result")));
    page.0
}

fn facts(page: &mut Page, run: &Value) {
    page.line("id", text(run, "/id"));
    page.line("function", text(run, "/function"));
    page.line("state", text(run, "/state"));
    page.line("version", text(run, "/version"));
    page.line("event", text(run, "/event/kind"));
    page.line("event id", text(run, "/event/id"));
    page.line("source", text(run, "/event/source"));
    page.line("subject", text(run, "/event/subject"));
    page.line("time", &moment(run, "/event/time"));
    page.line("type", text(run, "/event/content_type"));
    page.line("data", &data(run));
    page.line("parent", text(run, "/parent"));
    page.line("accepted", &moment(run, "/accepted_at"));
    page.line("started", &moment(run, "/started_at"));
    page.line("ended", &moment(run, "/ended_at"));
    page.line("due", &moment(run, "/due_at"));
    page.line("cost", &cost(run));
    for strand in list(run, "progress") {
        let done = format!(
            "{} of {} {}",
            number(strand, "/done"),
            number(strand, "/total"),
            text(strand, "/unit")
        );
        page.line(&format!("  {}", text(strand, "/name")), &done);
    }
}

/// The event's data, or how long what is not shown is.
fn data(run: &Value) -> String {
    match (run.pointer("/event/data"), number(run, "/event/data_bytes")) {
        (None | Some(Value::Null), 0) => String::new(),
        (None | Some(Value::Null), bytes) => format!("{bytes} bytes"),
        (shown, _) => payload(shown),
    }
}

fn payload(value: Option<&Value>) -> String {
    value.map(|value| short(value, PAYLOAD_CHARS)).unwrap_or_default()
}

fn cost(of: &Value) -> String {
    format!(
        "{} ms CPU, {} bytes in, {} bytes out",
        number(of, "/cost/cpu_ms"),
        number(of, "/cost/bytes_in"),
        number(of, "/cost/bytes_out")
    )
}

fn ending(attempt: &Value) -> String {
    let outcome = text(attempt, "/outcome");
    let outcome = if outcome.is_empty() { "running" } else { outcome };
    let mut parts = vec![moment(attempt, "/started_at"), outcome.to_owned()];
    let version = version(attempt, "/version");
    if !version.is_empty() {
        parts.push(format!("version {version}"));
    }
    parts.push(cost(attempt));
    let reason = text(attempt, "/reason");
    if !reason.is_empty() {
        parts.push(reason.to_owned());
    }
    parts.join(", ")
}

/// Lines of a name and a value.
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.push_str(&format!("{:<10} {}\n", printable(name), printable(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_tells_the_event_and_what_was_done() {
        let run = json!({
            "id": "0123", "function": "shop", "state": "failed", "reason": "no money",
            "event": { "kind": "order.paid", "data": { "sum": 5 }, "data_bytes": 9 },
            "attempts": [{
                "number": 1, "started_at": "2026-01-02T03:04:05.678Z", "outcome": "rejected",
                "version": "0123456789abcdef", "reason": "no money",
                "cost": { "cpu_ms": 7, "bytes_in": 1, "bytes_out": 2 },
            }],
            "effects": [{
                "call": "backlot:storage/objects.put", "subject": "b/\u{1b}k", "attempt": 1,
                "time": "2026-01-02T03:04:06Z", "answer": { "etag": "x" },
            }],
            "more_effects": false,
            "children": [{ "key": "part-0", "state": "succeeded", "id": "4567" }],
            "logs": [{ "time": "2026-01-02T03:04:07Z", "source": "stdout", "text": "hello" }],
        });
        let page = show(&run);
        for part in [
            "data       {\"sum\":5}\n",
            "attempt 1  2026-01-02 03:04:05, rejected, version 0123456789ab, 7 ms CPU, 1 bytes in, 2 bytes out, no money\n",
            "effect     2026-01-02 03:04:06 attempt 1 backlot:storage/objects.put b/\u{fffd}k {\"etag\":\"x\"}\n",
            "child part-0 succeeded 4567\n",
            "log        2026-01-02 03:04:07 stdout hello\n",
            "outcome    failed\n",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
    }

    #[test]
    fn data_that_is_not_shown_is_counted() {
        let run = json!({ "event": { "data": null, "data_bytes": 70_000 } });
        assert!(show(&run).contains("data       70000 bytes\n"));
    }
}
