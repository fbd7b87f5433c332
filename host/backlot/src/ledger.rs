//! `backlot ledger check`: whether what must not be lost is whole.

use backlot_ledger::{Checked, LedgerError};
use serde_json::json;

use crate::cli::{LedgerArgs, LedgerVerb};
use crate::fault::Fault;
use crate::{Done, config, node, out};

pub(crate) fn run(args: &LedgerArgs) -> Result<Done, Fault> {
    let LedgerVerb::Check { flags } = &args.verb;
    let data = config::load(flags)?.config.data;
    let checked = backlot_ledger::check(&data).map_err(|err| match err {
        LedgerError::Io { path, source } => Fault::new(
            "E0204",
            format!("there is no ledger to check: {}: {source}", path.display()),
            "name the server's data folder with --data",
        ),
        err => node::internal("checking the ledger", &err),
    })?;
    let Checked { findings, invocations, versions } = &checked;
    let text = if args.json {
        let answer =
            json!({ "findings": findings, "invocations": invocations, "versions": versions });
        format!("{answer}\n")
    } else if findings.is_empty() {
        format!("whole: {invocations} invocations, {versions} versions of objects\n")
    } else {
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    };
    out(&text)?;
    Ok(if findings.is_empty() { Done::Well } else { Done::SomeFailed })
}
