//! `backlot functions`: what is deployed on a running server.

use serde_json::Value;

use crate::answers::{list, printable, text, version};
use crate::cli::FunctionsArgs;
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::{Done, out};

pub(crate) fn run(args: FunctionsArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let answer = client::block_on(client.get("/api/v1/functions"))?.unwrap_or_default();
    let functions = list(&answer, "functions");
    if args.remote.server.json {
        return out(&functions.iter().map(|function| format!("{function}\n")).collect::<String>());
    }
    let mut table = format!("{:<16} {:<12}  {}\n", "NAME", "VERSION", "TRIGGERS");
    table.extend(functions.iter().map(row));
    out(&table)
}

fn row(function: &Value) -> String {
    let triggers: Vec<String> = list(function, "triggers").iter().map(trigger).collect();
    let triggers = if triggers.is_empty() { "none".to_owned() } else { triggers.join("; ") };
    format!(
        "{:<16} {:<12}  {}\n",
        text(function, "/name"),
        version(function, "/version"),
        printable(&triggers)
    )
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_function_is_one_line_with_its_triggers() {
        let function = json!({
            "name": "shop", "version": "0123456789abcdef",
            "triggers": [
                { "type": "object", "bucket": "uploads", "prefix": "in/" },
                { "type": "event", "kind": "order.paid" },
                { "type": "schedule", "name": "daily", "cron": "0 3 * * *" },
            ],
        });
        assert_eq!(
            row(&function),
            "shop             0123456789ab  \
             object uploads/in/*; event order.paid; schedule daily (0 3 * * *)\n"
        );
        assert!(row(&json!({ "name": "child" })).ends_with("none\n"));
    }
}
