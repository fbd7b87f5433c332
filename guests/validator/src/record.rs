//! What is written down: a record of each verdict, an entry for what is in quarantine, and tags.

use backlot_policy::{POLICY_TAG, Policy, VERDICT_TAG, Verdict};
use backlot_sdk::objects::{self, Pinned, WriteOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::Fault;

/// The validator's own bucket.
pub const OWN_BUCKET: &str = "validator";
/// Bucket of what is in quarantine.
pub const QUARANTINE_BUCKET: &str = "quarantine";
/// Tag: under which id it is in quarantine. S3 clients cannot read what has it.
pub const QUARANTINE_TAG: &str = "backlot:quarantine";
/// Tag: which operator released it from quarantine.
pub const RELEASED_TAG: &str = "backlot:released";

/// Longest key of an object (S3's).
const KEY_BYTES_MAX: usize = 1_024;
/// Largest record that is read back.
const RECORD_BYTES_MAX: u32 = 256 << 10;

/// A quarantine that is not there says nothing about the object.
pub fn quarantine_fault(error: objects::Error) -> Fault {
    match error {
        objects::Error::NoSuchBucket => {
            let text = format!("the bucket {QUARANTINE_BUCKET:?} is missing: make it again");
            Fault::Passing(text)
        }
        error => error.into(),
    }
}

/// What was found about one object, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version.
    pub version: String,
    /// Unique to these bytes in this place.
    pub content_id: String,
    /// Size in bytes.
    pub size: u64,
    /// What is said of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the virus scanner said, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<String>,
    /// What became of it.
    pub became: Became,
    /// Digest of the policy.
    pub policy: String,
    /// When the event was accepted that led to this, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// It stays as it is.
    Kept,
    /// It stays where it is, and is not served.
    Denied,
    /// It is in the quarantine bucket.
    Moved,
}

impl Record {
    /// Writes it; a record about the same key is replaced, unless it is of newer bytes.
    pub fn write(&self) -> Result<(), Fault> {
        // Content ids are in the order of time.
        let there = Self::read(&self.bucket, &self.key)?;
        if there.is_some_and(|there| self.content_id < there.content_id) {
            return Ok(());
        }
        let key = key_of(&self.bucket, &self.key);
        put(OWN_BUCKET, &key, &serde_json::to_vec(self)?, false).map_err(Fault::from)
    }

    /// The record about a key, if there is one that can be read.
    pub fn read(bucket: &str, key: &str) -> Result<Option<Self>, Fault> {
        let reader = match objects::open(OWN_BUCKET, &key_of(bucket, key), None) {
            Ok(reader) => reader,
            Err(objects::Error::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(serde_json::from_slice(&reader.read(0, RECORD_BYTES_MAX)?).ok())
    }

    /// Removes the record about a key.
    pub fn remove(bucket: &str, key: &str) -> Result<(), Fault> {
        Ok(objects::delete(OWN_BUCKET, &key_of(bucket, key))?)
    }

    /// Where it is listed while it is in quarantine.
    pub fn entry_key(&self) -> String {
        format!("entries/{}", self.content_id)
    }

    /// Where its bytes are, if they were moved.
    pub fn moved_key(&self) -> String {
        format!("objects/{}", self.content_id)
    }

    /// Lists it as one in quarantine; false where it is listed already.
    pub fn enter(&self) -> Result<bool, Fault> {
        match put(QUARANTINE_BUCKET, &self.entry_key(), &serde_json::to_vec(self)?, true) {
            Ok(()) => Ok(true),
            Err(objects::Error::PreconditionFailed) => Ok(false),
            Err(error) => Err(quarantine_fault(error)),
        }
    }

    /// Lists it as it is now, whatever its entry said before.
    pub fn enter_again(&self) -> Result<(), Fault> {
        put(QUARANTINE_BUCKET, &self.entry_key(), &serde_json::to_vec(self)?, false)
            .map_err(quarantine_fault)
    }

    /// Lists it no more.
    pub fn leave(&self) -> Result<(), Fault> {
        objects::delete(QUARANTINE_BUCKET, &self.entry_key()).map_err(quarantine_fault)
    }

    /// Its tags.
    pub fn tags(&self) -> Vec<(String, String)> {
        let mut tags = vec![
            (VERDICT_TAG.to_owned(), self.verdict.name().to_owned()),
            (POLICY_TAG.to_owned(), self.policy.clone()),
        ];
        if self.became == Became::Denied {
            tags.push((QUARANTINE_TAG.to_owned(), self.content_id.clone()));
        }
        tags
    }
}

/// Whether a version was judged under this policy; its tags cannot be changed by S3 clients.
pub fn is_judged(policy: &Policy, tags: &[(String, String)]) -> bool {
    tag(tags, POLICY_TAG) == Some(&policy.digest())
}

/// The value of a tag.
pub fn tag<'a>(tags: &'a [(String, String)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The tags of one version, if it still is those bytes.
pub fn tags_of(object: &Pinned) -> Result<Option<Vec<(String, String)>>, Fault> {
    match objects::tags(&object.bucket, &object.key, Some(&object.version)) {
        Ok(tags) => Ok(Some(tags)),
        Err(objects::Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `verdicts/BUCKET/KEY`; a key that is too long for that goes by its digest.
fn key_of(bucket: &str, key: &str) -> String {
    let plain = format!("verdicts/{bucket}/{key}");
    if plain.len() <= KEY_BYTES_MAX {
        return plain;
    }
    format!("verdicts/{bucket}/sha256-{}", hex::encode(Sha256::digest(key)))
}

/// Writes a whole object of ours.
pub fn put(bucket: &str, key: &str, data: &[u8], only_new: bool) -> Result<(), objects::Error> {
    let options = WriteOptions {
        content_type: Some("application/json".to_owned()),
        metadata: Vec::new(),
        if_match: None,
        if_none_match: only_new,
    };
    let writer = objects::create(bucket, key, &options)?;
    writer.write(data)?;
    writer.finish().map(drop)
}
