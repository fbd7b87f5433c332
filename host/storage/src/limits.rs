//! The limits of the store, S3's where S3 has one, and the checks of names against them.

use crate::{Pairs, StoreError, is_reserved_tag};

/// Longest key in bytes (S3's).
pub const KEY_BYTES_MAX: usize = 1_024;
/// Most bytes of user metadata, names and values together (S3's).
pub const METADATA_BYTES_MAX: usize = 2_048;
/// Most tags of an object (S3's).
pub const TAGS_MAX: usize = 10;
/// Longest tag name in characters (S3's).
pub const TAG_NAME_CHARS_MAX: usize = 128;
/// Longest tag value in characters (S3's).
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// Longest content header in bytes; S3 bounds all headers together at 8 KiB.
pub const HEADER_BYTES_MAX: usize = 2_048;
/// Most parts of a multipart upload, and the highest part number (S3's).
pub const PARTS_MAX: u32 = 10_000;
/// Most sources of one compose: as many as a multipart upload has parts.
pub const COMPOSE_SOURCES_MAX: usize = 10_000;
/// Most pieces of one object: its list of pieces is at most 3.2 MB in the index.
pub const PIECES_MAX: usize = 100_000;
/// Most entries of a page of a list (S3's).
pub const LIST_MAX: u32 = 1_000;
/// Most keys of one batch delete (S3's).
pub const DELETE_MANY_MAX: usize = 1_000;

/// Limits that an operator or a test may set.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// Largest body of one put or part, in bytes. Default 5 GiB (S3's).
    pub put_bytes_max: u64,
    /// Largest object, in bytes. Default 5 TiB (S3's).
    pub object_bytes_max: u64,
    /// Smallest part but the last, in bytes, checked at completion. Default 5 MiB (S3's).
    pub part_bytes_min: u64,
    /// Bodies up to this size are kept in the ledger itself, so that one fsync (the commit's,
    /// shared with others) makes them durable instead of three. Default 64 KiB: measured with
    /// 16 KiB on a busy machine the slowest 1 % of puts took half as long as with files, a get less
    /// than half, and 32 clients at once were not slower.
    pub inline_bytes_max: usize,
    /// Disk and digest jobs that run at once; others wait. Default 32.
    pub disk_jobs: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            put_bytes_max: 5 << 30,
            object_bytes_max: 5 << 40,
            part_bytes_min: 5 << 20,
            inline_bytes_max: 64 << 10,
            disk_jobs: 32,
        }
    }
}

pub(crate) fn at_most(what: &'static str, got: u64, limit: u64) -> Result<(), StoreError> {
    if got <= limit { Ok(()) } else { Err(StoreError::OverLimit { what, got, limit }) }
}

pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Invalid("key is empty".into()));
    }
    at_most("key bytes", key.len() as u64, KEY_BYTES_MAX as u64)
}

/// S3's rules for general purpose buckets: 3 to 63 of `a-z 0-9 . -`, beginning and ending with a
/// letter or digit, no two dots in a row, not an IPv4 address.
pub(crate) fn check_bucket_name(name: &str) -> Result<(), StoreError> {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let fine = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'-'))
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err();
    if fine {
        Ok(())
    } else {
        Err(StoreError::Invalid(format!("{name:?} is no name for a bucket")))
    }
}

pub(crate) fn check_metadata(metadata: &Pairs) -> Result<(), StoreError> {
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    at_most("user metadata bytes", bytes as u64, METADATA_BYTES_MAX as u64)?;
    for (name, value) in metadata {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(StoreError::Invalid(format!("{name:?} is no name for metadata")));
        }
        check_text(value)?;
    }
    Ok(())
}

/// What cannot be answered in a header later is not taken in.
fn check_text(value: &str) -> Result<(), StoreError> {
    if value.chars().any(|char| char.is_control() && char != '\t') {
        return Err(StoreError::Invalid(format!("{value:?} holds a control character")));
    }
    Ok(())
}

pub(crate) fn check_tags(tags: &Pairs) -> Result<(), StoreError> {
    let own = tags.keys().filter(|name| !is_reserved_tag(name)).count();
    at_most("tags", own as u64, TAGS_MAX as u64)?;
    for (name, value) in tags {
        if name.is_empty() {
            return Err(StoreError::Invalid("a tag has no name".into()));
        }
        let chars = |text: &str| text.chars().count() as u64;
        at_most("tag name characters", chars(name), TAG_NAME_CHARS_MAX as u64)?;
        at_most("tag value characters", chars(value), TAG_VALUE_CHARS_MAX as u64)?;
    }
    Ok(())
}

pub(crate) fn check_headers(headers: &crate::ObjectHeaders) -> Result<(), StoreError> {
    let all = [
        &headers.content_type,
        &headers.content_encoding,
        &headers.content_language,
        &headers.content_disposition,
        &headers.cache_control,
        &headers.expires,
    ];
    all.into_iter().flatten().try_for_each(|value| {
        at_most("header bytes", value.len() as u64, HEADER_BYTES_MAX as u64)?;
        check_text(value)
    })
}
