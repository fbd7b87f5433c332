//! What callers ask of the store.

use std::ops::Range;

use backlot_ledger::Effect;

use crate::{
    ChecksumAlgorithm, ChecksumKind, CompletedPart, Conditions, ObjectHeaders, ObjectRef, Pairs,
    SourceConditions,
};

/// What the writer of a body announced about it. All of it is verified before anything is kept.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `Content-Length` (of the decoded body).
    pub size: Option<u64>,
    /// `Content-MD5`, decoded.
    pub md5: Option<[u8; 16]>,
    /// Hex SHA-256 of the whole body, where the signature covers it; verified, not kept.
    pub sha256: Option<String>,
    /// Checksums to compute and keep, with the base64 value expected where it is known up front.
    /// Values that come in a trailer are told to the writer with `expect_checksum`.
    pub checksums: Vec<(ChecksumAlgorithm, Option<String>)>,
}

/// Store an object.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags.
    pub tags: Pairs,
    /// What must hold at commit.
    pub conditions: Conditions,
    /// What the body must be.
    pub expected: Expected,
    /// Who asks, for the event.
    pub principal: String,
}

/// Delete an object or one version of it.
#[derive(Clone, Debug, Default)]
pub struct Delete {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version to remove for good; `None`: delete the object (a marker where versions are
    /// kept).
    pub version: Option<String>,
    /// What must hold at commit (`if_match` only, as in S3).
    pub conditions: Conditions,
    /// With a version: delete it only while it is this content.
    pub content_id: Option<String>,
    /// As in [`Put`].
    pub effect: Option<Effect>,
    /// Who asks, for the event.
    pub principal: String,
}

/// Headers and metadata of a copy.
#[derive(Clone, Debug, Default)]
pub enum MetadataDirective {
    /// Those of the source.
    #[default]
    Copy,
    /// These.
    Replace {
        /// Content headers.
        headers: ObjectHeaders,
        /// User metadata.
        metadata: Pairs,
    },
}

/// Tags of a copy.
#[derive(Clone, Debug, Default)]
pub enum TagDirective {
    /// Those of the source, but for the reserved ones.
    #[default]
    Copy,
    /// These.
    Replace(Pairs),
}

/// Copy an object. Its bytes are shared, not written again; the entity tag stays the source's.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What to copy.
    pub source: ObjectRef,
    /// What must hold for the source.
    pub source_conditions: SourceConditions,
    /// The target's bucket.
    pub bucket: String,
    /// The target's key.
    pub key: String,
    /// Headers and metadata of the target.
    pub metadata: MetadataDirective,
    /// Tags of the target.
    pub tags: TagDirective,
    /// What must hold for the target.
    pub conditions: Conditions,
    /// A checksum the target shall have; computed from the bytes if the source has none.
    pub checksum: Option<ChecksumAlgorithm>,
    /// As in [`Put`].
    pub effect: Option<Effect>,
    /// Who asks, for the event.
    pub principal: String,
}

/// Make an object of other objects of the same bucket, put end to end, sharing their bytes.
#[derive(Clone, Debug, Default)]
pub struct Compose {
    /// The bucket's name.
    pub bucket: String,
    /// The target's key; may be one of the sources.
    pub key: String,
    /// Keys of the sources in order: 1 to [`crate::COMPOSE_SOURCES_MAX`].
    pub sources: Vec<String>,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags.
    pub tags: Pairs,
    /// What must hold for the target.
    pub conditions: Conditions,
    /// As in [`Put`].
    pub effect: Option<Effect>,
    /// Who asks, for the event.
    pub principal: String,
}

/// Start a multipart upload.
#[derive(Clone, Debug, Default)]
pub struct CreateMultipart {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags.
    pub tags: Pairs,
    /// The checksum every part is given, and what the object's one covers. SHA-1 and SHA-256
    /// exist only composite, CRC-64/NVME only over the full object (as in S3).
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Who asks, for the event.
    pub principal: String,
}

/// Store a part.
#[derive(Clone, Debug, Default)]
pub struct PutPart {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// 1 to [`crate::PARTS_MAX`].
    pub number: u32,
    /// What the body must be. The upload's own checksum is computed in any case.
    pub expected: Expected,
}

/// Make a part of (a range of) an object. The bytes are read for their digest, not written again.
#[derive(Clone, Debug)]
pub struct CopyPart {
    /// What to copy.
    pub source: ObjectRef,
    /// What must hold for the source.
    pub source_conditions: SourceConditions,
    /// Which of its bytes; `None` for all.
    pub range: Option<Range<u64>>,
    /// The upload's bucket.
    pub bucket: String,
    /// The upload's key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// 1 to [`crate::PARTS_MAX`].
    pub number: u32,
}

/// Finish a multipart upload.
#[derive(Clone, Debug, Default)]
pub struct CompleteMultipart {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// The parts that make the object, in ascending order; others are dropped.
    pub parts: Vec<CompletedPart>,
    /// What must hold at commit.
    pub conditions: Conditions,
    /// Size the object must have (`x-amz-mp-object-size`).
    pub expected_size: Option<u64>,
    /// Checksum the object must have, base64 (composite: with or without `-N`).
    pub expected_checksum: Option<(ChecksumAlgorithm, String)>,
    /// Who asks, for the event.
    pub principal: String,
}
