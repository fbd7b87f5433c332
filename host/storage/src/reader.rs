//! Reading an object, pinned to one version.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use backlot_ledger::objects::{BlobId, Content, Piece, Place};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::body::joined;
use crate::pins::{Look, Pin};
use crate::store::{Result, Shared};
use crate::{ObjectInfo, StoreError};

/// Bytes of one chunk of [`ObjectReader::stream`].
pub const CHUNK_BYTES: u64 = 256 * 1024;
/// Chunks that a stream reads at once: the one that is awaited and the one after.
const CHUNKS_AHEAD: usize = 2;

/// A reader pinned to one version: its bytes stay readable until it (and every stream made of it)
/// is dropped, whatever happens to the object. Clones share the pin.
#[derive(Clone)]
pub struct ObjectReader {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    info: ObjectInfo,
    pieces: Vec<Piece>,
    /// Where in the object each piece begins.
    starts: Vec<u64>,
    /// The bytes of the only piece's blob, if the ledger gave them along.
    data: Option<Bytes>,
    /// The file that was read last: most objects have but one.
    file: Mutex<Option<(BlobId, Arc<File>)>>,
    _pin: Pin,
}

impl ObjectReader {
    pub(crate) fn new(shared: Arc<Shared>, look: Look, content: Content) -> ObjectReader {
        let pin = look.pin(&content.pieces);
        let mut starts = Vec::with_capacity(content.pieces.len());
        let mut start = 0;
        for piece in &content.pieces {
            starts.push(start);
            start += piece.len;
        }
        let inner = Inner {
            shared,
            info: content.info,
            pieces: content.pieces,
            starts,
            data: content.data.map(Bytes::from),
            file: Mutex::new(None),
            _pin: pin,
        };
        ObjectReader { inner: Arc::new(inner) }
    }

    /// What is being read.
    #[must_use]
    pub fn info(&self) -> &ObjectInfo {
        &self.inner.info
    }

    /// At most `len` bytes from `offset`; fewer only at the end, none at or past it. The caller
    /// bounds `len`: they are all held in memory.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.inner.clone().read(offset, len as u64).await
    }

    /// The bytes of a range in chunks of at most [`CHUNK_BYTES`], reading one chunk ahead. The
    /// stream holds the pin.
    ///
    /// # Errors
    /// `RangeNotSatisfiable` unless the range lies within the object.
    pub fn stream(
        self,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let Range { start, end } = range;
        let size = self.inner.info.size;
        if end < start || size < end {
            return Err(StoreError::RangeNotSatisfiable { start, end, size });
        }
        let chunks = (0..(end - start).div_ceil(CHUNK_BYTES)).map(move |chunk| {
            let offset = start + chunk * CHUNK_BYTES;
            let inner = self.inner.clone();
            async move {
                let len = CHUNK_BYTES.min(end - offset);
                inner.read(offset, len).await
            }
        });
        Ok(stream::iter(chunks).buffered(CHUNKS_AHEAD))
    }

    pub(crate) fn pieces(&self, range: &Range<u64>) -> Vec<Piece> {
        self.inner.pieces_in(range.start, range.end)
    }
}

impl Inner {
    async fn read(self: Arc<Self>, offset: u64, len: u64) -> Result<Bytes> {
        let end = offset.saturating_add(len).min(self.info.size);
        if end <= offset {
            return Ok(Bytes::new());
        }
        if let (Some(data), [piece]) = (&self.data, self.pieces.as_slice()) {
            return slice(data, piece.offset + offset, end - offset);
        }
        let shared = self.shared.clone();
        joined(shared.disk_job(move || self.read_blocking(offset, end)).await?).await
    }

    fn read_blocking(&self, start: u64, end: u64) -> Result<Bytes> {
        let len = usize::try_from(end - start)
            .map_err(|_| StoreError::Invalid("more bytes than fit in memory".into()))?;
        let mut bytes = Vec::with_capacity(len);
        for piece in self.pieces_in(start, end) {
            match piece.place {
                Place::Ledger => {
                    let data = self.shared.ledger.blob_data_blocking(piece.blob)?;
                    bytes.extend_from_slice(&slice(&data.into(), piece.offset, piece.len)?);
                }
                Place::File => {
                    let filled = bytes.len();
                    // The sum of the pieces' lengths is `len`, so this stays within the capacity.
                    bytes.resize(filled + usize::try_from(piece.len).unwrap_or(len), 0);
                    let target = bytes.get_mut(filled..).unwrap_or_default();
                    let file = self.open(piece.blob)?;
                    crate::disk::read_exact_at(&file, target, piece.offset)
                        .map_err(StoreError::Disk)?;
                }
            }
        }
        Ok(bytes.into())
    }

    fn open(&self, id: BlobId) -> Result<Arc<File>> {
        let mut last = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = last.as_ref().filter(|(open, _)| *open == id) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.shared.disk.read(id).map_err(StoreError::Disk)?);
        *last = Some((id, file.clone()));
        Ok(file)
    }

    /// The pieces, cut to a stretch of the object.
    fn pieces_in(&self, start: u64, end: u64) -> Vec<Piece> {
        let first = self.starts.partition_point(|begin| *begin <= start).saturating_sub(1);
        let pieces = self.starts.iter().zip(&self.pieces).skip(first);
        pieces
            .take_while(|(begin, _)| **begin < end)
            .filter_map(|(begin, piece)| {
                let from = start.max(*begin);
                let to = end.min(begin + piece.len);
                let offset = piece.offset + (from - begin);
                (from < to).then(|| Piece { offset, len: to - from, ..*piece })
            })
            .collect()
    }
}

fn slice(data: &Bytes, offset: u64, len: u64) -> Result<Bytes> {
    let range = usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok());
    match range {
        Some((start, end)) if end <= data.len() => Ok(data.slice(start..end)),
        _ => Err(StoreError::Unavailable("a blob is shorter than the index says".into())),
    }
}
