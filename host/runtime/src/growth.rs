//! What a manifest grants beyond another.

use crate::grants::{Access, Grants, StorageGrant};

impl Grants {
    /// What these grants allow and `before` did not, a line each, for people. Empty: nothing.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        // A new kind of grant does not compile before it is compared here.
        let Self { storage, encoding, antivirus, backup, children, publish, http } = self;
        let mut more = Vec::new();
        for grant in storage {
            let access = grant.access.iter().filter(|access| !covered(grant, **access, before));
            more.extend(access.map(|access| {
                let StorageGrant { bucket, prefix, .. } = grant;
                format!("storage: {} {bucket}/{prefix}*", verb(*access))
            }));
        }
        if *encoding && !before.encoding {
            more.push("encoding".to_owned());
        }
        if *antivirus && !before.antivirus {
            more.push("antivirus".to_owned());
        }
        let buckets = backup.iter().filter(|bucket| !before.backup.contains(bucket));
        more.extend(buckets.map(|bucket| format!("backup: {bucket}")));
        let children = children.iter().filter(|child| !before.children.contains(child));
        more.extend(children.map(|child| format!("children: {child}")));
        if *publish && !before.publish {
            more.push("publish".to_owned());
        }
        let hosts = http.iter().filter(|host| !before.http.contains(host));
        more.extend(hosts.map(|host| {
            let private = if host.private() { " (private addresses too)" } else { "" };
            format!("http: {host}{private}")
        }));
        more
    }

    /// These grants without what changes something.
    pub(crate) fn without_effects(&self) -> Self {
        let readable = self.storage.iter().filter(|grant| grant.access.contains(&Access::Read));
        let storage =
            readable.map(|grant| StorageGrant { access: vec![Access::Read], ..grant.clone() });
        Self { storage: storage.collect(), encoding: self.encoding, ..Self::default() }
    }
}

fn covered(grant: &StorageGrant, access: Access, before: &Grants) -> bool {
    before.storage.iter().any(|old| {
        old.bucket == grant.bucket
            && grant.prefix.starts_with(&old.prefix)
            && old.access.contains(&access)
    })
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Tag => "tag",
        Access::Delete => "delete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(toml: &str) -> Grants {
        crate::Manifest::parse(&format!("name = \"f\"\n[grants]\n{toml}")).unwrap().grants
    }

    #[test]
    fn growth_is_what_was_not_allowed_before() {
        let before = grants(
            "storage = [{ bucket = \"a\", prefix = \"in/\", access = [\"read\", \"write\"] }]
             children = [\"c\"]",
        );
        for (after, wanted) in [
            ("", ""),
            ("storage = [{ bucket = \"a\", prefix = \"in/x\", access = [\"read\"] }]", ""),
            (
                "storage = [{ bucket = \"a\", prefix = \"in\", access = [\"read\"] }]",
                "storage: read a/in*",
            ),
            (
                "storage = [{ bucket = \"a\", prefix = \"in/\", access = [\"write\", \"delete\"] }]",
                "storage: delete a/in/*",
            ),
            ("storage = [{ bucket = \"b\", access = [\"read\"] }]", "storage: read b/*"),
            ("children = [\"c\", \"d\"]\npublish = true", "children: d; publish"),
            ("encoding = true", "encoding"),
            ("antivirus = true", "antivirus"),
            ("backup = [\"a\", \"b\"]", "backup: a; backup: b"),
            ("http = [\"a.example\"]", "http: a.example"),
            (
                "http = [{ host = \"a.example:99\", private = true }]",
                "http: a.example:99 (private addresses too)",
            ),
        ] {
            assert_eq!(grants(after).beyond(&before).join("; "), wanted, "{after}");
        }
    }

    #[test]
    fn nothing_that_changes_something_is_left() {
        let all = grants(
            "storage = [{ bucket = \"a\", access = [\"read\", \"write\"] },
                        { bucket = \"b\", access = [\"write\", \"delete\"] }]
             encoding = true
             children = [\"c\"]
             publish = true",
        );
        let wanted = grants("storage = [{ bucket = \"a\", access = [\"read\"] }]\nencoding = true");
        assert_eq!(all.without_effects(), wanted);
    }
}
