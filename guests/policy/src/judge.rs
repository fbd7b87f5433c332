//! From what the walkers found to a verdict.

use backlot_formats::{Declared, Report, Verdict as Walked};

use crate::{ContentTypeRule, ExtensionRule, Policy, TrailingRule, UnknownRule, Verdict};

/// Media type of the empty objects that clients make for folders.
const FOLDER_TYPE: &str = "application/x-directory";

impl Policy {
    /// The verdict about an object that need not be read, if that is so.
    #[must_use]
    pub fn judge_unread(&self, declared: &Declared, len: u64) -> Option<Verdict> {
        let folder = declared.name.as_deref().is_some_and(|key| key.ends_with('/'))
            || declared.media_type().as_deref() == Some(FOLDER_TYPE);
        if len == 0 && folder {
            return Some(Verdict::Skipped { why: "it stands for a folder".to_owned() });
        }
        if len < self.bytes_min {
            let least = self.bytes_min;
            return Some(invalid(None, 0, format!("{len} bytes, the bucket's least is {least}")));
        }
        if let Some(most) = self.bytes_max.filter(|most| *most < len) {
            return Some(invalid(None, 0, format!("{len} bytes, the bucket's most is {most}")));
        }
        (len == 0).then(|| Verdict::Skipped { why: "it is empty".to_owned() })
    }

    /// The verdict about an object that was walked.
    #[must_use]
    pub fn judge(&self, declared: &Declared, report: &Report) -> Verdict {
        let format = report.format().map(|format| format.name().to_owned());
        if let Walked::Invalid { offset, what, .. } = &report.verdict {
            return invalid(format, *offset, what.clone());
        }
        if !self.types.is_empty() && report.format().is_none_or(|format| !self.allows(format)) {
            let found = format.as_deref().unwrap_or("of no known format");
            let allowed = self.types.join(", ");
            let what = format!("it is {found}, and the bucket takes only {allowed}");
            return invalid(format, 0, what);
        }
        if let Some(what) = self.disagreement(declared, report) {
            return invalid(format, 0, what);
        }
        match &report.verdict {
            Walked::Unsupported { offset, what, .. } => match self.unknown {
                UnknownRule::Refuse => {
                    let what = format!("it cannot be checked: {what}");
                    invalid(format, *offset, what)
                }
                UnknownRule::Accept | UnknownRule::Leave => {
                    Verdict::Unsupported { format, at: *offset, what: what.clone() }
                }
            },
            Walked::Valid { format, facts } => match report.trailing {
                Some(trailing) if self.trailing == TrailingRule::Refuse => {
                    let what = report.complaint().unwrap_or_default();
                    invalid(Some(format.name().to_owned()), trailing.offset, what)
                }
                _ => {
                    let facts =
                        facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                    Verdict::Valid { format: format.name().to_owned(), facts: facts.collect() }
                }
            },
            Walked::Invalid { offset, what, .. } => invalid(format, *offset, what.clone()),
        }
    }

    /// What was declared that is not so.
    fn disagreement(&self, declared: &Declared, report: &Report) -> Option<String> {
        let found = report.format()?;
        let counts = |by: &str| match by {
            "extension" => self.extension != ExtensionRule::Any,
            _ => self.content_type != ContentTypeRule::Any,
        };
        if let Some(wrong) = report.disagreements.iter().find(|wrong| counts(wrong.by)) {
            return Some(format!("the {} {} does not mean {found}", wrong.by, wrong.declared));
        }
        let says = |word: String| found.lineage().any(|one| one.extensions().any(|it| it == word));
        let required = self.extension == ExtensionRule::Require;
        (required && !declared.extension().is_some_and(says))
            .then(|| format!("it is {found}, and its name has no extension that says so"))
    }
}

fn invalid(format: Option<String>, at: u64, what: String) -> Verdict {
    Verdict::Invalid { format, at, what }
}

#[cfg(test)]
mod tests {
    use backlot_formats::{Limits, validate};

    use super::*;
    use crate::PolicyError;

    const JSON: &[u8] = b"{\"a\": 1}\n";

    /// The verdict about a file under a policy written as in the configuration, in short.
    fn verdict(policy: &str, name: &str, content_type: &str, bytes: &[u8]) -> String {
        let mut fields: serde_json::Value = serde_json::from_str(policy).unwrap();
        fields["bucket"] = "b".into();
        let policy: Policy = serde_json::from_value(fields).unwrap();
        policy.check().unwrap();
        let declared = Declared {
            name: Some(name.to_owned()),
            content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
        };
        let bytes = bytes.to_vec();
        let unread = policy.judge_unread(&declared, bytes.len() as u64);
        let verdict = unread.unwrap_or_else(|| {
            policy.judge(&declared, &validate(&bytes, &declared, &Limits::default()).unwrap())
        });
        let name = verdict.name();
        match verdict {
            Verdict::Valid { format, .. } => format!("{name} {format}"),
            Verdict::Invalid { what, .. } | Verdict::Unsupported { what, .. } => {
                format!("{name} {what}")
            }
            Verdict::Skipped { why } => format!("{name} {why}"),
        }
    }

    #[test]
    fn a_policy_decides_what_a_bucket_takes() {
        let gif = b"GIF89a\x01\0\x01\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3B";
        for (policy, name, content_type, bytes, wanted) in [
            ("{}", "a.json", "application/json", JSON, "valid JSON"),
            ("{}", "a", "", JSON, "valid JSON"),
            ("{}", "a.pdf", "", JSON, "invalid the extension pdf does not mean JSON"),
            ("{\"extension\": \"any\"}", "a.pdf", "", JSON, "valid JSON"),
            (
                "{\"extension\": \"require\"}",
                "a.x",
                "",
                JSON,
                "invalid it is JSON, and its name has no extension that says so",
            ),
            ("{}", "a", "image/png", JSON, "invalid the content type image/png does not mean JSON"),
            ("{\"content_type\": \"any\"}", "a", "image/png", JSON, "valid JSON"),
            (
                "{\"types\": [\"image/*\", \"pdf\"]}",
                "a",
                "",
                JSON,
                "invalid it is JSON, and the bucket takes only image/*, pdf",
            ),
            ("{\"types\": [\"txt\"]}", "a.json", "", JSON, "valid JSON"),
            ("{\"types\": [\"image/*\"]}", "a.gif", "", gif, "valid GIF"),
            ("{\"bytes_max\": 3}", "a", "", JSON, "invalid 9 bytes, the bucket's most is 3"),
            ("{\"bytes_min\": 30}", "a", "", JSON, "invalid 9 bytes, the bucket's least is 30"),
            ("{}", "a/", "", b"", "skipped it stands for a folder"),
            ("{}", "a", "", b"", "skipped it is empty"),
            (
                "{}",
                "a",
                "",
                b"\x93\x01\x02\0\xFF",
                "unsupported no known format begins like this, and it is not text",
            ),
            (
                "{\"unknown\": \"refuse\"}",
                "a",
                "",
                b"\x93\x01\x02\0\xFF",
                "invalid it cannot be checked: no known format begins like this, and it is not text",
            ),
        ] {
            assert_eq!(verdict(policy, name, content_type, bytes), wanted, "{policy} {name}");
        }
        let mut polyglot = gif.to_vec();
        polyglot.extend_from_slice(b"<script>alert(1)</script>");
        let refused = verdict("{}", "a.gif", "", &polyglot);
        assert!(refused.starts_with("invalid 25 bytes follow the end"), "{refused}");
        let allowed = verdict("{\"trailing\": \"allow\"}", "a.gif", "", &polyglot);
        assert_eq!(allowed, "valid GIF");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let policy = |change: fn(&mut Policy)| {
            let mut policy = Policy::of("b");
            change(&mut policy);
            policy.check().unwrap_err()
        };
        let unknown = policy(|policy| policy.types = vec!["pfd".to_owned()]);
        assert_eq!(unknown, PolicyError::UnknownType("pfd".to_owned()));
        let crossed = policy(|policy| {
            policy.bytes_min = 9;
            policy.bytes_max = Some(8);
        });
        assert_eq!(crossed.to_string(), "bytes_max is 8, must be at least 9");
    }

    #[test]
    fn another_policy_has_another_digest() {
        let (one, mut other) = (Policy::of("b"), Policy::of("b"));
        assert_eq!(one.digest(), other.digest());
        other.unknown = UnknownRule::Refuse;
        assert_ne!(one.digest(), other.digest());
    }
}
