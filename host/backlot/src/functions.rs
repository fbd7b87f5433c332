//! `backlot functions`, `versions`, `diff`: what is deployed on a running server; `promote`,
//! `rollback`, `enable`, `disable`, `remove`: which of it runs.

use http::Method;
use serde_json::{Value, json};

use crate::answers::{list, moment, printable, short, text, version};
use crate::cli::{DiffArgs, FunctionArgs, FunctionsArgs, FunctionsVerb, RollbackArgs};
use crate::client::{self, Client, encoded};
use crate::deploy::percent;
use crate::fault::Fault;
use crate::{Done, out};

/// Widest value in a table, in characters.
const VALUE_CHARS_MAX: usize = 60;

pub(crate) fn run(args: FunctionsArgs) -> Result<Done, Fault> {
    if let Some(FunctionsVerb::Show { name }) = &args.verb {
        let function = get(&Client::new(&args.remote)?, name, "")?;
        let json = args.remote.server.json;
        return out(&if json { format!("{function}\n") } else { page(&function) });
    }
    let client = Client::new(&args.remote)?;
    let answer = client::block_on(client.get("/api/v1/functions"))?.unwrap_or_default();
    let functions = list(&answer, "functions");
    if args.remote.server.json {
        return out(&lines(functions));
    }
    let mut table = format!("{:<16} {:<12} {:<22}  {}\n", "NAME", "VERSION", "STATE", "TRIGGERS");
    table.extend(functions.iter().map(row));
    out(&table)
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

/// What is under a function's path.
fn get(client: &Client, name: &str, below: &str) -> Result<Value, Fault> {
    let path = format!("/api/v1/functions/{}{below}", encoded(name));
    client::block_on(client.get(&path))?.ok_or_else(|| {
        let message = format!("there is no function {name:?}, or none of those versions");
        Fault::new(client::NOT_THERE, message, "`backlot functions` lists what is deployed")
    })
}

fn row(function: &Value) -> String {
    format!(
        "{:<16} {:<12} {:<22}  {}\n",
        text(function, "/name"),
        version(function, "/version"),
        state(function),
        triggers(function)
    )
}

fn triggers(function: &Value) -> String {
    let triggers: Vec<String> = list(function, "triggers").iter().map(trigger).collect();
    printable(&if triggers.is_empty() { "none".to_owned() } else { triggers.join("; ") })
}

fn state(function: &Value) -> String {
    if !text(function, "/broken").is_empty() {
        return "broken".to_owned();
    }
    let weight = function.pointer("/canary_weight").and_then(Value::as_u64);
    if let Some(weight) = weight {
        return format!("{} % {}", percent(weight), version(function, "/canary_version"));
    }
    match (function.get("enabled").and_then(Value::as_bool), function.get("builtin")) {
        (Some(false), _) => "disabled".to_owned(),
        (_, Some(Value::Bool(true))) => "builtin".to_owned(),
        _ => "live".to_owned(),
    }
}

fn trigger(trigger: &Value) -> String {
    let kind = text(trigger, "/type");
    let what = match kind {
        "object" => format!("{}/{}*", text(trigger, "/bucket"), text(trigger, "/prefix")),
        "event" => text(trigger, "/kind").to_owned(),
        "schedule" => format!("{} ({})", text(trigger, "/name"), text(trigger, "/cron")),
        "function" => text(trigger, "/function").to_owned(),
        _ => String::new(),
    };
    format!("{kind} {what}")
}

/// One function with what was decided about it.
fn page(function: &Value) -> String {
    let mut page = format!(
        "{}  {}\n  version   {}\n  component {}\n  previous  {}\n  starts by {}\n",
        text(function, "/name"),
        state(function),
        text(function, "/version"),
        text(function, "/component"),
        version(function, "/previous"),
        triggers(function),
    );
    let broken = text(function, "/broken");
    if !broken.is_empty() {
        page += &format!("  broken    {}\n", printable(broken));
    }
    for side in ["live", "canary"] {
        if let Some(figures) = function.pointer(&format!("/trial/{side}")) {
            page += &format!("  {side:<9} {}\n", figures_line(figures));
        }
    }
    let http = list(function, "http");
    if !http.is_empty() {
        page += "\nHTTP requests since each version was loaded\n";
    }
    for counts in http {
        page += &format!("  {:<12} {}\n", version(counts, "/version"), counts_line(counts));
    }
    let decisions = list(function, "decisions");
    if !decisions.is_empty() {
        page += "\nDecisions\n";
    }
    for decision in decisions {
        let reason = printable(text(decision, "/details/reason"));
        page += &format!(
            "  {}  {:<11} {:<12} by {}{}{reason}\n",
            moment(decision, "/time"),
            text(decision, "/what"),
            version(decision, "/version"),
            printable(text(decision, "/by")),
            if reason.is_empty() { "" } else { ": " },
        );
    }
    page
}

fn figures_line(figures: &Value) -> String {
    let number = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "{} calls, {} failed, {} trapped, p99 {} ms",
        number("calls"),
        number("errors"),
        number("traps"),
        number("p99_ms")
    )
}

fn counts_line(counts: &Value) -> String {
    let number = |path: &str| counts.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let mut line = format!("{} requests", number("/requests"));
    for (path, what) in [
        ("/running", "running"),
        ("/answered/2xx", "2xx"),
        ("/answered/3xx", "3xx"),
        ("/answered/4xx", "4xx"),
        ("/answered/5xx", "5xx"),
        ("/failed", "failed"),
        ("/timed_out", "timed out"),
        ("/too_long", "too long"),
        ("/gone", "given up by the client"),
        ("/refused", "refused besides"),
    ] {
        if number(path) != 0 {
            line += &format!(", {} {what}", number(path));
        }
    }
    for (path, what) in [("/p50_ms", "p50"), ("/p99_ms", "p99")] {
        if let Some(millis) = counts.pointer(path).and_then(Value::as_f64) {
            line += &format!(", {what} {millis:.1} ms");
        }
    }
    line
}

pub(crate) fn versions(args: FunctionArgs) -> Result<Done, Fault> {
    let answer = get(&Client::new(&args.remote)?, &args.name, "/versions")?;
    let versions = list(&answer, "versions");
    if args.remote.server.json {
        return out(&lines(versions));
    }
    let mut table =
        format!("{:<12} {:<19} {:<16} {:<16} {}\n", "VERSION", "DEPLOYED", "BY", "SIGNED", "IS");
    for row in versions {
        let aliases: Vec<&str> = list(row, "aliases").iter().filter_map(Value::as_str).collect();
        let builtin = row.get("builtin").is_some();
        table += &format!(
            "{:<12} {:<19} {:<16} {:<16} {}\n",
            version(row, "/id"),
            moment(row, "/deployed_at"),
            if builtin { "(builtin)".to_owned() } else { printable(text(row, "/deployed_by")) },
            text(row, "/signer"),
            aliases.join(", "),
        );
    }
    out(&table)
}

pub(crate) fn diff(args: DiffArgs) -> Result<Done, Fault> {
    let query = format!("/diff?from={}&to={}", encoded(&args.from), encoded(&args.to));
    let answer = get(&Client::new(&args.remote)?, &args.name, &query)?;
    let changes = list(&answer, "changes");
    if args.remote.server.json {
        return out(&lines(changes));
    }
    if changes.is_empty() {
        return out("no difference\n");
    }
    let changes = changes.iter().map(|change| {
        let side = |name: &str, sign: &str| {
            let value = change.get(name).filter(|value| !value.is_null());
            value.map_or_else(String::new, |value| {
                format!(" {sign}{}", short(value, VALUE_CHARS_MAX))
            })
        };
        format!("{}{}{}\n", text(change, "/what"), side("from", "-"), side("to", "+"))
    });
    out(&changes.collect::<String>())
}

/// `promote`, `enable`, `disable`, `remove`: the verb is the last part of the path.
pub(crate) fn change(args: FunctionArgs, verb: &str) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let path = format!("/api/v1/functions/{}", encoded(&args.name));
    let answer = client::block_on(async {
        match verb {
            "remove" => client.change(Method::DELETE, &path, None).await,
            verb => client.change(Method::POST, &format!("{path}/{verb}"), None).await,
        }
    })?;
    changed(&answer, args.remote.server.json)
}

pub(crate) fn rollback(args: RollbackArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let path = format!("/api/v1/functions/{}/rollback", encoded(&args.name));
    let body = args.version.map(|version| json!({ "version": version }));
    let answer = client::block_on(client.change(Method::POST, &path, body.as_ref()))?;
    changed(&answer, args.remote.server.json)
}

fn changed(answer: &Value, json: bool) -> Result<Done, Fault> {
    if json {
        return out(&format!("{answer}\n"));
    }
    let name = text(answer, "/name");
    if answer.get("version").is_none() {
        return out(&format!("{name} is removed\n"));
    }
    out(&format!("{name} {}: {}\n", version(answer, "/version"), state(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_one_line_with_its_state_and_triggers() {
        let function = json!({
            "name": "shop", "version": "0123456789abcdef", "enabled": true,
            "canary_version": "fedcba9876543210", "canary_weight": 1000,
            "triggers": [
                { "type": "object", "bucket": "uploads", "prefix": "in/" },
                { "type": "event", "kind": "order.paid" },
                { "type": "schedule", "name": "daily", "cron": "0 3 * * *" },
            ],
        });
        assert_eq!(
            row(&function),
            "shop             0123456789ab 10 % fedcba987654       \
             object uploads/in/*; event order.paid; schedule daily (0 3 * * *)\n"
        );
        assert!(row(&json!({ "name": "child" })).ends_with("none\n"));
        assert_eq!(state(&json!({ "enabled": false })), "disabled");
        assert_eq!(state(&json!({ "enabled": true, "builtin": true })), "builtin");
        assert_eq!(state(&json!({ "enabled": true, "broken": "x" })), "broken");
    }

    #[test]
    fn decisions_are_told_with_their_reasons() {
        let function = json!({
            "name": "shop",
            "trial": {
                "live": { "calls": 90, "errors": 1, "traps": 0, "p99_ms": 7 },
                "canary": { "calls": 3, "errors": 0, "traps": 3, "p99_ms": 8 },
            },
            "http": [
                {
                    "version": "0123456789abcdef", "requests": 12, "running": 3,
                    "answered": { "2xx": 10, "3xx": 0, "4xx": 0, "5xx": 1 }, "failed": 1,
                    "timed_out": 0, "gone": 0, "too_long": 0, "refused": 2,
                    "p50_ms": 0.75, "p99_ms": 8.0,
                },
                { "version": "fedcba9876543210", "requests": 0, "p50_ms": null },
            ],
            "decisions": [{
                "time": "2026-03-01T10:00:00Z", "what": "rolled-back", "version": "abcdef",
                "by": "watchdog", "details": { "reason": "3 of 3 calls trapped" },
            }],
        });
        let page = page(&function);
        assert!(page.contains("  canary    3 calls, 0 failed, 3 trapped, p99 8 ms\n"), "{page}");
        let line = "0123456789ab 12 requests, 3 running, 10 2xx, 1 5xx, 1 failed, 2 refused besides, \
            p50 0.8 ms, p99 8.0 ms\n  fedcba987654 0 requests\n";
        assert!(page.contains(line), "{page}");
        let line = "2026-03-01 10:00:00  rolled-back abcdef       by watchdog: 3 of 3 calls";
        assert!(page.contains(line), "{page}");
    }
}
