//! Host side of `backlot:storage/changes@0.1.0`: the changes that a function may read.

use backlot_bindings::backlot::storage::changes as wit;
use backlot_ledger::objects::{CHANGES_MAX, ChangeKind, ChangesPage, ChangesQuery, ObjectChange};

use super::{Access, Answer, StorageView, convert_error};
use crate::StoreError;

impl wit::Host for StorageView<'_> {
    async fn read(
        &mut self,
        cursor: Option<String>,
        bucket: Option<String>,
        prefix: String,
        limit: u32,
    ) -> Answer<wit::Page> {
        Ok(self.page(cursor, bucket, &prefix, limit).await)
    }

    async fn end(&mut self) -> Answer<String> {
        if let Err(denied) = self.readable(None, "") {
            return Ok(Err(denied));
        }
        let last = self.ctx.store.shared.ledger.last_change().await;
        Ok(last.map(|last| last.to_string()).map_err(|err| convert_error(StoreError::from(err))))
    }
}

impl StorageView<'_> {
    async fn page(
        &mut self,
        cursor: Option<String>,
        bucket: Option<String>,
        prefix: &str,
        limit: u32,
    ) -> Result<wit::Page, wit::Error> {
        let after = match cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| {
                wit::Error::Invalid(format!("{cursor:?} is not a cursor that `read` gave"))
            })?,
        };
        let limit = limit as usize;
        if !(1..=CHANGES_MAX).contains(&limit) {
            let text = format!("limit of {limit} changes, it must be 1 to {CHANGES_MAX}");
            return Err(wit::Error::OverLimit(text));
        }
        let places = self.readable(bucket.as_deref(), prefix)?;
        let query = ChangesQuery { after, places, limit };
        let page = self.ctx.store.shared.ledger.object_changes(query).await;
        let page = page.map_err(|err| convert_error(StoreError::from(err)))?;
        let ChangesPage { changes, next, more, gap } = page;
        let changes = changes.into_iter().map(change).collect();
        Ok(wit::Page { changes, cursor: next.to_string(), more, gap })
    }

    /// The places asked for that may be read.
    fn readable(
        &self,
        bucket: Option<&str>,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, wit::Error> {
        let readable = self.ctx.grants.iter().filter(|grant| {
            grant.access.contains(&Access::Read)
                && bucket.is_none_or(|bucket| grant.bucket == bucket)
        });
        // Of two prefixes one of which begins with the other, the longer is what both allow.
        let places: Vec<_> = readable
            .filter_map(|grant| {
                let longer = if grant.prefix.starts_with(prefix) {
                    grant.prefix.as_str()
                } else {
                    prefix.starts_with(grant.prefix.as_str()).then_some(prefix)?
                };
                Some((grant.bucket.clone(), longer.to_owned()))
            })
            .collect();
        if places.is_empty() {
            let place = bucket.map_or_else(|| "any bucket".into(), |b| format!("bucket {b:?}"));
            let text = format!("no grant to read {prefix:?} in {place}");
            (self.ctx.on_denied)(&text);
            return Err(wit::Error::Denied(text));
        }
        Ok(places)
    }
}

fn change(change: ObjectChange) -> wit::Change {
    wit::Change {
        bucket: change.bucket,
        key: change.key,
        version: change.version_id,
        content_id: change.content_id,
        kind: match change.kind {
            ChangeKind::Created => wit::Kind::Created,
            ChangeKind::Removed => wit::Kind::Removed,
            ChangeKind::VersionRemoved => wit::Kind::VersionRemoved,
        },
        size: change.size,
        etag: change.etag,
        at_ms: u64::try_from(change.at.as_millisecond()).unwrap_or(0),
    }
}
