//! Objects, whole and by prefix.

use backlot_media::{Input, MediaError};
use backlot_sdk::objects::{self, ObjectInfo, Reader, WriteOptions, Writer};

use crate::fault::Fault;
use crate::messages::Upload;
use crate::names::CONTENT_BUCKET;

/// Most bytes that one host call reads or writes (`backlot:storage`, `read` and `write`).
pub const CALL_BYTES_MAX: usize = 8 << 20;
/// Most bytes of an object that is read whole: an index of 4 million samples is 32 MiB.
const WHOLE_BYTES_MAX: u64 = 256 << 20;
/// Most objects that `list` answers.
const LIST_MAX: u32 = 1_000;

/// An upload, open at the very bytes that its event was about.
pub struct Source {
    reader: Reader,
    info: ObjectInfo,
}

impl Source {
    /// Open it. [`Fault::Gone`] if it was deleted or replaced.
    pub fn open(upload: &Upload) -> Result<Self, Fault> {
        let version = upload.version.as_deref();
        match objects::open(&upload.bucket, &upload.key, version) {
            Ok(reader) => {
                let info = reader.info();
                if info.content_id == upload.content_id {
                    Ok(Self { reader, info })
                } else {
                    Err(Fault::Gone)
                }
            }
            Err(objects::Error::NotFound | objects::Error::NoSuchBucket) => Err(Fault::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// The object's entity tag.
    pub fn etag(&self) -> &str {
        &self.info.etag
    }
}

impl Input for Source {
    fn len(&self) -> u64 {
        self.info.size
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        let len = u32::try_from(len.min(CALL_BYTES_MAX)).unwrap_or(u32::MAX);
        self.reader
            .read(offset, len)
            .map_err(|error| MediaError::Input(Fault::from(error).to_string()))
    }
}

/// An object that is being written, with a count of its bytes.
pub struct Sink {
    writer: Writer,
    bytes: u64,
}

impl Sink {
    /// Begin an object in the content bucket.
    pub fn create(key: &str, content_type: &str) -> Result<Self, Fault> {
        let writer = objects::create(CONTENT_BUCKET, key, &options(content_type))?;
        Ok(Self { writer, bytes: 0 })
    }

    /// Append.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        for chunk in data.chunks(CALL_BYTES_MAX) {
            self.writer.write(chunk)?;
        }
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Commit.
    pub fn finish(self) -> Result<(), Fault> {
        self.writer.finish()?;
        Ok(())
    }
}

fn options(content_type: &str) -> WriteOptions {
    WriteOptions {
        content_type: Some(content_type.to_owned()),
        metadata: Vec::new(),
        if_match: None,
        if_none_match: false,
    }
}

/// Write a whole object in the content bucket.
pub fn put(key: &str, content_type: &str, data: &[u8]) -> Result<(), Fault> {
    let mut sink = Sink::create(key, content_type)?;
    sink.write(data)?;
    sink.finish()
}

/// Make an object in the content bucket of others put end to end.
pub fn compose(key: &str, content_type: &str, sources: &[String]) -> Result<(), Fault> {
    objects::compose(CONTENT_BUCKET, key, sources, &options(content_type))?;
    Ok(())
}

/// Whether there is such an object in the content bucket.
pub fn is_stored(key: &str) -> Result<bool, Fault> {
    match objects::head(CONTENT_BUCKET, key, None) {
        Ok(_) => Ok(true),
        Err(objects::Error::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Read a whole object of the content bucket, if there is one.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
    let reader = match objects::open(CONTENT_BUCKET, key, None) {
        Ok(reader) => reader,
        Err(objects::Error::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let size = reader.info().size;
    if WHOLE_BYTES_MAX < size {
        return Err(Fault::Passing(format!("{key}: {size} bytes are too many to read at once")));
    }
    read(&reader, 0, size).map(Some)
}

/// Read a range, which must be there.
pub fn read(reader: &Reader, offset: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
    let mut data = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    while (data.len() as u64) < bytes {
        let at = offset + data.len() as u64;
        let rest = (bytes - data.len() as u64).min(CALL_BYTES_MAX as u64);
        let chunk = reader.read(at, u32::try_from(rest).unwrap_or(u32::MAX))?;
        if chunk.is_empty() {
            return Err(Fault::Passing(format!("an object of our own ends at byte {at}")));
        }
        data.extend(chunk);
    }
    Ok(data)
}

/// Delete every object of the content bucket under a prefix of which `keep` does not say to keep
/// it.
pub fn delete_under(prefix: &str, keep: impl Fn(&str) -> bool) -> Result<(), Fault> {
    let mut after = None;
    loop {
        let page = objects::list(CONTENT_BUCKET, prefix, after.as_deref(), LIST_MAX)?;
        for object in &page {
            if !keep(&object.key) {
                objects::delete(CONTENT_BUCKET, &object.key)?;
            }
        }
        match page.last() {
            Some(last) => after = Some(last.key.clone()),
            None => return Ok(()),
        }
    }
}
