//! `backlot config show`: every value and where it comes from. Secrets are not shown.

use serde_json::json;

use super::keys::{KEYS, Kind};
use super::load;
use crate::cli::{ConfigArgs, ConfigVerb};
use crate::fault::Fault;
use crate::{Done, out};

pub(crate) fn run(args: ConfigArgs) -> Result<Done, Fault> {
    let ConfigVerb::Show { flags } = args.verb;
    let loaded = load(&flags)?;
    let mut text = String::new();
    for (key, (path, value, origin)) in KEYS.iter().zip(&loaded.values) {
        if args.json {
            let line = json!({
                "key": path, "value": value, "origin": origin.to_string(),
                "env": key.variable(), "allowed": allowed(&key.kind), "doc": key.doc,
            });
            text.push_str(&format!("{line}\n"));
        } else {
            let value = value.as_ref().map_or_else(|| "(unset)".to_owned(), ToString::to_string);
            text.push_str(&format!(
                "{:<46} # {origin}; {}\n",
                format!("{path} = {value}"),
                key.doc
            ));
        }
    }
    for user in &loaded.config.users {
        let buckets = user.buckets.as_ref().map(|list| {
            list.iter().map(|rule| rule.bucket.as_str()).collect::<Vec<_>>().join(", ")
        });
        let buckets = buckets.unwrap_or_else(|| "all".to_owned());
        if args.json {
            let line = json!({
                "key": "users", "value": { "name": user.name, "access_key": user.access_key },
                "buckets": buckets,
            });
            text.push_str(&format!("{line}\n"));
        } else {
            let line = format!("users: {} ({})", user.name, user.access_key);
            text.push_str(&format!("{line:<46} # buckets: {buckets}\n"));
        }
    }
    out(&text)
}

fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(range) => format!("{} to {}", range.start(), range.end()),
        Kind::Choice(choices) => choices.join(", "),
    }
}
