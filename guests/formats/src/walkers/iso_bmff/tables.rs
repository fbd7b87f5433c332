//! Sample tables: read side by side with small windows, however many samples there are.

use crate::{
    input::Reader,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

use super::inside_media;

/// Where the tables of a track are (8.6 and 8.7): body and end of each box.
#[derive(Debug, Default)]
pub(super) struct SampleTable {
    times: Option<(u64, u64)>,
    sizes: Option<(u64, u64)>,
    compact_sizes: Option<(u64, u64)>,
    chunks: Option<(u64, u64)>,
    offsets: Option<(u64, u64)>,
    long_offsets: Option<(u64, u64)>,
    descriptions: Option<u32>,
}

/// Checks that `count` entries of `entry_bytes` fill a table.
pub(super) fn fills(
    name: &str,
    count: u64,
    entry_bytes: u64,
    start: u64,
    end: u64,
) -> Result<(), Stop> {
    let room = end.saturating_sub(start);
    ensure(count * entry_bytes == room, start, || {
        format!(
            "table {name} of {count} entries has {room} bytes instead of {}",
            count * entry_bytes
        )
    })
}

/// Reads a table from front to back.
struct Cursor<'a> {
    reader: Reader<'a>,
    at: u64,
}

impl Cursor<'_> {
    fn u32(&mut self) -> Result<u32, Stop> {
        let value = self.reader.u32_be(self.at, "a sample table")?;
        self.at += 4;
        Ok(value)
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        let value = self.reader.u64_be(self.at, "a sample table")?;
        self.at += 8;
        Ok(value)
    }
}

impl SampleTable {
    /// Remembers a table, whose size must be that of its entries.
    pub(super) fn note(
        &mut self,
        scan: &mut Scan<'_>,
        kind: [u8; 4],
        body: u64,
        end: u64,
    ) -> Result<(), Stop> {
        let mut count = |at| scan.reader.u32_be(at, "a sample table").map(u64::from);
        let slot = match &kind {
            b"stts" => &mut self.times,
            b"stsz" => &mut self.sizes,
            b"stz2" => &mut self.compact_sizes,
            b"stsc" => &mut self.chunks,
            b"stco" => &mut self.offsets,
            b"co64" => &mut self.long_offsets,
            b"ctts" => return fills("ctts", count(body + 4)?, 8, body + 8, end),
            b"stss" => return fills("stss", count(body + 4)?, 4, body + 8, end),
            b"stsd" => {
                let count = scan.reader.u32_be(body + 4, "sample descriptions")?;
                self.descriptions = Some(count);
                return descriptions(scan, count, body + 8, end);
            }
            _ => return Ok(()),
        };
        ensure(slot.is_none(), body, || "a second table of the same kind".to_owned())?;
        *slot = Some((body, end));
        match &kind {
            b"stts" => fills("stts", count(body + 4)?, 8, body + 8, end),
            b"stsc" => fills("stsc", count(body + 4)?, 12, body + 8, end),
            b"stco" => fills("stco", count(body + 4)?, 4, body + 8, end),
            b"co64" => fills("co64", count(body + 4)?, 8, body + 8, end),
            b"stsz" => {
                let entry_bytes = if count(body + 4)? == 0 { 4 } else { 0 };
                fills("stsz", count(body + 8)?, entry_bytes, body + 12, end)
            }
            _ => {
                let bits = count(body + 4)? & 0xFF;
                let bytes = (count(body + 8)? * bits).div_ceil(8);
                ensure(matches!(bits, 4 | 8 | 16), body + 7, || format!("sizes of {bits} bits"))?;
                fills("stz2", bytes, 1, body + 12, end)
            }
        }
    }

    /// Checks that the tables agree and point into media data; gives the number of samples.
    pub(super) fn check(
        &self,
        scan: &mut Scan<'_>,
        media_data: &[(u64, u64)],
        at: u64,
    ) -> Result<u64, Stop> {
        let missing = |name: &str| invalid(at, format!("a track has no table {name}"));
        let descriptions = self.descriptions.ok_or_else(|| missing("stsd"))?;
        let (times, times_end) = self.times.ok_or_else(|| missing("stts"))?;
        let (chunks, chunks_end) = self.chunks.ok_or_else(|| missing("stsc"))?;
        let (offsets, wide) = match (self.offsets, self.long_offsets) {
            (Some((body, _)), None) => (body, false),
            (None, Some((body, _))) => (body, true),
            _ => return Err(missing("stco or co64")),
        };
        let mut sizes = Sizes::open(self, scan).ok_or_else(|| missing("stsz"))??;
        let timed = sum_of_times(scan, times + 8, times_end)?;
        ensure(timed == sizes.count, times, || {
            format!("{timed} samples have times, {} have sizes", sizes.count)
        })?;
        let cursor = |at| Cursor { reader: scan.reader.cursor(), at };
        let mut offsets_cursor = cursor(offsets + 4);
        let mut runs = Runs::open(cursor(chunks + 8), chunks_end, descriptions)?;
        let count = offsets_cursor.u32()?;
        for chunk in 1..=count {
            let entry = offsets_cursor.at;
            let offset =
                if wide { offsets_cursor.u64()? } else { u64::from(offsets_cursor.u32()?) };
            let bytes = sizes.take(runs.samples(chunk)?)?;
            ensure(bytes == 0 || inside_media(media_data, offset, bytes), entry, || {
                format!("chunk {chunk} of {bytes} bytes at byte {offset} is outside the media data")
            })?;
        }
        ensure(sizes.taken == sizes.count, chunks, || {
            format!("{} of {} samples are in chunks", sizes.taken, sizes.count)
        })?;
        runs.finish(count)?;
        Ok(sizes.count)
    }
}

/// Sample descriptions (8.5.2): boxes that fill theirs.
fn descriptions(scan: &mut Scan<'_>, count: u32, start: u64, end: u64) -> Result<(), Stop> {
    let (mut at, mut met) = (start, 0);
    while at < end && met < count {
        at = super::header(&mut scan.reader, at, end, false)?.end;
        scan.count(at)?;
        met += 1;
    }
    // QuickTime may end the list with 32 bits of zero.
    let rest = end.saturating_sub(at);
    ensure(met == count && matches!(rest, 0 | 4), start, || {
        format!("{met} of {count} sample descriptions are there")
    })
}

/// Sum of the counts of `stts` (8.6.1.2).
fn sum_of_times(scan: &mut Scan<'_>, start: u64, end: u64) -> Result<u64, Stop> {
    let mut cursor = Cursor { reader: scan.reader.cursor(), at: start };
    let mut sum = 0;
    while cursor.at < end {
        sum += u64::from(cursor.u32()?);
        cursor.u32()?;
    }
    Ok(sum)
}

/// The sizes of samples (8.7.3), taken chunk by chunk.
struct Sizes<'a> {
    cursor: Cursor<'a>,
    /// Of all samples, or 0 where each has its own.
    fixed: u64,
    /// Bits of each entry.
    bits: u32,
    count: u64,
    taken: u64,
}

impl<'a> Sizes<'a> {
    fn open(table: &SampleTable, scan: &mut Scan<'a>) -> Option<Result<Self, Stop>> {
        let (body, compact) = match (table.sizes, table.compact_sizes) {
            (Some((body, _)), None) => (body, false),
            (None, Some((body, _))) => (body, true),
            _ => return None,
        };
        let mut cursor = Cursor { reader: scan.reader.cursor(), at: body + 4 };
        let word = match cursor.u32() {
            Ok(word) => word,
            Err(stop) => return Some(Err(stop)),
        };
        let (fixed, bits) = if compact { (0, word & 0xFF) } else { (u64::from(word), 32) };
        Some(cursor.u32().map(|count| Self {
            cursor,
            fixed,
            bits,
            count: u64::from(count),
            taken: 0,
        }))
    }

    /// Bytes of the next `samples` samples.
    fn take(&mut self, samples: u64) -> Result<u64, Stop> {
        let at = self.cursor.at;
        let total = self.count;
        ensure(samples <= total - self.taken, at, || {
            format!("chunks of more than {total} samples")
        })?;
        if 0 < self.fixed {
            self.taken += samples;
            return Ok(samples * self.fixed);
        }
        let mut bytes = 0;
        for _ in 0..samples {
            bytes += self.next()?;
            self.taken += 1;
        }
        Ok(bytes)
    }

    fn next(&mut self) -> Result<u64, Stop> {
        if self.bits == 32 {
            return self.cursor.u32().map(u64::from);
        }
        // `stz2`: 4, 8 or 16 bits; two of 4 bits share a byte, the first in the high half.
        let bit = self.taken * u64::from(self.bits);
        let at = self.cursor.at + bit / 8;
        match self.bits {
            16 => self.cursor.reader.u16_be(at, "a sample size").map(u64::from),
            8 => self.cursor.reader.u8(at, "a sample size").map(u64::from),
            _ => {
                let pair = self.cursor.reader.u8(at, "a sample size")?;
                Ok(u64::from(if bit.is_multiple_of(8) { pair >> 4 } else { pair & 15 }))
            }
        }
    }
}

/// Runs of chunks with the same number of samples (8.7.4).
struct Runs<'a> {
    cursor: Cursor<'a>,
    end: u64,
    descriptions: u32,
    samples: u32,
    /// First chunk of the run that comes next.
    next: Option<u32>,
}

impl<'a> Runs<'a> {
    fn open(cursor: Cursor<'a>, end: u64, descriptions: u32) -> Result<Self, Stop> {
        let mut runs = Self { cursor, end, descriptions, samples: 0, next: None };
        runs.peek()?;
        Ok(runs)
    }

    fn peek(&mut self) -> Result<(), Stop> {
        let more = self.cursor.at < self.end;
        self.next = if more { Some(self.cursor.u32()?) } else { None };
        Ok(())
    }

    fn samples(&mut self, chunk: u32) -> Result<u64, Stop> {
        if self.next == Some(chunk) {
            let at = self.cursor.at;
            self.samples = self.cursor.u32()?;
            let description = self.cursor.u32()?;
            ensure((1..=self.descriptions).contains(&description), at + 4, || {
                format!("sample description {description} of {}", self.descriptions)
            })?;
            self.peek()?;
        }
        let at = self.cursor.at;
        ensure(0 < self.samples, at, || format!("chunk {chunk} is in no run of chunks"))?;
        Ok(u64::from(self.samples))
    }

    /// Runs that begin behind the last chunk, or before the run before them, were never met.
    fn finish(self, chunks: u32) -> Result<(), Stop> {
        let at = self.cursor.at;
        match self.next {
            // Some writers leave one run in a track without chunks.
            Some(first) if 0 < chunks => {
                Err(invalid(at, format!("a run of chunks begins at {first} of {chunks}")))
            }
            _ => Ok(()),
        }
    }
}
