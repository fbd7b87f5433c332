//! `backlot tokens` and `backlot audit`: who may use a server's API, and who changed what by it.

use http::Method;
use serde_json::json;

use crate::answers::{list, moment, printable, short, text};
use crate::cli::{AuditArgs, TokensArgs, TokensVerb};
use crate::client::{self, Client, encoded};
use crate::fault::Fault;
use crate::{Done, out};

/// Widest outcome in a table, in characters.
const OUTCOME_CHARS_MAX: usize = 80;

pub(crate) fn run(args: TokensArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let as_json = args.remote.server.json;
    match args.verb {
        TokensVerb::Create { name, scope, days } => {
            let body = json!({ "name": name, "scope": scope.name(), "days": days });
            let made = client.change(Method::POST, "/api/v1/tokens", Some(&body));
            let made = client::block_on(made)?;
            if as_json {
                return out(&format!("{made}\n"));
            }
            eprintln!("this is shown once; give it to BACKLOT_TOKEN or --token:");
            out(&format!("{}\n", text(&made, "/token")))
        }
        TokensVerb::List => {
            let answer = client::block_on(client.get_with_token("/api/v1/tokens"))?;
            let tokens = list(&answer, "tokens");
            if as_json {
                return out(&tokens.iter().map(|token| format!("{token}\n")).collect::<String>());
            }
            let mut table = format!(
                "{:<24} {:<7} {:<19}  {:<19}  {}\n",
                "NAME", "SCOPE", "CREATED", "EXPIRES", "BY"
            );
            table.extend(tokens.iter().map(|token| {
                format!(
                    "{:<24} {:<7} {:<19}  {:<19}  {}\n",
                    printable(text(token, "/name")),
                    text(token, "/scope"),
                    moment(token, "/created_at"),
                    moment(token, "/expires_at"),
                    printable(text(token, "/created_by")),
                )
            }));
            out(&table)
        }
        TokensVerb::Revoke { name } => {
            let path = format!("/api/v1/tokens/{}", encoded(&name));
            let answer = client::block_on(client.change(Method::DELETE, &path, None))?;
            out(&if as_json { format!("{answer}\n") } else { format!("{name} is revoked\n") })
        }
    }
}

pub(crate) fn audit(args: AuditArgs) -> Result<Done, Fault> {
    let client = Client::new(&args.remote)?;
    let path = format!("/api/v1/audit?limit={}", args.limit);
    let answer = client::block_on(client.get_with_token(&path))?;
    let lines = list(&answer, "audit");
    if args.remote.server.json {
        return out(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    let mut table =
        format!("{:<19}  {:<16} {:<20} {:<20} {}\n", "WHEN", "WHO", "WHAT", "OF", "OUTCOME");
    table.extend(lines.iter().map(|line| {
        format!(
            "{:<19}  {:<16} {:<20} {:<20} {}\n",
            moment(line, "/time"),
            printable(text(line, "/who")),
            text(line, "/action"),
            line.get("subject").map(|subject| short(subject, 20)).unwrap_or_default(),
            line.get("outcome").map(|out| short(out, OUTCOME_CHARS_MAX)).unwrap_or_default(),
        )
    }));
    out(&table)
}
