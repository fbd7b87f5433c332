//! Random access to the bytes of an upload, and the few ways the demuxers read them.

use std::cell::RefCell;

use crate::error::MediaError;

/// Most bytes asked of [`Input::read_at`] in one call: 4 MiB. It bounds the memory of one host
/// call in the sandbox; longer pieces are read in several calls.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// An input of known length that can be read anywhere.
///
/// Shared by several decoders, hence `&self`. Called with at most [`READ_BYTES_MAX`] bytes.
pub trait Input {
    /// Length in bytes. Must not change while the input is used.
    fn len(&self) -> u64;

    /// Reads `len` bytes at `offset`; shorter only where the input ends, empty past its end.
    ///
    /// # Errors
    /// [`MediaError::Input`] with the cause, where the bytes could not be had.
    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError>;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Input for [u8] {
    fn len(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(len).min(self.len());
        Ok(self.get(start..end).unwrap_or_default().to_vec())
    }
}

impl Input for Vec<u8> {
    fn len(&self) -> u64 {
        Input::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        self.as_slice().read_at(offset, len)
    }
}

/// Reads exactly `len` bytes in calls of at most [`READ_BYTES_MAX`].
///
/// The length is checked against the input's before anything is allocated.
pub(crate) fn read_exact(
    input: &dyn Input,
    offset: u64,
    len: usize,
    what: &str,
) -> Result<Vec<u8>, MediaError> {
    let end = offset.checked_add(len as u64);
    if end.is_none_or(|end| input.len() < end) {
        return Err(MediaError::damaged_at(format!("{what} reaches past the end"), offset));
    }
    let mut bytes = input.read_at(offset, len.min(READ_BYTES_MAX))?;
    while bytes.len() < len {
        let wanted = (len - bytes.len()).min(READ_BYTES_MAX);
        let more = input.read_at(offset + bytes.len() as u64, wanted)?;
        if more.is_empty() {
            return Err(MediaError::damaged_at(format!("{what} is cut off"), offset));
        }
        bytes.extend_from_slice(&more);
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// A window over the input, for walking many small headers without one call for each.
pub(crate) struct Window<'a> {
    input: &'a dyn Input,
    state: RefCell<(u64, Vec<u8>)>,
    bytes: usize,
}

impl<'a> Window<'a> {
    /// A window of at most `bytes` bytes.
    pub(crate) fn new(input: &'a dyn Input, bytes: usize) -> Self {
        Self { input, state: RefCell::new((0, Vec::new())), bytes: bytes.min(READ_BYTES_MAX) }
    }

    pub(crate) fn len(&self) -> u64 {
        self.input.len()
    }

    /// Copies up to `N` bytes at `offset`; says how many there were before the end of the input.
    pub(crate) fn peek<const N: usize>(&self, offset: u64) -> Result<([u8; N], usize), MediaError> {
        let mut state = self.state.borrow_mut();
        let wanted = u64::min(N as u64, self.input.len().saturating_sub(offset));
        let held = state.0..state.0 + state.1.len() as u64;
        if !(held.contains(&offset) && offset + wanted <= held.end) && 0 < wanted {
            *state = (offset, self.input.read_at(offset, self.bytes.max(N))?);
        }
        let start = usize::try_from(offset - state.0.min(offset)).unwrap_or(usize::MAX);
        let found = state.1.get(start..).unwrap_or_default();
        let mut out = [0; N];
        let n = found.len().min(N);
        for (to, from) in out.iter_mut().zip(found) {
            *to = *from;
        }
        Ok((out, n))
    }
}
