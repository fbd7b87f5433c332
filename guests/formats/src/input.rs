//! Random access to the bytes of an upload, and the window through which the walkers read it.

use crate::stop::{Stop, invalid};

/// Most bytes asked of [`Input::read_at`] in one call: 256 KiB. It bounds the memory of one host
/// call in the sandbox, and is large enough that the cost of a call does not show.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// Bytes read for a look at a far place: an entry of a table points there, and the next entry
/// will point elsewhere.
const GLANCE_BYTES: usize = 4 << 10;

/// Bytes of the window of each of several readers that go forwards side by side.
const CURSOR_BYTES: usize = 64 << 10;

/// The input could not be read; the text comes from the [`Input`]. May be worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the input could not be read: {0}")]
pub struct InputError(pub String);

/// An input of known length that can be read anywhere.
///
/// Called with at most [`READ_BYTES_MAX`] bytes, mostly forwards.
pub trait Input {
    /// Length in bytes. Must not change while the input is used.
    fn len(&self) -> u64;

    /// Reads `len` bytes at `offset`; shorter only where the input ends, empty past its end.
    ///
    /// # Errors
    /// [`InputError`] with the cause, where the bytes could not be had.
    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, InputError>;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Input for [u8] {
    fn len(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, InputError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(len).min(self.len());
        Ok(self.get(start..end).unwrap_or_default().to_vec())
    }
}

impl Input for Vec<u8> {
    fn len(&self) -> u64 {
        Input::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, InputError> {
        self.as_slice().read_at(offset, len)
    }
}

/// A window over the input: many small fields are read with one call.
pub(crate) struct Reader<'a> {
    input: &'a dyn Input,
    window_bytes: usize,
    start: u64,
    held: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// For walking forwards.
    pub(crate) fn new(input: &'a dyn Input) -> Self {
        Self { input, window_bytes: READ_BYTES_MAX, start: 0, held: Vec::new() }
    }

    /// A second reader of the same input, for looks at many far places.
    pub(crate) fn glance(&self) -> Self {
        Self { window_bytes: GLANCE_BYTES, ..Self::new(self.input) }
    }

    /// One of several readers that go forwards side by side.
    pub(crate) fn cursor(&self) -> Self {
        Self { window_bytes: CURSOR_BYTES, ..Self::new(self.input) }
    }

    /// Length of the input in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.input.len()
    }

    /// The bytes at `offset`, at most `len` and [`READ_BYTES_MAX`]; fewer where the input ends.
    pub(crate) fn peek(&mut self, offset: u64, len: usize) -> Result<&[u8], Stop> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len.min(READ_BYTES_MAX).min(left);
        if self.within(offset, wanted).is_none() {
            let bytes = self.window_bytes.max(wanted).min(left);
            // Dropped first, so that two windows are never held at once.
            self.held = Vec::new();
            self.held = self.input.read_at(offset, bytes).map_err(Stop::Input)?;
            self.start = offset;
            if self.held.len() < wanted {
                let got = self.held.len();
                let text = format!("{got} of {wanted} bytes came from byte {offset}");
                return Err(Stop::Input(InputError(text)));
            }
        }
        Ok(self.within(offset, wanted).unwrap_or_default())
    }

    fn within(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.held.get(at..at.checked_add(len)?)
    }

    /// Exactly `len` bytes, at most [`READ_BYTES_MAX`]; `what` is cut off where the input ends.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize, what: &str) -> Result<&[u8], Stop> {
        let total = self.len();
        let found = self.peek(offset, len)?;
        if found.len() < len {
            return Err(invalid(total, format!("{what} is cut off by the end of the file")));
        }
        Ok(found)
    }

    /// The next piece of `offset..end`: never empty, at most a window long.
    pub(crate) fn piece(&mut self, offset: u64, end: u64, what: &str) -> Result<&[u8], Stop> {
        let total = self.len();
        // An empty piece would let its caller go round for ever.
        if end.min(total) <= offset {
            return Err(invalid(total, format!("{what} is cut off by the end of the file")));
        }
        let wanted = usize::try_from(end.min(total) - offset).unwrap_or(usize::MAX);
        // What the window still holds comes first, so that no byte is read twice.
        let held_end = self.start + self.held.len() as u64;
        let held = if self.start <= offset { held_end.saturating_sub(offset) } else { 0 };
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        let bytes = if held == 0 { self.window_bytes } else { held };
        self.bytes(offset, wanted.min(bytes), what)
    }

    /// Feeds `start..end` to `sink`, piece by piece.
    pub(crate) fn feed(
        &mut self,
        start: u64,
        end: u64,
        what: &str,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let mut at = start;
        while at < end {
            let piece = self.piece(at, end, what)?;
            sink(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, offset: u64, what: &str) -> Result<[u8; N], Stop> {
        let found = self.bytes(offset, N, what)?;
        found.try_into().map_err(|_| invalid(offset, format!("{what} is cut off")))
    }

    pub(crate) fn fourcc(&mut self, offset: u64, what: &str) -> Result<[u8; 4], Stop> {
        self.array(offset, what)
    }

    pub(crate) fn u8(&mut self, offset: u64, what: &str) -> Result<u8, Stop> {
        self.array(offset, what).map(u8::from_be_bytes)
    }

    pub(crate) fn u16_be(&mut self, offset: u64, what: &str) -> Result<u16, Stop> {
        self.array(offset, what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self, offset: u64, what: &str) -> Result<u32, Stop> {
        self.array(offset, what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64_be(&mut self, offset: u64, what: &str) -> Result<u64, Stop> {
        self.array(offset, what).map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self, offset: u64, what: &str) -> Result<u16, Stop> {
        self.array(offset, what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self, offset: u64, what: &str) -> Result<u32, Stop> {
        self.array(offset, what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self, offset: u64, what: &str) -> Result<u64, Stop> {
        self.array(offset, what).map(u64::from_le_bytes)
    }

    /// Offset of the first `needle` that lies wholly in `start..end`.
    pub(crate) fn find(
        &mut self,
        needle: &[u8],
        start: u64,
        end: u64,
    ) -> Result<Option<u64>, Stop> {
        let finder = memchr::memmem::Finder::new(needle);
        let end = end.min(self.len());
        let overlap = needle.len().saturating_sub(1);
        let mut at = start;
        while at + (overlap as u64) < end {
            let span = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.window_bytes);
            let piece = self.peek(at, span)?;
            if let Some(found) = finder.find(piece) {
                return Ok(Some(at + found as u64));
            }
            at += (piece.len() - overlap) as u64;
        }
        Ok(None)
    }

    /// Offset of the last `needle` that lies wholly in `start..end`.
    pub(crate) fn rfind(
        &mut self,
        needle: &[u8],
        start: u64,
        end: u64,
    ) -> Result<Option<u64>, Stop> {
        let finder = memchr::memmem::FinderRev::new(needle);
        let overlap = needle.len().saturating_sub(1) as u64;
        let mut end = end.min(self.len());
        while start + overlap < end {
            let from = end.saturating_sub(self.window_bytes as u64).max(start);
            let span = usize::try_from(end - from).unwrap_or(usize::MAX);
            if let Some(found) = finder.rfind(self.peek(from, span)?) {
                return Ok(Some(from + found as u64));
            }
            if from == start {
                break;
            }
            end = from + overlap;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_across_the_edges_of_windows() {
        let mut bytes = vec![b'.'; 3 * READ_BYTES_MAX];
        for at in [0, READ_BYTES_MAX - 2, 2 * READ_BYTES_MAX - 1, 3 * READ_BYTES_MAX - 4] {
            bytes[at..at + 4].copy_from_slice(b"mark");
        }
        let mut reader = Reader::new(&bytes);
        let end = reader.len();
        let (mut forwards, mut at) = (Vec::new(), 0);
        while let Some(found) = reader.find(b"mark", at, end).unwrap() {
            forwards.push(found);
            at = found + 1;
        }
        let (mut backwards, mut at) = (Vec::new(), end);
        while let Some(found) = reader.rfind(b"mark", 0, at).unwrap() {
            backwards.insert(0, found);
            at = found + 3;
        }
        assert_eq!(forwards.len(), 4);
        assert_eq!(forwards, backwards);
        assert_eq!(reader.find(b"mark", 1, READ_BYTES_MAX as u64 + 1).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_is_said_with_the_end() {
        let bytes = vec![1, 2, 3];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u16_be(1, "size").unwrap(), 0x0203);
        assert_eq!(
            reader.u32_be(1, "size").unwrap_err(),
            invalid(3, "size is cut off by the end of the file")
        );
        assert!(reader.piece(3, 9, "a piece is never empty").is_err());
    }
}
