//! `backlot logs`: what attempts wrote.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::answers::{list, moment, printable, text};
use crate::cli::{Filter, LogsArgs};
use crate::client::{self, Client, encoded};
use crate::fault::Fault;
use crate::{Done, out, out_live, select};

/// Without an id: the newest invocations whose lines are shown.
const INVOCATIONS: usize = 20;

pub(crate) fn run(args: LogsArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    client::block_on(async {
        if args.follow {
            return follow(&client, &args).await;
        }
        let mut page = String::new();
        for line in written(&client, &args).await? {
            page.push_str(&render(&line, &args));
        }
        out(&page)
    })
}

/// The lines that are there, the oldest first.
async fn written(client: &Client, args: &LogsArgs) -> Result<Vec<Value>, Fault> {
    let ids = match &args.id {
        Some(id) => vec![id.clone()],
        None => {
            let filter = Filter { function: args.function.clone(), ..Filter::default() };
            let query = select::query(&filter);
            let path = format!("/api/v1/invocations?limit={INVOCATIONS}&{query}");
            let answer = client.get(&path).await?.unwrap_or_default();
            let found = list(&answer, "invocations").iter().rev();
            found.map(|run| text(run, "/id").to_owned()).collect()
        }
    };
    let mut lines = Vec::new();
    for id in &ids {
        let run = client.get(&format!("/api/v1/invocations/{}", encoded(id))).await?;
        let Some(run) = run else {
            if args.id.is_some() {
                return Err(no_invocation(id));
            }
            // Forgotten meanwhile.
            continue;
        };
        let function = text(&run, "/function");
        if args.function.as_deref().is_some_and(|wanted| wanted != function) {
            continue;
        }
        for line in list(&run, "logs") {
            let mut line = line.clone();
            if let (Some(line), Value::Object(more)) =
                (line.as_object_mut(), json!({ "invocation": id, "function": function }))
            {
                line.extend(more);
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

async fn follow(client: &Client, args: &LogsArgs) -> Result<Done, Fault> {
    let mut query = Vec::new();
    for (name, value) in [("function", &args.function), ("invocation", &args.id)] {
        if let Some(value) = value {
            query.push(format!("{name}={}", encoded(value)));
        }
    }
    let path = format!("/api/v1/logs?{}", query.join("&"));
    let events = client.events(&path).await;
    let mut events = events.map_err(|fault| match (&args.id, fault.code) {
        (Some(id), client::NOT_THERE) => no_invocation(id),
        _ => fault,
    })?;
    // Of one invocation also what it wrote before; what ends between is not shown twice.
    let mut shown = HashSet::new();
    if args.id.is_some() {
        for line in written(client, args).await? {
            if !out_live(&render(&line, args))? {
                return Ok(Done::Well);
            }
            shown.insert(mark(&line));
        }
    }
    loop {
        let (_, line) = events.next().await?;
        if !shown.contains(&mark(&line)) && !out_live(&render(&line, args))? {
            return Ok(Done::Well);
        }
    }
}

fn mark(line: &Value) -> String {
    format!("{} {}", text(line, "/time"), text(line, "/text"))
}

fn render(line: &Value, args: &LogsArgs) -> String {
    if args.remote.server.json {
        return format!("{line}\n");
    }
    let (time, words) = (moment(line, "/time"), printable(text(line, "/text")));
    let source = text(line, "/source");
    if args.id.is_some() {
        return format!("{time} {source:<6} {words}\n");
    }
    format!(
        "{time} {} {} {source:<6} {words}\n",
        text(line, "/function"),
        text(line, "/invocation")
    )
}

pub(crate) fn no_invocation(id: &str) -> Fault {
    Fault::new(
        client::NOT_THERE,
        format!("there is no invocation {id:?}"),
        "`backlot runs` lists their ids",
    )
}
