//! Tags of objects change. Those whose names begin with [`super::RESERVED_TAG_PREFIX`] are the host's and
//! its functions'; the others the client's.

use super::rows::{find_bucket, resolve, tags_column};
use super::write::{Origin, at_most, record, recorded};
use super::{IndexError, ObjectRef, Pairs, is_reserved_tag};
use crate::Ledger;

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Most tags of an object, and as many reserved ones (S3's).
const TAGS_MAX: usize = 10;

/// Tags of one version that change; the others stay.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// Which.
    pub object: ObjectRef,
    /// Only while it is this content, else it is not found.
    pub content_id: String,
    /// To be there, with these values.
    pub set: Pairs,
    /// Not to be there.
    pub remove: Vec<String>,
    /// On whose behalf.
    pub origin: Origin,
}

impl Ledger {
    /// Replaces the client's tags of an object or version; answers the version's id.
    pub async fn set_object_tags(&self, object: ObjectRef, tags: Pairs) -> Result<String> {
        self.write(move |tx| {
            let bucket = find_bucket(tx.conn(), &object.bucket)?;
            let found = resolve(tx.conn(), &bucket, &object.key, object.version.as_deref())?;
            let mut all = found.info.tags;
            all.retain(|name, _| is_reserved_tag(name));
            all.extend(tags.into_iter().filter(|(name, _)| !is_reserved_tag(name)));
            let sql = "UPDATE versions SET tags = ?2 WHERE seq = ?1";
            tx.execute(sql, (found.seq, tags_column(&all)?))?;
            Ok(found.info.version_id)
        })
        .await
    }

    /// Changes some of the tags of a version, be they reserved or not.
    pub async fn tag_object(&self, tagging: Tagging) -> Result<()> {
        self.write(move |tx| {
            if recorded::<()>(tx, &tagging.origin)?.is_some() {
                return Ok(());
            }
            let object = tagging.object;
            let bucket = find_bucket(tx.conn(), &object.bucket)?;
            let found = resolve(tx.conn(), &bucket, &object.key, object.version.as_deref())?;
            if found.info.content_id != tagging.content_id {
                return Err(IndexError::NotFound(object.key));
            }
            let mut tags = found.info.tags;
            tags.retain(|name, _| !tagging.remove.contains(name));
            tags.extend(tagging.set);
            let reserved = tags.keys().filter(|name| is_reserved_tag(name)).count();
            at_most("tags", (tags.len() - reserved) as u64, TAGS_MAX as u64)?;
            at_most("reserved tags", reserved as u64, TAGS_MAX as u64)?;
            let sql = "UPDATE versions SET tags = ?2 WHERE seq = ?1";
            tx.execute(sql, (found.seq, tags_column(&tags)?))?;
            record(tx, &tagging.origin, &())
        })
        .await
    }
}
