//! `stbl`: the sample tables of a track that is not fragmented.

use super::boxes::{Boxes, full};
use crate::{
    bytes::Bytes,
    error::{MediaError, at_most},
    limits::Limits,
    model::Sample,
};

/// Run-length coded table: (count, value) pairs, read one value at a time.
struct Runs<'a> {
    entries: Bytes<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    /// Opens a table of pairs; a table that is missing repeats `absent`.
    fn new(body: Option<&'a [u8]>, absent: u32) -> Result<Self, MediaError> {
        let Some(body) = body else {
            return Ok(Self { entries: Bytes::new(&[]), left: 0, value: absent });
        };
        let entries = counted(full(body)?.2, 8)?;
        Ok(Self { entries, left: 0, value: absent })
    }

    /// The next value; past the end of the table the last one again, as players do.
    fn next(&mut self) -> Result<u32, MediaError> {
        while self.left == 0 && !self.entries.is_empty() {
            self.left = self.entries.u32()?;
            self.value = self.entries.u32()?;
        }
        self.left = self.left.saturating_sub(1);
        Ok(self.value)
    }
}

/// A table behind its count: exactly the entries, checked to be there.
fn counted(mut bytes: Bytes<'_>, entry_bytes: usize) -> Result<Bytes<'_>, MediaError> {
    let count = bytes.u32()?;
    let len = (count as usize).checked_mul(entry_bytes);
    let entries = len.and_then(|len| bytes.take(len).ok());
    entries.map(Bytes::new).ok_or_else(|| {
        MediaError::damaged(format!("a sample table says {count} entries but holds fewer"))
    })
}

/// Sizes of the samples, from `stsz` or `stz2`.
struct Sizes<'a> {
    count: u32,
    fixed: u32,
    bits: u8,
    table: Bytes<'a>,
    half: Option<u8>,
}

impl<'a> Sizes<'a> {
    fn new(table: Boxes<'a>) -> Result<Self, MediaError> {
        if let Some(body) = table.find(b"stsz")? {
            let mut bytes = full(body)?.2;
            let (fixed, count) = (bytes.u32()?, bytes.u32()?);
            return Ok(Self { count, fixed, bits: 32, table: bytes, half: None });
        }
        let Some(body) = table.find(b"stz2")? else {
            return Ok(Self { count: 0, fixed: 0, bits: 32, table: Bytes::new(&[]), half: None });
        };
        let mut bytes = full(body)?.2;
        let (bits, count) = (bytes.u32()?.to_be_bytes()[3], bytes.u32()?);
        if ![4, 8, 16].contains(&bits) {
            return Err(MediaError::damaged(format!("sample sizes of {bits} bits")));
        }
        Ok(Self { count, fixed: 0, bits, table: bytes, half: None })
    }

    fn next(&mut self) -> Result<u32, MediaError> {
        if self.fixed != 0 {
            return Ok(self.fixed);
        }
        match self.bits {
            4 => {
                if let Some(low) = self.half.take() {
                    return Ok(u32::from(low));
                }
                let both = self.table.u8()?;
                self.half = Some(both & 15);
                Ok(u32::from(both >> 4))
            }
            8 => self.table.u8().map(u32::from),
            16 => self.table.u16().map(u32::from),
            _ => self.table.u32(),
        }
    }
}

/// Which samples are random access points: `stss`, or all.
struct Keys<'a> {
    listed: Option<Bytes<'a>>,
    next: u32,
}

impl<'a> Keys<'a> {
    fn new(body: Option<&'a [u8]>) -> Result<Self, MediaError> {
        let listed = body.map(|body| counted(full(body)?.2, 4)).transpose()?;
        Ok(Self { listed, next: 0 })
    }

    /// Whether sample `number`, counted from 1 and asked in order, is listed.
    fn has(&mut self, number: u32) -> Result<bool, MediaError> {
        let Some(listed) = &mut self.listed else { return Ok(true) };
        while self.next < number && !listed.is_empty() {
            self.next = listed.u32()?;
        }
        Ok(self.next == number)
    }
}

/// Chunk offsets, from `stco` or `co64`.
struct Chunks<'a> {
    offsets: Bytes<'a>,
    wide: bool,
}

impl<'a> Chunks<'a> {
    fn new(table: Boxes<'a>) -> Result<Self, MediaError> {
        if let Some(body) = table.find(b"stco")? {
            return Ok(Self { offsets: counted(full(body)?.2, 4)?, wide: false });
        }
        match table.find(b"co64")? {
            Some(body) => Ok(Self { offsets: counted(full(body)?.2, 8)?, wide: true }),
            None => Ok(Self { offsets: Bytes::new(&[]), wide: false }),
        }
    }

    fn next(&mut self) -> Result<Option<u64>, MediaError> {
        if self.offsets.is_empty() {
            return Ok(None);
        }
        let offset = if self.wide { self.offsets.u64()? } else { u64::from(self.offsets.u32()?) };
        Ok(Some(offset))
    }
}

/// How many samples each chunk holds, from `stsc`.
struct PerChunk<'a> {
    entries: Bytes<'a>,
    next_first: u32,
    next_samples: u32,
    samples: u32,
}

impl<'a> PerChunk<'a> {
    fn new(body: Option<&'a [u8]>) -> Result<Self, MediaError> {
        let entries = match body {
            Some(body) => counted(full(body)?.2, 12)?,
            None => Bytes::new(&[]),
        };
        let mut this = Self { entries, next_first: 0, next_samples: 0, samples: 0 };
        this.advance()?;
        Ok(this)
    }

    fn advance(&mut self) -> Result<(), MediaError> {
        self.samples = self.next_samples;
        if self.entries.is_empty() {
            self.next_first = u32::MAX;
            return Ok(());
        }
        self.next_first = self.entries.u32()?;
        self.next_samples = self.entries.u32()?;
        if self.entries.u32()? != 1 {
            return Err(MediaError::unsupported("a track whose codec changes in the middle"));
        }
        Ok(())
    }

    /// Samples in chunk `number`, counted from 1 and asked in order.
    fn of(&mut self, number: u32) -> Result<u32, MediaError> {
        // Each entry starts after the one before, or the table is not sorted and would loop.
        while self.next_first <= number && self.next_first != u32::MAX {
            self.advance()?;
        }
        Ok(self.samples)
    }
}

/// Expands the tables; `pts` is the composition time, before edits.
pub(super) fn samples(
    table: Boxes<'_>,
    samples_max: u64,
    limits: &Limits,
) -> Result<Vec<Sample>, MediaError> {
    let mut sizes = Sizes::new(table)?;
    at_most("samples", u64::from(sizes.count), samples_max)?;
    let mut steps = Runs::new(table.find(b"stts")?, 0)?;
    let mut shifts = Runs::new(table.find(b"ctts")?, 0)?;
    let mut keys = Keys::new(table.find(b"stss")?)?;
    let mut chunks = Chunks::new(table)?;
    let mut per_chunk = PerChunk::new(table.find(b"stsc")?)?;
    let mut samples = Vec::new();
    let mut dts = 0_i64;
    let mut number = 0_u32;
    let mut chunk = 0_u32;
    while number < sizes.count {
        let Some(mut offset) = chunks.next()? else {
            return Err(MediaError::damaged(format!(
                "{} samples have no place in the file",
                sizes.count - number
            )));
        };
        chunk = chunk.saturating_add(1);
        for _ in 0..per_chunk.of(chunk)?.min(sizes.count - number) {
            number += 1;
            let size = sizes.next()?;
            at_most("bytes of one sample", u64::from(size), limits.sample_bytes)?;
            let duration = steps.next()?;
            // Version 0 says unsigned, but writers put negative numbers there all the same.
            let shift = i64::from(shifts.next()?.cast_signed());
            samples.push(Sample {
                offset,
                size,
                dts,
                pts: dts.saturating_add(shift),
                duration,
                key: keys.has(number)?,
                shown: true,
            });
            dts = dts.saturating_add(i64::from(duration));
            offset = offset.saturating_add(u64::from(size));
        }
    }
    Ok(samples)
}
