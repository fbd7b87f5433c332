//! Multipart uploads.

use std::collections::BTreeMap;
use std::io;

use backlot_ledger::objects::{Completion, NewPart, NewUpload, Origin, PartContent, Sealed};
use bytes::Bytes;
use futures::Stream;

use crate::body::{Body, Stored};
use crate::digest::{Digested, check_promise, etag_of, whole};
use crate::limits::{LIST_MAX, PARTS_MAX, at_most, check_key, check_tags};
use crate::objects::{check_described, feed};
use crate::store::{Result, Store, detached};
use crate::{
    ChecksumAlgorithm, ChecksumKind, CompleteMultipart, CompletedPart, CopyPart, CreateMultipart,
    Expected, ObjectInfo, ObjectPart, ObjectRef, Part, PartsPage, PutPart, StoreError, Upload,
    UploadsPage, UploadsQuery,
};

/// A body on its way to become a part of a multipart upload. Dropped before
/// [`PartWriter::finish`]: no trace left.
pub struct PartWriter {
    store: Store,
    body: Body,
    part: PutPart,
}

impl PartWriter {
    /// As [`crate::ObjectWriter::write`].
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.body.write(data).await
    }

    /// As [`crate::ObjectWriter::expect_checksum`].
    pub fn expect_checksum(&mut self, algorithm: ChecksumAlgorithm, base64: String) -> Result<()> {
        self.body.expect_checksum(algorithm, base64)
    }

    /// Verifies what was expected, makes the bytes durable, and commits the part. A caller that
    /// goes away meanwhile does not stop it.
    pub async fn finish(self) -> Result<Part> {
        detached(self.commit()).await
    }

    async fn commit(self) -> Result<Part> {
        let Stored { digested, content, arrival } = self.body.finish().await?;
        let part = self.part;
        let new = NewPart {
            bucket: part.bucket,
            key: part.key,
            upload_id: part.upload_id,
            number: part.number,
            size: content.size,
            etag: digested.etag,
            checksums: digested.checksums,
            content: PartContent::New(content),
        };
        let commit = self.store.shared.ledger.put_upload_part(new);
        arrival.settled(async { self.store.settle(commit.await) }).await
    }
}

impl Store {
    /// Starts a multipart upload.
    pub async fn create_multipart(&self, create: CreateMultipart) -> Result<Upload> {
        check_key(&create.key)?;
        check_described(&create.headers, &create.metadata)?;
        check_tags(&create.tags)?;
        check_kind(create.checksum)?;
        let new = NewUpload {
            bucket: create.bucket,
            key: create.key,
            headers: create.headers,
            metadata: create.metadata,
            tags: create.tags,
            checksum: create.checksum,
            principal: create.principal,
        };
        Ok(self.shared.ledger.create_upload(new).await?)
    }

    /// A multipart upload in progress.
    pub async fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<Upload> {
        Ok(self.shared.ledger.upload(bucket, key, upload_id).await?)
    }

    /// Stores a part from a stream; one of the same number is replaced.
    pub async fn put_part<S>(&self, part: PutPart, body: S) -> Result<Part>
    where
        S: Stream<Item = io::Result<Bytes>> + Send,
    {
        let mut writer = self.part_writer(part).await?;
        feed(&mut writer.body, body).await?;
        writer.finish().await
    }

    /// Begins a part that is written piece by piece.
    pub async fn part_writer(&self, mut part: PutPart) -> Result<PartWriter> {
        check_number(part.number)?;
        let upload = self.upload(&part.bucket, &part.key, &part.upload_id).await?;
        let mut expected = std::mem::take(&mut part.expected);
        if let Some((algorithm, _)) = upload.checksum {
            expected.checksums.push((algorithm, None));
        }
        let body = Body::new(self.shared.clone(), expected)?;
        Ok(PartWriter { store: self.clone(), body, part })
    }

    /// Makes a part of (a range of) an object. Its bytes are read, for their digest, and shared.
    pub async fn copy_part(&self, copy: CopyPart) -> Result<Part> {
        check_number(copy.number)?;
        let upload = self.upload(&copy.bucket, &copy.key, &copy.upload_id).await?;
        let ObjectRef { bucket, key, version } = &copy.source;
        let reader = self.open_object(bucket, key, version.as_deref()).await?;
        copy.source_conditions.check(reader.info())?;
        let size = reader.info().size;
        let range = copy.range.unwrap_or(0..size);
        if range.end <= range.start && size != 0 || size < range.end {
            let std::ops::Range { start, end } = range;
            return Err(StoreError::RangeNotSatisfiable { start, end, size });
        }
        let len = range.end - range.start;
        at_most("part bytes", len, self.shared.limits.put_bytes_max)?;
        let pieces = reader.pieces(&range);
        let pinned = reader.clone();
        let checksums = upload.checksum.map(|(algorithm, _)| (algorithm, None));
        let expected =
            Expected { checksums: checksums.into_iter().collect(), ..Default::default() };
        let Digested { etag, checksums } = self.digest(reader, range, &expected).await?;
        let new = NewPart {
            bucket: copy.bucket,
            key: copy.key,
            upload_id: copy.upload_id,
            number: copy.number,
            size: len,
            etag,
            checksums,
            content: PartContent::Shared(pieces),
        };
        let store = self.clone();
        detached(async move {
            let committed = store.shared.ledger.put_upload_part(new).await;
            // The source may be gone from the index by now; until here the pin kept its bytes.
            drop(pinned);
            store.settle(committed)
        })
        .await
    }

    /// Makes the object of its parts, without writing them again.
    pub async fn complete_multipart(&self, complete: CompleteMultipart) -> Result<ObjectInfo> {
        at_most("parts", complete.parts.len() as u64, PARTS_MAX.into())?;
        let completion = Completion {
            bucket: complete.bucket,
            key: complete.key,
            upload_id: complete.upload_id,
            conditions: complete.conditions,
            origin: Origin { effect: None, principal: complete.principal },
        };
        let wanted = Wanted {
            parts: complete.parts,
            size: complete.expected_size,
            checksum: complete.expected_checksum,
            part_bytes_min: self.shared.limits.part_bytes_min,
            object_bytes_max: self.shared.limits.object_bytes_max,
        };
        let store = self.clone();
        detached(async move {
            let seal = move |upload: &Upload, stored: &[Part]| wanted.seal(upload, stored);
            store.settle(store.shared.ledger.complete_upload(completion, seal).await)
        })
        .await
    }

    /// Drops a multipart upload and its parts.
    pub async fn abort_multipart(&self, bucket: &str, key: &str, upload_id: &str) -> Result<()> {
        let store = self.clone();
        let (bucket, key, upload_id) = (bucket.to_owned(), key.to_owned(), upload_id.to_owned());
        detached(async move {
            store.settle(store.shared.ledger.abort_upload(&bucket, &key, &upload_id).await)
        })
        .await
    }

    /// A page of the multipart uploads of a bucket; `limit` is cut to [`LIST_MAX`].
    pub async fn list_multiparts(&self, mut query: UploadsQuery) -> Result<UploadsPage> {
        query.limit = query.limit.min(LIST_MAX);
        Ok(self.shared.ledger.list_uploads(query).await?)
    }

    /// A page of the parts of an upload, after the number given; `limit` is cut to [`LIST_MAX`].
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u32,
        limit: u32,
    ) -> Result<PartsPage> {
        let limit = limit.min(LIST_MAX);
        Ok(self.shared.ledger.list_upload_parts(bucket, key, upload_id, after, limit).await?)
    }
}

/// What the one who completes an upload says of it.
struct Wanted {
    parts: Vec<CompletedPart>,
    size: Option<u64>,
    checksum: Option<(ChecksumAlgorithm, String)>,
    part_bytes_min: u64,
    object_bytes_max: u64,
}

impl Wanted {
    /// Chooses the parts and says what they make. Called inside the transaction: the parts cannot
    /// change any more.
    fn seal(self, upload: &Upload, stored: &[Part]) -> Result<Sealed> {
        let ascending =
            self.parts.iter().zip(self.parts.iter().skip(1)).all(|(a, b)| a.number < b.number);
        if self.parts.is_empty() || !ascending {
            return Err(StoreError::InvalidPartOrder);
        }
        let stored: BTreeMap<u32, &Part> = stored.iter().map(|part| (part.number, part)).collect();
        let mut chosen: Vec<&Part> = Vec::with_capacity(self.parts.len());
        for wanted in &self.parts {
            let part = stored.get(&wanted.number).filter(|part| is_same(wanted, part));
            chosen.push(part.ok_or(StoreError::InvalidPart { number: wanted.number })?);
        }
        let limit = self.part_bytes_min;
        let (_, but_last) = chosen.split_last().ok_or(StoreError::InvalidPartOrder)?;
        if let Some(part) = but_last.iter().find(|part| part.size < limit) {
            let Part { number, size, .. } = **part;
            return Err(StoreError::PartTooSmall { number, size, limit });
        }
        let mut parts = Vec::with_capacity(chosen.len());
        let mut offset = 0_u64;
        for part in &chosen {
            let Part { number, size, .. } = **part;
            parts.push(ObjectPart { number, offset, size, checksums: part.checksums.clone() });
            offset = offset.saturating_add(size);
            at_most("object bytes", offset, self.object_bytes_max)?;
        }
        if let Some(expected) = self.size.filter(|expected| *expected != offset) {
            return Err(StoreError::WrongSize { expected, got: offset });
        }
        let sums: Vec<_> = chosen.iter().map(|part| (part.size, &part.checksums[..])).collect();
        let checksums: Vec<_> = upload
            .checksum
            .and_then(|(algorithm, kind)| whole(algorithm, kind, &sums))
            .into_iter()
            .collect();
        if let Some(promised) = &self.checksum {
            check_promise(promised, &checksums)?;
        }
        let etags: Vec<String> = chosen.iter().map(|part| part.etag.clone()).collect();
        Ok(Sealed { parts, etag: etag_of(&etags), checksums })
    }
}

/// Whether a stored part is the one the client means.
fn is_same(wanted: &CompletedPart, part: &Part) -> bool {
    let checksum = |(algorithm, value): &(ChecksumAlgorithm, String)| {
        part.checksums.iter().any(|sum| sum.algorithm == *algorithm && sum.value == *value)
    };
    wanted.etag == part.etag && wanted.checksums.iter().all(checksum)
}

fn check_number(number: u32) -> Result<()> {
    if number == 0 {
        return Err(StoreError::Invalid("part numbers begin at 1".into()));
    }
    at_most("part number", number.into(), PARTS_MAX.into())
}

/// S3's table of what can be had: hashes cannot be combined, and CRC-64/NVME is only ever whole.
fn check_kind(checksum: Option<(ChecksumAlgorithm, ChecksumKind)>) -> Result<()> {
    match checksum {
        Some((algorithm @ ChecksumAlgorithm::Crc64Nvme, kind @ ChecksumKind::Composite))
        | Some((
            algorithm @ (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256),
            kind @ ChecksumKind::FullObject,
        )) => {
            let text = format!("no {kind:?} checksum of a multipart upload by {algorithm:?}");
            Err(StoreError::Invalid(text))
        }
        _ => Ok(()),
    }
}
