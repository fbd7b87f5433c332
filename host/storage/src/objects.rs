//! Objects: written, read, copied, composed, deleted, listed, tagged.

use std::{io, mem};

use backlot_ledger::objects::{Composition, CopyOf, NewObject, Origin, Removal, Tagging};
use backlot_ledger::{Effect, crash};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::body::{Arrival, Body, Stored, joined};
use crate::digest::{Digests, etag_of};
use crate::limits::{
    COMPOSE_SOURCES_MAX, DELETE_MANY_MAX, LIST_MAX, at_most, check_headers, check_key,
    check_metadata, check_tags,
};
use crate::store::{Result, Store, detached};
use crate::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Compose, Copy, Delete, Deleted, Expected, ListPage,
    ListQuery, MetadataDirective, ObjectHeaders, ObjectInfo, ObjectPart, ObjectReader, ObjectRef,
    Pairs, Put, SourceConditions, StoreError, TagDirective, VersionsPage, VersionsQuery,
};

/// A body on its way to become an object. Dropped before [`ObjectWriter::finish`]: no trace left.
pub struct ObjectWriter {
    store: Store,
    body: Body,
    put: Put,
}

impl ObjectWriter {
    /// Appends bytes. Waits while earlier ones are being written (back-pressure). After an error
    /// the writer is spent.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.body.write(data).await
    }

    /// Tells a checksum that became known after the body (a trailer). Its algorithm must be among
    /// [`Expected::checksums`], so that it was computed; else `Invalid`.
    pub fn expect_checksum(&mut self, algorithm: ChecksumAlgorithm, base64: String) -> Result<()> {
        self.body.expect_checksum(algorithm, base64)
    }

    /// Verifies what was expected, makes the bytes durable, and commits the object with its event.
    /// A caller that goes away meanwhile does not stop it.
    pub async fn finish(self) -> Result<ObjectInfo> {
        detached(async { self.seal().await?.commit(None).await }).await
    }

    /// The first half of [`ObjectWriter::finish`]: verifies what was expected, and makes the bytes
    /// durable.
    pub(crate) async fn seal(self) -> Result<SealedObject> {
        let stored = self.body.finish().await?;
        Ok(SealedObject { store: self.store, put: self.put, stored })
    }
}

/// A body that is complete and durable, and not an object yet. Dropped: no trace left.
pub(crate) struct SealedObject {
    store: Store,
    put: Put,
    stored: Stored,
}

impl SealedObject {
    /// What will be stored, and where.
    pub(crate) fn put(&self) -> &Put {
        &self.put
    }

    /// The entity tag of the bytes.
    pub(crate) fn etag(&self) -> &str {
        &self.stored.digested.etag
    }

    /// The second half: commits the object with its event.
    pub(crate) async fn commit(self, effect: Option<Effect>) -> Result<ObjectInfo> {
        let Self { store, put, stored: Stored { digested, content, arrival } } = self;
        let (blob, has_file) = (content.blob, arrival.file);
        let new = NewObject {
            bucket: put.bucket,
            key: put.key,
            headers: put.headers,
            metadata: put.metadata,
            tags: put.tags,
            conditions: put.conditions,
            etag: digested.etag,
            checksums: digested.checksums,
            content,
            origin: Origin { effect, principal: put.principal },
        };
        let committed = async {
            crash::point("object.before-commit");
            let committed = store.shared.ledger.put_object(new).await;
            crash::point("object.after-commit");
            committed.map_err(StoreError::from)
        };
        let committed = arrival.settled(committed).await?;
        if committed.again && has_file {
            // The object is there since an earlier attempt, with a blob of its own.
            let shared = store.shared.clone();
            let job = move || shared.disk.remove(blob).map_err(StoreError::Disk);
            joined(store.shared.disk_job(job).await?).await?;
        }
        store.settle(Ok::<_, StoreError>(committed))
    }
}

impl Arrival {
    /// Waits for the commit that refers to the blob, and keeps the blob's file if that is done, or
    /// may be: where it is unknown (also when this future is dropped, for a commit goes on without
    /// its caller) the next sweep asks the ledger.
    pub(crate) async fn settled<T>(mut self, commit: impl Future<Output = Result<T>>) -> Result<T> {
        let file = mem::take(&mut self.file);
        let answer = commit.await;
        self.file = file && !matches!(&answer, Ok(_) | Err(StoreError::Unavailable(_)));
        answer
    }
}

/// Feeds a writer from a stream.
pub(crate) async fn feed<S>(body: &mut Body, stream: S) -> Result<()>
where
    S: Stream<Item = io::Result<Bytes>> + Send,
{
    let mut stream = std::pin::pin!(stream);
    while let Some(data) = stream.next().await {
        body.write(data.map_err(StoreError::Body)?).await?;
    }
    Ok(())
}

impl Store {
    /// Stores an object from a stream. A failing stream leaves no trace (`Body`).
    pub async fn put<S>(&self, put: Put, body: S) -> Result<ObjectInfo>
    where
        S: Stream<Item = io::Result<Bytes>> + Send,
    {
        let mut writer = self.writer(put).await?;
        feed(&mut writer.body, body).await?;
        writer.finish().await
    }

    /// Begins an object that is written piece by piece.
    pub async fn writer(&self, mut put: Put) -> Result<ObjectWriter> {
        check_key(&put.key)?;
        check_described(&put.headers, &put.metadata)?;
        check_tags(&put.tags)?;
        let inline = self.shared.limits.inline_bytes_max as u64;
        // The commit looks too; this spares a client from sending much in vain.
        if put.expected.size.is_none_or(|size| inline < size) {
            let bucket = self.bucket(&put.bucket).await?;
            bucket.ok_or_else(|| StoreError::NoSuchBucket(put.bucket.clone()))?;
        }
        let expected = std::mem::take(&mut put.expected);
        let body = Body::new(self.shared.clone(), expected)?;
        Ok(ObjectWriter { store: self.clone(), body, put })
    }

    /// Opens an object for reading, pinned.
    pub async fn open_object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectReader> {
        let object = object_ref(bucket, key, version);
        let look = self.shared.pins.look();
        let content = self.shared.ledger.object_content(object).await?;
        Ok(ObjectReader::new(self.shared.clone(), look, content))
    }

    /// What is known about an object.
    pub async fn head(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<ObjectInfo> {
        Ok(self.shared.ledger.object(object_ref(bucket, key, version)).await?)
    }

    /// The parts of a multipart object, none for one written in one go; with the object they
    /// belong to.
    pub async fn object_parts(&self, object: &ObjectRef) -> Result<(ObjectInfo, Vec<ObjectPart>)> {
        Ok(self.shared.ledger.object_parts(object.clone()).await?)
    }

    /// Deletes an object or version. Deleting what is not there is no error.
    pub async fn delete(&self, delete: Delete) -> Result<Deleted> {
        let mut answers = self.delete_many(vec![delete]).await?;
        answers.pop().unwrap_or_else(|| Err(StoreError::Unavailable("no answer".into())))
    }

    /// Deletes up to [`DELETE_MANY_MAX`] objects in one commit; one answer each, in order.
    pub async fn delete_many(&self, deletes: Vec<Delete>) -> Result<Vec<Result<Deleted>>> {
        at_most("keys of one delete", deletes.len() as u64, DELETE_MANY_MAX as u64)?;
        let removals = deletes.into_iter().map(|delete| Removal {
            object: ObjectRef { bucket: delete.bucket, key: delete.key, version: delete.version },
            conditions: delete.conditions,
            content_id: delete.content_id,
            origin: Origin { effect: delete.effect, principal: delete.principal },
        });
        let (store, removals) = (self.clone(), removals.collect());
        let answers =
            detached(
                async move { store.settle(store.shared.ledger.remove_objects(removals).await) },
            );
        let answers = answers.await?;
        Ok(answers.into_iter().map(|answer| answer.map_err(StoreError::from)).collect())
    }

    /// Copies an object within the store.
    pub async fn copy(&self, mut copy: Copy) -> Result<ObjectInfo> {
        check_key(&copy.key)?;
        let described = match copy.metadata {
            MetadataDirective::Copy => None,
            MetadataDirective::Replace { headers, metadata } => {
                check_described(&headers, &metadata)?;
                Some((headers, metadata))
            }
        };
        let tags = match copy.tags {
            TagDirective::Copy => None,
            TagDirective::Replace(tags) => {
                check_tags(&tags)?;
                Some(tags)
            }
        };
        let checksum = match copy.checksum {
            Some(algorithm) => {
                self.checksum_of(&copy.source, &mut copy.source_conditions, algorithm).await?
            }
            None => None,
        };
        let copy = CopyOf {
            source: copy.source,
            source_conditions: copy.source_conditions,
            bucket: copy.bucket,
            key: copy.key,
            described,
            tags,
            checksum,
            conditions: copy.conditions,
            origin: Origin { effect: copy.effect, principal: copy.principal },
        };
        let store = self.clone();
        detached(async move { store.settle(store.shared.ledger.copy_object(copy).await) }).await
    }

    /// The checksum of a copy's source, if it has none of that algorithm yet. The copy is then
    /// bound to the bytes that were read.
    async fn checksum_of(
        &self,
        source: &ObjectRef,
        conditions: &mut SourceConditions,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<Checksum>> {
        let ObjectRef { bucket, key, version } = source;
        let reader = self.open_object(bucket, key, version.as_deref()).await?;
        let has = |known: &Checksum| {
            known.algorithm == algorithm && known.kind == ChecksumKind::FullObject
        };
        if reader.info().checksums.iter().any(has) {
            return Ok(None);
        }
        conditions.content_id = Some(reader.info().content_id.clone());
        let expected = Expected { checksums: vec![(algorithm, None)], ..Expected::default() };
        let size = reader.info().size;
        let digested = self.digest(reader, 0..size, &expected).await?;
        Ok(digested.checksums.into_iter().next())
    }

    /// Reads a stretch of an object for its digests, away from the async threads.
    pub(crate) async fn digest(
        &self,
        reader: ObjectReader,
        range: std::ops::Range<u64>,
        expected: &Expected,
    ) -> Result<crate::digest::Digested> {
        let mut digests = Digests::new(expected);
        let mut chunks = std::pin::pin!(reader.stream(range)?);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let job = move || {
                digests.update(&chunk);
                Ok(digests)
            };
            digests = crate::body::joined(self.shared.disk_job(job).await?).await?;
        }
        digests.finish(expected)
    }

    /// Makes an object of others, put end to end.
    pub async fn compose(&self, compose: Compose) -> Result<ObjectInfo> {
        check_key(&compose.key)?;
        check_described(&compose.headers, &compose.metadata)?;
        check_tags(&compose.tags)?;
        if compose.sources.is_empty() {
            return Err(StoreError::Invalid("there is nothing to compose".into()));
        }
        at_most("sources", compose.sources.len() as u64, COMPOSE_SOURCES_MAX as u64)?;
        let composition = Composition {
            bucket: compose.bucket,
            key: compose.key,
            sources: compose.sources,
            headers: compose.headers,
            metadata: compose.metadata,
            tags: compose.tags,
            conditions: compose.conditions,
            size_max: self.shared.limits.object_bytes_max,
            etag: etag_of,
            origin: Origin { effect: compose.effect, principal: compose.principal },
        };
        let store = self.clone();
        detached(async move { store.settle(store.shared.ledger.compose_object(composition).await) })
            .await
    }

    /// A page of current objects; `limit` above [`LIST_MAX`] is cut to it.
    pub async fn list(&self, mut query: ListQuery) -> Result<ListPage> {
        query.limit = query.limit.min(LIST_MAX);
        Ok(self.shared.ledger.list_objects(query).await?)
    }

    /// A page of versions and delete markers, as [`Store::list`]; works in every bucket.
    pub async fn list_versions(&self, mut query: VersionsQuery) -> Result<VersionsPage> {
        query.limit = query.limit.min(LIST_MAX);
        Ok(self.shared.ledger.list_versions(query).await?)
    }

    /// Tags of an object or version, with the version they belong to.
    pub async fn tags(&self, object: &ObjectRef) -> Result<(String, Pairs)> {
        let info = self.shared.ledger.object(object.clone()).await?;
        Ok((info.version_id, info.tags))
    }

    /// Sets and removes some tags of one version, reserved ones too.
    pub async fn tag(&self, tagging: Tagging) -> Result<()> {
        check_tags(&tagging.set)?;
        Ok(self.shared.ledger.tag_object(tagging).await?)
    }

    /// Replaces the tags (empty: deletes them) but for the reserved ones; answers the version they
    /// belong to.
    pub async fn set_tags(&self, object: &ObjectRef, tags: Pairs) -> Result<String> {
        check_tags(&tags)?;
        Ok(self.shared.ledger.set_object_tags(object.clone(), tags).await?)
    }
}

pub(crate) fn check_described(headers: &ObjectHeaders, metadata: &Pairs) -> Result<()> {
    check_headers(headers)?;
    check_metadata(metadata)
}

fn object_ref(bucket: &str, key: &str, version: Option<&str>) -> ObjectRef {
    ObjectRef { bucket: bucket.into(), key: key.into(), version: version.map(Into::into) }
}
