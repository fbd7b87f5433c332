//! Reads samples in decode order, several with one call where they lie close together.

use crate::{
    error::{MediaError, at_most},
    input::{Input, READ_BYTES_MAX, read_exact},
    limits::Limits,
    model::Track,
};

/// Bytes of other tracks between two samples that are read along rather than skipped.
const GAP_BYTES_MAX: u64 = 128 << 10;

/// A buffer of at most [`READ_BYTES_MAX`] over the samples of a track up to `end`.
pub(crate) struct Reader<'a> {
    track: &'a Track,
    input: &'a dyn Input,
    limits: Limits,
    end: u32,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(track: &'a Track, input: &'a dyn Input, limits: Limits, end: u32) -> Self {
        Self { track, input, limits, end, start: 0, buffer: Vec::new() }
    }

    /// Byte offset of a sample.
    pub(crate) fn offset(&self, number: u32) -> u64 {
        self.track.samples.get(number as usize).map_or(0, |sample| sample.offset)
    }

    /// The bytes of a sample, with the track's prefix.
    pub(crate) fn read(&mut self, number: u32) -> Result<Vec<u8>, MediaError> {
        let Some(sample) = self.track.samples.get(number as usize) else {
            return Err(MediaError::request(format!("sample {number}")));
        };
        let (offset, size) = (sample.offset, sample.size as usize);
        at_most("bytes of one sample", u64::from(sample.size), self.limits.sample_bytes)?;
        if READ_BYTES_MAX < size {
            return self.prefixed(&read_exact(self.input, offset, size, "a sample")?);
        }
        if self.held(offset, size).is_none() {
            let len = self.span(number);
            // Dropped first, so that two buffers are never held at once.
            self.buffer = Vec::new();
            self.buffer = read_exact(self.input, offset, len, "a sample")?;
            self.start = offset;
        }
        let held = self.held(offset, size);
        self.prefixed(held.ok_or_else(|| MediaError::damaged_at("a sample is cut off", offset))?)
    }

    fn held(&self, offset: u64, size: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.buffer.get(at..at.checked_add(size)?)
    }

    /// Bytes to read for sample `number` and those after it that lie close.
    fn span(&self, number: u32) -> usize {
        let range = number as usize..(self.end as usize).max(number as usize + 1);
        let samples = self.track.samples.get(range).unwrap_or_default();
        let Some(first) = samples.first() else { return 0 };
        let mut end = first.offset + u64::from(first.size);
        for sample in samples.iter().skip(1) {
            let next = sample.offset.saturating_add(u64::from(sample.size));
            let near = end <= sample.offset && sample.offset - end <= GAP_BYTES_MAX;
            if !near || first.offset + (READ_BYTES_MAX as u64) < next {
                break;
            }
            end = next;
        }
        usize::try_from(end - first.offset).unwrap_or(0)
    }

    fn prefixed(&self, bytes: &[u8]) -> Result<Vec<u8>, MediaError> {
        if self.track.prefix.is_empty() {
            return Ok(bytes.to_vec());
        }
        Ok([self.track.prefix.as_slice(), bytes].concat())
    }
}
