//! What is in quarantine: objects that a function found invalid and put away.
//!
//! Each has an entry, `entries/ID` in [`QUARANTINE_BUCKET`], where ID is the object's `content_id`.
//! Either the object was moved, to `objects/ID` beside the entry, or it was left in its place with
//! the tag [`QUARANTINE_TAG`], for which the front doors do not serve it. The entry goes last, so
//! that whatever is broken off can be done again.

use backlot_ledger::objects::{Origin, Tagging};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::Result;
use crate::{
    Conditions, Copy, Delete, EtagMatch, LIST_MAX, ListQuery, MetadataDirective, ObjectRef, Pairs,
    QUARANTINE_TAG, RESERVED_TAG_PREFIX, SourceConditions, Store, StoreError, TagDirective,
};

/// Where entries and moved objects are.
pub const QUARANTINE_BUCKET: &str = "quarantine";
/// Tag of what was released: by whom. It is not judged again.
pub const RELEASED_TAG: &str = "backlot:released";
/// Prefix of the entries' keys.
const ENTRIES: &str = "entries/";
/// Largest entry that is read, in bytes: the longest key is 1 KiB.
const ENTRY_BYTES_MAX: u64 = 256 << 10;
/// Entries that are read at once for a list.
const READ_AT_ONCE: usize = 16;

/// One object in quarantine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: String,
    /// Unique to its bytes; the id of the entry.
    pub content_id: String,
    /// Where it is now.
    pub became: Place,
    /// What was found, for people.
    #[serde(flatten)]
    pub found: Map<String, Value>,
}

/// Where an object in quarantine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Where it was, and it is not served.
    Denied,
    /// In the quarantine bucket.
    Moved,
}

/// A page of what is in quarantine, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantinePage {
    /// The objects.
    pub objects: Vec<Quarantined>,
    /// If there is more: the id to go on after.
    pub next: Option<String>,
}

/// An object that was released: the version that it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Released {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: String,
    /// Unique to its bytes in this place.
    pub content_id: String,
}

impl Store {
    /// A page of what is in quarantine; `limit` above [`LIST_MAX`] is cut to it. An entry that
    /// cannot be read is left out and told of in the log.
    pub async fn quarantine(&self, after: Option<&str>, limit: u32) -> Result<QuarantinePage> {
        let query = ListQuery {
            bucket: QUARANTINE_BUCKET.to_owned(),
            prefix: ENTRIES.to_owned(),
            delimiter: None,
            after: after.map(entry_key),
            limit: limit.min(LIST_MAX),
        };
        let page = match self.list(query).await {
            // Nothing was ever validated here.
            Err(StoreError::NoSuchBucket(_)) => return Ok(QuarantinePage::empty()),
            page => page?,
        };
        let ids = page.objects.iter().filter_map(|entry| entry.key.strip_prefix(ENTRIES));
        let ids: Vec<String> = ids.map(str::to_owned).collect();
        let next = page.next.and(ids.last().cloned());
        let read = async |id: String| (self.quarantined(&id).await, id);
        let mut objects = Vec::with_capacity(ids.len());
        let mut found = futures::stream::iter(ids).map(read).buffered(READ_AT_ONCE);
        while let Some((entry, id)) = found.next().await {
            match entry {
                Ok(entry) => objects.push(entry),
                // Released or dropped meanwhile.
                Err(StoreError::NotFound(_)) => {}
                Err(StoreError::Invalid(reason)) => tracing::error!(id, reason, "not shown"),
                Err(err) => return Err(err),
            }
        }
        Ok(QuarantinePage { objects, next })
    }

    /// One object in quarantine.
    ///
    /// # Errors
    /// `NotFound` if there is none of that id, `Invalid` if its entry is none.
    pub async fn quarantined(&self, id: &str) -> Result<Quarantined> {
        let missing = || StoreError::NotFound(id.to_owned());
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let reader = match self.open_object(QUARANTINE_BUCKET, &entry_key(id), None).await {
            Err(
                StoreError::NoSuchBucket(_)
                | StoreError::NotFound(_)
                | StoreError::DeleteMarker { .. },
            ) => return Err(missing()),
            reader => reader?,
        };
        let size = reader.info().size;
        crate::limits::at_most("bytes of an entry", size, ENTRY_BYTES_MAX)?;
        let bytes = reader.read_at(0, usize::try_from(size).unwrap_or(usize::MAX)).await?;
        let entry: Quarantined = serde_json::from_slice(&bytes)
            .map_err(|err| StoreError::Invalid(format!("{id} is no entry: {err}")))?;
        if entry.content_id == id { Ok(entry) } else { Err(missing()) }
    }

    /// Lets an object out of quarantine: its bytes, content headers, metadata and tags are as they
    /// were. With `replace` also where there is another object under its key now.
    ///
    /// # Errors
    /// `NotFound` if there is none of that id, or if it was left in its place and is not there any
    /// more; `PreconditionFailed` if there is another object under its key.
    pub async fn release(&self, id: &str, by: &str, replace: bool) -> Result<Released> {
        let entry = self.quarantined(id).await?;
        let released = match entry.became {
            Place::Denied => self.serve_again(&entry, by).await?,
            Place::Moved => self.move_back(&entry, by, replace).await?,
        };
        if entry.became == Place::Moved {
            self.remove(QUARANTINE_BUCKET, moved_key(id), by).await?;
        }
        Ok(released)
    }

    /// Forgets that an object was in quarantine, once it was released and told of.
    pub async fn forget_quarantined(&self, id: &str, by: &str) -> Result<()> {
        self.remove(QUARANTINE_BUCKET, entry_key(id), by).await
    }

    /// Deletes an object that is in quarantine, for good.
    ///
    /// # Errors
    /// `NotFound` if there is none of that id.
    pub async fn drop_quarantined(&self, id: &str, by: &str) -> Result<()> {
        let entry = self.quarantined(id).await?;
        match entry.became {
            Place::Denied => {
                // Only these bytes, and only while they are denied: another upload under the key
                // stays, and so does what was released.
                let object = ObjectRef {
                    bucket: entry.bucket.clone(),
                    key: entry.key.clone(),
                    version: Some(entry.version.clone()),
                };
                let is_denied = match self.tags(&object).await {
                    Ok((_, tags)) => tags.contains_key(QUARANTINE_TAG),
                    Err(_) => false,
                };
                if !is_denied {
                    return self.forget_quarantined(id, by).await;
                }
                let delete = Delete {
                    bucket: entry.bucket,
                    key: entry.key,
                    version: Some(entry.version),
                    content_id: Some(entry.content_id),
                    principal: by.to_owned(),
                    ..Delete::default()
                };
                match self.delete(delete).await {
                    Ok(_) | Err(StoreError::NoSuchBucket(_)) => {}
                    Err(err) => return Err(err),
                }
            }
            Place::Moved => self.remove(QUARANTINE_BUCKET, moved_key(id), by).await?,
        }
        self.forget_quarantined(id, by).await
    }

    async fn serve_again(&self, entry: &Quarantined, by: &str) -> Result<Released> {
        let Quarantined { bucket, key, version, content_id, .. } = entry.clone();
        let object = ObjectRef { bucket, key, version: Some(version) };
        let tags = self.tags(&object).await?.1;
        let judged = tags.into_keys().filter(|name| name.starts_with(RESERVED_TAG_PREFIX));
        let tagging = Tagging {
            object,
            content_id,
            set: Pairs::from([(RELEASED_TAG.to_owned(), by.to_owned())]),
            remove: judged.chain([QUARANTINE_TAG.to_owned()]).collect(),
            origin: Origin { effect: None, principal: by.to_owned() },
        };
        self.tag(tagging).await?;
        Ok(released(entry, entry.version.clone(), entry.content_id.clone()))
    }

    async fn move_back(&self, entry: &Quarantined, by: &str, replace: bool) -> Result<Released> {
        let source = ObjectRef::current(QUARANTINE_BUCKET, moved_key(&entry.content_id));
        let moved = match self.head(&source.bucket, &source.key, None).await {
            // An earlier release got as far as to remove it.
            Err(StoreError::NotFound(_)) => return self.moved_back(entry).await,
            moved => moved?,
        };
        let mut tags = moved.tags;
        tags.retain(|name, _| !name.starts_with(RESERVED_TAG_PREFIX));
        tags.insert(RELEASED_TAG.to_owned(), by.to_owned());
        let copy = Copy {
            source,
            source_conditions: SourceConditions {
                content_id: Some(moved.content_id),
                ..SourceConditions::default()
            },
            bucket: entry.bucket.clone(),
            key: entry.key.clone(),
            metadata: MetadataDirective::Copy,
            tags: TagDirective::Replace(tags),
            conditions: Conditions {
                if_none_match: (!replace).then_some(EtagMatch::Any),
                ..Conditions::default()
            },
            checksum: None,
            effect: None,
            principal: by.to_owned(),
        };
        match self.copy(copy).await {
            Ok(info) => Ok(released(entry, info.version_id, info.content_id)),
            // It may be what an earlier release put there.
            Err(StoreError::PreconditionFailed { condition }) => {
                let there = self.head(&entry.bucket, &entry.key, None).await?;
                if there.etag == moved.etag && there.tags.contains_key(RELEASED_TAG) {
                    return Ok(released(entry, there.version_id, there.content_id));
                }
                Err(StoreError::PreconditionFailed { condition })
            }
            Err(err) => Err(err),
        }
    }

    async fn moved_back(&self, entry: &Quarantined) -> Result<Released> {
        let there = self.head(&entry.bucket, &entry.key, None).await?;
        if there.tags.contains_key(RELEASED_TAG) {
            return Ok(released(entry, there.version_id, there.content_id));
        }
        Err(StoreError::NotFound(entry.key.clone()))
    }

    async fn remove(&self, bucket: &str, key: String, by: &str) -> Result<()> {
        let delete = Delete {
            bucket: bucket.to_owned(),
            key,
            principal: by.to_owned(),
            ..Delete::default()
        };
        self.delete(delete).await.map(drop)
    }
}

impl QuarantinePage {
    fn empty() -> Self {
        Self { objects: Vec::new(), next: None }
    }
}

fn released(entry: &Quarantined, version: String, content_id: String) -> Released {
    Released { bucket: entry.bucket.clone(), key: entry.key.clone(), version, content_id }
}

fn entry_key(id: &str) -> String {
    format!("{ENTRIES}{id}")
}

fn moved_key(id: &str) -> String {
    format!("objects/{id}")
}
