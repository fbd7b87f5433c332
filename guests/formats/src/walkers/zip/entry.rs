//! An entry: its record in the central directory (APPNOTE 4.3.12), its local header (4.3.7), and
//! the descriptor behind its data (4.3.9).

use crate::{
    input::Reader,
    stop::{Stop, ensure, invalid},
    walk::printable,
};

const RECORD_BYTES: u64 = 46;
const LOCAL_BYTES: u64 = 30;
/// General purpose flags (4.4.4).
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;
/// In a 32-bit field: the number is in the ZIP64 extra field (4.5.3).
const WIDE: u64 = 0xFFFF_FFFF;

/// What the central directory says about an entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    flags: u16,
    pub(super) method: u16,
    pub(super) encrypted: bool,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) inflated: u64,
    /// Offset of the local header.
    pub(super) local: u64,
    /// Offset of the next record.
    pub(super) record_end: u64,
}

impl Entry {
    pub(super) fn read(reader: &mut Reader<'_>, at: u64) -> Result<Self, Stop> {
        let what = "the central directory";
        let signed = reader.fourcc(at, what)? == *b"PK\x01\x02";
        ensure(signed, at, || "no record of the directory begins here".to_owned())?;
        let flags = reader.u16_le(at + 8, what)?;
        let name_bytes = reader.u16_le(at + 28, what)?;
        let extra_bytes = u64::from(reader.u16_le(at + 30, what)?);
        let comment_bytes = u64::from(reader.u16_le(at + 32, what)?);
        let name_end = at + RECORD_BYTES + u64::from(name_bytes);
        let name = reader.bytes(at + RECORD_BYTES, name_bytes.into(), what)?.to_vec();
        let mut wide = Wide::find(reader, name_end, name_end + extra_bytes)?;
        let inflated = u64::from(reader.u32_le(at + 24, what)?);
        let compressed = u64::from(reader.u32_le(at + 20, what)?);
        let local = u64::from(reader.u32_le(at + 42, what)?);
        Ok(Self {
            flags,
            method: reader.u16_le(at + 10, what)?,
            encrypted: flags & FLAG_ENCRYPTED != 0,
            crc: reader.u32_le(at + 16, what)?,
            // In the order in which the extra field holds those that do not fit.
            inflated: wide.resolve(reader, inflated)?,
            compressed: wide.resolve(reader, compressed)?,
            local: wide.resolve(reader, local)?,
            name,
            record_end: name_end + extra_bytes + comment_bytes,
        })
    }

    /// Refuses names that lead out of the folder where the archive is unpacked.
    pub(super) fn check_name(&self, at: u64) -> Result<(), Stop> {
        let name = printable(&self.name);
        let utf8 = self.flags & FLAG_UTF8 == 0 || std::str::from_utf8(&self.name).is_ok();
        ensure(utf8, at, || format!("the name {name} is not UTF-8, as its flag says"))?;
        let mut parts = self.name.split(|byte| matches!(byte, b'/' | b'\\'));
        let climbs = parts.any(|part| part == b"..");
        let rooted = matches!(self.name.first(), None | Some(b'/' | b'\\'))
            || self.name.get(1) == Some(&b':');
        let hidden = self.name.contains(&0);
        ensure(!climbs && !rooted && !hidden, at, || {
            format!("the name {name} leads out of the archive")
        })
    }

    /// Where the data begins, behind the local header.
    pub(super) fn data_start(&self, reader: &mut Reader<'_>) -> Result<u64, Stop> {
        let what = "a local header";
        let name_bytes = u64::from(reader.u16_le(self.local + 26, what)?);
        let extra_bytes = u64::from(reader.u16_le(self.local + 28, what)?);
        Ok(self.local + LOCAL_BYTES + name_bytes + extra_bytes)
    }

    /// First and last byte of the entry before the directory; its local header must agree.
    pub(super) fn extent(&self, reader: &mut Reader<'_>, limit: u64) -> Result<(u64, u64), Stop> {
        let (at, what, name) = (self.local, "a local header", printable(&self.name));
        ensure(at.checked_add(LOCAL_BYTES).is_some_and(|end| end <= limit), at, || {
            format!("entry {name} begins behind the directory")
        })?;
        let signed = reader.fourcc(at, what)? == *b"PK\x03\x04";
        ensure(signed, at, || format!("no local header of entry {name} begins here"))?;
        let differs = |field: &str| invalid(at, format!("{field} of entry {name} differs"));
        let flags = reader.u16_le(at + 6, what)?;
        // Some writers set the flag of UTF-8 in one place only; no reader decides by it.
        if (flags ^ self.flags) & !FLAG_UTF8 != 0 {
            return Err(differs("the flags"));
        }
        if reader.u16_le(at + 8, what)? != self.method {
            return Err(differs("the method"));
        }
        let name_bytes = usize::from(reader.u16_le(at + 26, what)?);
        if reader.bytes(at + LOCAL_BYTES, name_bytes, what)? != self.name {
            return Err(differs("the name"));
        }
        let start = self.data_start(reader)?;
        let end = start.checked_add(self.compressed).filter(|end| *end <= limit);
        let end =
            end.ok_or_else(|| invalid(at, format!("entry {name} reaches into the directory")))?;
        let crc = reader.u32_le(at + 14, what)?;
        let compressed = u64::from(reader.u32_le(at + 18, what)?);
        let inflated = u64::from(reader.u32_le(at + 22, what)?);
        if flags & FLAG_DESCRIPTOR != 0 {
            let unset = |value: u64, known: u64| value == 0 || value == WIDE || value == known;
            let agrees = (crc == 0 || crc == self.crc)
                && unset(compressed, self.compressed)
                && unset(inflated, self.inflated);
            return if agrees {
                Ok((at, self.descriptor_end(reader, end, limit)?))
            } else {
                Err(differs("the size or CRC"))
            };
        }
        let name_end = at + LOCAL_BYTES + name_bytes as u64;
        let mut wide = Wide::find(reader, name_end, start)?;
        let inflated = wide.resolve(reader, inflated)?;
        let compressed = wide.resolve(reader, compressed)?;
        if (crc, compressed, inflated) != (self.crc, self.compressed, self.inflated) {
            return Err(differs("the size or CRC"));
        }
        Ok((at, end))
    }

    /// The descriptor comes with and without signature, and with sizes of 32 and of 64 bits.
    fn descriptor_end(&self, reader: &mut Reader<'_>, at: u64, limit: u64) -> Result<u64, Stop> {
        for (signature, narrow) in [(4, true), (4, false), (0, true), (0, false)] {
            let size_bytes = if narrow { 4 } else { 8 };
            let end = at + signature + 4 + 2 * size_bytes;
            if limit < end {
                continue;
            }
            let signed = signature == 0 || &reader.fourcc(at, "a descriptor")? == b"PK\x07\x08";
            let crc_at = at + signature;
            let size = |reader: &mut Reader<'_>, at| {
                if narrow {
                    reader.u32_le(at, "a descriptor").map(u64::from)
                } else {
                    reader.u64_le(at, "a descriptor")
                }
            };
            if signed
                && reader.u32_le(crc_at, "a descriptor")? == self.crc
                && size(reader, crc_at + 4)? == self.compressed
                && size(reader, crc_at + 4 + size_bytes)? == self.inflated
            {
                return Ok(end);
            }
        }
        Err(invalid(at, format!("the descriptor of entry {} differs", printable(&self.name))))
    }
}

/// The ZIP64 extra field of an entry, from which numbers are taken in order.
struct Wide {
    at: u64,
    end: u64,
}

impl Wide {
    fn find(reader: &mut Reader<'_>, start: u64, end: u64) -> Result<Self, Stop> {
        let mut at = start;
        // Padding of less than a header's 4 bytes is left by some tools that align data.
        while at + 4 <= end {
            let id = reader.u16_le(at, "an extra field")?;
            let bytes = u64::from(reader.u16_le(at + 2, "an extra field")?);
            ensure(at + 4 + bytes <= end, at, || "an extra field is cut off".to_owned())?;
            if id == 1 {
                return Ok(Self { at: at + 4, end: at + 4 + bytes });
            }
            at += 4 + bytes;
        }
        Ok(Self { at: end, end })
    }

    fn resolve(&mut self, reader: &mut Reader<'_>, value: u64) -> Result<u64, Stop> {
        if value != WIDE || self.end < self.at + 8 {
            return Ok(value);
        }
        let wide = reader.u64_le(self.at, "an extra field")?;
        self.at += 8;
        Ok(wide)
    }
}
