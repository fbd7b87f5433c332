//! Names of what is stored: content ids, builds, keys.

use sha2::{Digest, Sha256};

/// The bucket that films are published in.
pub const CONTENT_BUCKET: &str = "content";
/// Longest readable part of a content id, in bytes.
const SLUG_BYTES_MAX: usize = 60;

/// The id of what is made of an upload: readable, and unique to bucket and key.
pub fn content_id(bucket: &str, key: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{bucket}/{key}")));
    let mut slug = String::new();
    for c in title(key).chars().flat_map(char::to_lowercase) {
        if SLUG_BYTES_MAX <= slug.len() {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "film" } else { slug };
    format!("{slug}-{}", digest.get(..10).unwrap_or(&digest))
}

/// The file name of a key without its extension.
pub fn title(key: &str) -> &str {
    let name = key.trim_end_matches('/').rsplit('/').next().unwrap_or(key);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// A language as playlists may write it (RFC 5646, section 2.1): letters and digits in groups of
/// up to eight. `und` says nothing, and neither does what is no tag at all.
pub fn language_tag(language: &str) -> Option<String> {
    let mut groups = language.split('-');
    let first = groups.next().unwrap_or_default();
    let is_language = (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && first != "und";
    let are_subtags = groups.all(|group| {
        (1..=8).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    (is_language && are_subtags).then(|| language.to_owned())
}

/// A name of 16 hexadecimal digits for whatever these facts decide.
pub fn digest(facts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for fact in facts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((fact.len() as u64).to_be_bytes());
        hash.update(fact);
    }
    hex::encode(hash.finalize()).get(..16).unwrap_or_default().to_owned()
}

/// Keys of one film in the content bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The content id.
    pub id: String,
    /// The build.
    pub build: String,
}

impl Keys {
    /// Where everything of this content is.
    pub fn content_prefix(&self) -> String {
        format!("{}/", self.id)
    }

    /// The pointer to the published build.
    pub fn pointer(&self) -> String {
        format!("{}/content.json", self.id)
    }

    /// Where everything of this build is.
    pub fn build_prefix(&self) -> String {
        format!("{}/{}/", self.id, self.build)
    }

    /// Where what is not published of this build is.
    pub fn work_prefix(&self) -> String {
        format!("{}/{}/work/", self.id, self.build)
    }

    /// A published file of this build.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.id, self.build)
    }

    /// A file of this build that is not published.
    pub fn work(&self, name: &str) -> String {
        format!("{}/{}/work/{name}", self.id, self.build)
    }
}

/// The build that a key of this content belongs to, if it belongs to one.
pub fn build_of<'a>(id: &str, key: &'a str) -> Option<&'a str> {
    let (build, _) = key.strip_prefix(id)?.strip_prefix('/')?.split_once('/')?;
    Some(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_readable_and_unique_to_bucket_and_key() {
        assert_eq!(content_id("uploads", "films/Big Buck (1).mp4"), "big-buck-1-dba7968d6a");
        assert_ne!(content_id("a", "b/c.mp4"), content_id("a", "d/c.mp4"));
        assert!(content_id("a", "日本.mp4").starts_with("film-"));
        assert!(content_id("a", &"x".repeat(1024)).len() <= SLUG_BYTES_MAX + 11);
        assert_eq!(title("a/.hidden"), ".hidden");
    }

    #[test]
    fn only_language_tags_are_languages() {
        for good in ["eng", "de", "pt-BR", "zh-Hant-TW"] {
            assert_eq!(language_tag(good).as_deref(), Some(good));
        }
        for bad in ["und", "", "e", "1ng", "en_US", "en-", "\"><x", "```", "englishlong"] {
            assert_eq!(language_tag(bad), None, "{bad}");
        }
    }

    #[test]
    fn facts_do_not_run_together() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }

    #[test]
    fn a_key_knows_its_build() {
        assert_eq!(build_of("x", "x/b1/work/p"), Some("b1"));
        assert_eq!(build_of("x", "x/content.json"), None);
        assert_eq!(build_of("x", "xy/b1/p"), None);
    }
}
