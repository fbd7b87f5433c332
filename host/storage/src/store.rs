//! The store's handle. Signatures first; the bodies follow.
#![expect(clippy::unused_async, unused_variables, reason = "signatures only, for an hour")]

use std::io;
use std::ops::Range;

use backlot_ledger::{Fence, Ledger};
use bytes::Bytes;
use cap_std::fs::Dir;
use futures::Stream;

use crate::*;

type Result<T, E = StoreError> = std::result::Result<T, E>;

fn unavailable<T>() -> Result<T> {
    Err(StoreError::Unavailable("not built yet".into()))
}

/// The object store; a cheap handle.
#[derive(Clone)]
pub struct Store;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blob files that the ledger did not know (left by a crash).
    pub orphans: u64,
    /// Blobs that the ledger knew and nothing referred to.
    pub unreferenced: u64,
}

/// A body on its way to become an object. Dropped before [`ObjectWriter::finish`]: no trace left.
pub struct ObjectWriter(());
impl ObjectWriter {
    /// Append bytes. Waits while earlier ones are being written (back-pressure).
    pub async fn write(&mut self, data: Bytes) -> Result<()> { unavailable() }
    /// Tell a checksum that became known after the body (a trailer). The algorithm should be among
    /// [`Expected::checksums`], so that it is being computed; else `Invalid`.
    pub fn expect_checksum(&mut self, algorithm: ChecksumAlgorithm, base64: String) -> Result<()> { unavailable() }
    /// Verify what was expected, make the bytes durable, and commit the object with its event.
    pub async fn finish(self) -> Result<ObjectInfo> { unavailable() }
}

/// A body on its way to become a part of a multipart upload.
pub struct PartWriter(());
impl PartWriter {
    /// As [`ObjectWriter::write`].
    pub async fn write(&mut self, data: Bytes) -> Result<()> { unavailable() }
    /// As [`ObjectWriter::expect_checksum`].
    pub fn expect_checksum(&mut self, algorithm: ChecksumAlgorithm, base64: String) -> Result<()> { unavailable() }
    /// Verify what was expected, make the bytes durable, and commit the part.
    pub async fn finish(self) -> Result<Part> { unavailable() }
}

/// A reader pinned to one version: its bytes stay readable until it is dropped, whatever happens
/// to the object.
pub struct ObjectReader(ObjectInfo);
impl ObjectReader {
    /// What is being read.
    pub fn info(&self) -> &ObjectInfo { &self.0 }
    /// At most `len` bytes from `offset`; fewer only at the end, none at or past it.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> { unavailable() }
    /// The bytes of a range in chunks of at most 256 KiB, reading ahead by one chunk.
    /// `RangeNotSatisfiable` unless the range is within the object.
    pub fn stream(self, range: Range<u64>) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        if true { return unavailable() }
        Ok(futures::stream::empty())
    }
}

impl Store {
    /// Open the store in `dir`, and sweep what a crash left. Blocking; call it at start.
    pub fn open(dir: Dir, ledger: Ledger, limits: StoreLimits) -> Result<Store> { unavailable() }
    /// Remove blobs that nothing refers to; safe at any time.
    pub async fn sweep(&self) -> Result<Swept> { unavailable() }
    /// The limits in force.
    pub fn limits(&self) -> &StoreLimits { &StoreLimits { put_bytes_max: 0, object_bytes_max: 0, part_bytes_min: 0, inline_bytes_max: 0, disk_jobs: 0 } }

    /// Create a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<Bucket> { unavailable() }
    /// Delete an empty bucket.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> { unavailable() }
    /// A bucket, if it exists.
    pub async fn bucket(&self, name: &str) -> Result<Option<Bucket>> { unavailable() }
    /// All buckets by name.
    pub async fn buckets(&self) -> Result<Vec<Bucket>> { unavailable() }
    /// Switch versioning on or suspend it; `Off` is `Invalid` (as in S3 there is no way back).
    pub async fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<()> { unavailable() }

    /// Store an object from a stream. A failing stream leaves no trace (`Body`).
    pub async fn put<S>(&self, put: Put, body: S) -> Result<ObjectInfo>
    where S: Stream<Item = io::Result<Bytes>> + Send { unavailable() }
    /// Begin an object that is written piece by piece.
    pub async fn writer(&self, put: Put) -> Result<ObjectWriter> { unavailable() }
    /// Open an object for reading, pinned.
    pub async fn open_object(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<ObjectReader> { unavailable() }
    /// What is known about an object.
    pub async fn head(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<ObjectInfo> { unavailable() }
    /// The parts of a multipart object; empty for one written in one go. With it the object they
    /// belong to (compare the content id when it matters).
    pub async fn object_parts(&self, object: &ObjectRef) -> Result<(ObjectInfo, Vec<ObjectPart>)> { unavailable() }
    /// Delete an object or version. Deleting what is not there is no error.
    pub async fn delete(&self, delete: Delete) -> Result<Deleted> { unavailable() }
    /// Delete up to [`DELETE_MANY_MAX`] objects in one commit; one answer each, in order.
    pub async fn delete_many(&self, deletes: Vec<Delete>) -> Result<Vec<Result<Deleted>>> { unavailable() }
    /// Copy an object within the store.
    pub async fn copy(&self, copy: Copy) -> Result<ObjectInfo> { unavailable() }
    /// Make an object of others.
    pub async fn compose(&self, compose: Compose) -> Result<ObjectInfo> { unavailable() }

    /// A page of current objects.
    pub async fn list(&self, query: ListQuery) -> Result<ListPage> { unavailable() }
    /// A page of versions and delete markers; works in every bucket.
    pub async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage> { unavailable() }

    /// Start a multipart upload.
    pub async fn create_multipart(&self, create: CreateMultipart) -> Result<Upload> { unavailable() }
    /// A multipart upload in progress.
    pub async fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<Upload> { unavailable() }
    /// Store a part from a stream; one of the same number is replaced.
    pub async fn put_part<S>(&self, part: PutPart, body: S) -> Result<Part>
    where S: Stream<Item = io::Result<Bytes>> + Send { unavailable() }
    /// Begin a part that is written piece by piece.
    pub async fn part_writer(&self, part: PutPart) -> Result<PartWriter> { unavailable() }
    /// Make a part of an object.
    pub async fn copy_part(&self, copy: CopyPart) -> Result<Part> { unavailable() }
    /// Make the object of its parts, without writing them again.
    pub async fn complete_multipart(&self, complete: CompleteMultipart) -> Result<ObjectInfo> { unavailable() }
    /// Drop a multipart upload and its parts.
    pub async fn abort_multipart(&self, bucket: &str, key: &str, upload_id: &str) -> Result<()> { unavailable() }
    /// A page of the multipart uploads of a bucket.
    pub async fn list_multiparts(&self, query: UploadsQuery) -> Result<UploadsPage> { unavailable() }
    /// A page of the parts of an upload, after the number given.
    pub async fn list_parts(&self, bucket: &str, key: &str, upload_id: &str, after: u32, limit: u32) -> Result<PartsPage> { unavailable() }

    /// Tags of an object or version, with the version they belong to.
    pub async fn tags(&self, object: &ObjectRef) -> Result<(String, Pairs)> { unavailable() }
    /// Replace the tags (empty: delete them); answers the version they belong to.
    pub async fn set_tags(&self, object: &ObjectRef, tags: Pairs, fence: Option<Fence>) -> Result<String> { unavailable() }
}
