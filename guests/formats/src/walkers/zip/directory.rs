//! The end of the central directory (APPNOTE 4.3.14 to 4.3.16), from which an archive is read.

use crate::{
    input::Reader,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

const END_SIGNATURE: &[u8; 4] = b"PK\x05\x06";
/// Bytes of the record without its comment, whose length has 16 bits.
const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
/// Candidates for the end of the directory that are looked at: comments and stored archives may
/// hold the signature, but not thousands of times.
const CANDIDATES_MAX: u32 = 256;

/// Where the central directory is, and where the archive ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub(super) entries: u64,
    pub(super) start: u64,
    pub(super) size: u64,
    /// Offset of the end record.
    pub(super) end_record: u64,
    /// Behind the comment.
    pub(super) end: u64,
}

/// The last end record whose comment the file has room for, near the end of the file.
pub(crate) fn find_end(reader: &mut Reader<'_>) -> Result<Option<u64>, Stop> {
    let start = reader.len().saturating_sub(END_BYTES + u64::from(u16::MAX));
    find_from(reader, start)
}

fn find_from(reader: &mut Reader<'_>, start: u64) -> Result<Option<u64>, Stop> {
    let (mut before, mut glance) = (reader.len(), reader.glance());
    for _ in 0..CANDIDATES_MAX {
        let Some(at) = reader.rfind(END_SIGNATURE, start, before)? else { return Ok(None) };
        if is_end(&mut glance, at)? {
            return Ok(Some(at));
        }
        before = at + END_SIGNATURE.len() as u64 - 1;
    }
    Ok(None)
}

/// Whether the record's comment fits, and a directory lies before it.
fn is_end(glance: &mut Reader<'_>, at: u64) -> Result<bool, Stop> {
    if glance.len() < at + END_BYTES {
        return Ok(false);
    }
    let size = u64::from(glance.u32_le(at + 12, "the directory")?);
    let comment = u64::from(glance.u16_le(at + 20, "the directory")?);
    if glance.len() < at + END_BYTES + comment {
        return Ok(false);
    }
    // Where ZIP64 is used the record before is its locator.
    let locator = at.saturating_sub(LOCATOR_BYTES);
    if size == 0 || glance.peek(locator, 4)? == b"PK\x06\x07" {
        return Ok(true);
    }
    let Some(directory) = at.checked_sub(size) else { return Ok(false) };
    Ok(glance.peek(directory, 4)? == b"PK\x01\x02")
}

impl Directory {
    pub(super) fn find(scan: &mut Scan<'_>) -> Result<Self, Stop> {
        let total = scan.len();
        let mut found = find_end(&mut scan.reader)?;
        if found.is_none() {
            // Something was appended: the archive may end anywhere.
            found = find_from(&mut scan.reader, 0)?;
        }
        let at = found.ok_or_else(|| invalid(total, "there is no end of the central directory"))?;
        let reader = &mut scan.reader;
        let disks = reader.u32_le(at + 4, "the end record")?;
        let here = u64::from(reader.u16_le(at + 8, "the end record")?);
        let entries = u64::from(reader.u16_le(at + 10, "the end record")?);
        let size = u64::from(reader.u32_le(at + 12, "the end record")?);
        let start = u64::from(reader.u32_le(at + 16, "the end record")?);
        let comment = u64::from(reader.u16_le(at + 20, "the end record")?);
        let mut directory =
            Self { entries, start, size, end_record: at, end: at + END_BYTES + comment };
        let mut directory_end = at;
        let saturated = entries == 0xFFFF || size == 0xFFFF_FFFF || start == 0xFFFF_FFFF;
        let locator = at.checked_sub(LOCATOR_BYTES);
        let wide = match locator {
            Some(locator) => reader.fourcc(locator, "the locator")? == *b"PK\x06\x07",
            None => false,
        };
        if let (true, Some(locator)) = (wide, locator) {
            directory_end = directory.widen(scan, locator)?;
        } else {
            ensure(!saturated || entries == 0xFFFF, at, || {
                "the ZIP64 record is missing".to_owned()
            })?;
            ensure(disks == 0 && here == entries, at, || "a part of a split archive".to_owned())?;
        }
        let end = directory.start.checked_add(directory.size);
        ensure(end == Some(directory_end), at, || directory.misplaced(directory_end))?;
        // The smallest record has 46 bytes, so that entries cannot be promised for nothing.
        ensure(directory.entries <= directory.size / 46, at, || {
            format!("{} entries in a directory of {} bytes", directory.entries, directory.size)
        })?;
        Ok(directory)
    }

    /// Takes the numbers of the ZIP64 record (4.3.14); gives its offset.
    fn widen(&mut self, scan: &mut Scan<'_>, locator: u64) -> Result<u64, Stop> {
        let record = scan.reader.u64_le(locator + 8, "the locator")?;
        let fits = record.checked_add(56).is_some_and(|end| end <= locator);
        let signed = fits && &scan.reader.fourcc(record, "the record")? == b"PK\x06\x06";
        ensure(signed, locator, || format!("no ZIP64 record begins at byte {record}"))?;
        let bytes = scan.reader.u64_le(record + 4, "the record")?;
        ensure(record.checked_add(12 + bytes.min(locator)) == Some(locator), record, || {
            format!("the ZIP64 record claims {bytes} bytes")
        })?;
        self.entries = scan.reader.u64_le(record + 32, "the record")?;
        self.size = scan.reader.u64_le(record + 40, "the record")?;
        self.start = scan.reader.u64_le(record + 48, "the record")?;
        Ok(record)
    }

    fn misplaced(&self, directory_end: u64) -> String {
        match directory_end.checked_sub(self.size).and_then(|real| real.checked_sub(self.start)) {
            Some(shift) => format!("{shift} bytes lie before the first entry or the directory"),
            None => "the directory reaches past its end record".to_owned(),
        }
    }
}
