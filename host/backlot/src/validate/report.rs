//! What was found, for people and for programs.

use serde_json::Value;

use crate::answers::{list, number, printable, text};
use crate::fault::Fault;
use crate::{Done, out};

/// Prints an answer; the exit code says whether it is valid.
pub(super) fn print(answer: &Value, quiet: bool, as_json: bool) -> Result<Done, Fault> {
    let printed = if as_json {
        let mut answer = answer.clone();
        if let (true, Some(answer)) = (quiet, answer.as_object_mut()) {
            answer.remove("walk");
            answer.remove("omitted");
        }
        format!("{answer}\n")
    } else {
        people(answer, quiet)
    };
    out(&printed)?;
    Ok(if text(answer, "/verdict") == "valid" { Done::Well } else { Done::SomeFailed })
}

fn people(answer: &Value, quiet: bool) -> String {
    let mut lines = String::new();
    if !quiet {
        for one in list(answer, "walk") {
            let indent = usize::try_from(number(one, "/depth")).unwrap_or(0) * 2;
            let mark =
                if one.get("checksum") == Some(&Value::Bool(true)) { " (checksum)" } else { "" };
            lines.push_str(&format!(
                "{:>14} {:>14}  {:indent$}{}{mark}\n",
                number(one, "/offset"),
                number(one, "/bytes"),
                "",
                printable(text(one, "/name")),
            ));
        }
        let omitted = number(answer, "/omitted");
        if 0 < omitted {
            lines.push_str(&format!("{:>29}  and {omitted} more\n", ""));
        }
    }
    lines.push_str(&verdict(answer));
    for (name, value) in answer.get("facts").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        lines.push_str(&format!("  {}: {}\n", printable(name), printable(value)));
    }
    let record = text(answer, "/record/verdict");
    if !record.is_empty() {
        let became = text(answer, "/record/became");
        lines.push_str(&format!("  on record: {record}, {became}\n"));
    }
    lines
}

/// `invalid: PNG, byte 41: the checksum is wrong`.
fn verdict(answer: &Value) -> String {
    let format = printable(text(answer, "/format"));
    let reason = match text(answer, "/why") {
        "" => text(answer, "/what"),
        why => why,
    };
    let mut parts = Vec::new();
    if !format.is_empty() {
        parts.push(format);
    }
    let at = number(answer, "/where");
    if 0 < at {
        parts.push(format!("byte {at}"));
    }
    let mut line = format!("{}: {}", text(answer, "/verdict"), parts.join(", "));
    if !reason.is_empty() {
        let separator = if parts.is_empty() { "" } else { ": " };
        line.push_str(&format!("{separator}{}", printable(reason)));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_is_one_line_whatever_is_known() {
        for (answer, wanted) in [
            (json!({ "verdict": "valid", "format": "PNG" }), "valid: PNG\n"),
            (
                json!({ "verdict": "invalid", "format": "PNG", "where": 41, "what": "it ends" }),
                "invalid: PNG, byte 41: it ends\n",
            ),
            (
                json!({ "verdict": "unsupported", "format": null, "where": 0, "what": "a\nb" }),
                "unsupported: a\u{fffd}b\n",
            ),
            (json!({ "verdict": "skipped", "why": "it is empty" }), "skipped: it is empty\n"),
        ] {
            assert_eq!(verdict(&answer), wanted);
        }
    }
}
