//! Pictures of HEIF: where the bytes of each item lie (14496-12, 8.11.3).

use crate::{
    scan::Scan,
    stop::{Stop, ensure},
};

use super::{Movie, header, inside_media};

/// Finds `iloc` inside a `meta` and checks it; whether there are items.
pub(super) fn check(scan: &mut Scan<'_>, movie: &Movie, body: u64, end: u64) -> Result<bool, Stop> {
    let mut at = body + super::meta_header(scan, body, end)?;
    let mut items = 0;
    while at < end {
        let found = header(&mut scan.reader, at, end, false)?;
        if &found.kind == b"iloc" {
            items += locations(scan, movie, found.body, found.end)?;
        }
        at = found.end;
    }
    if 0 < items {
        scan.fact("items", items);
    }
    Ok(0 < items)
}

/// Reads numbers whose widths the box states.
struct Fields<'s, 'a> {
    scan: &'s mut Scan<'a>,
    at: u64,
    end: u64,
}

impl Fields<'_, '_> {
    fn number(&mut self, bytes: u64) -> Result<u64, Stop> {
        let start = self.at;
        self.at += bytes;
        ensure(self.at <= self.end, start, || "box iloc ends inside an entry".to_owned())?;
        let width = usize::try_from(bytes).unwrap_or(usize::MAX);
        let found = self.scan.reader.bytes(start, width, "box iloc")?;
        Ok(found.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

fn locations(scan: &mut Scan<'_>, movie: &Movie, body: u64, end: u64) -> Result<u64, Stop> {
    let mut fields = Fields { scan, at: body, end };
    let version = fields.number(1)?;
    fields.number(3)?;
    let widths = fields.number(2)?;
    let width = |shift: u64| widths >> shift & 15;
    let (offset_bytes, length_bytes, base_bytes) = (width(12), width(8), width(4));
    let index_bytes = if 0 < version { width(0) } else { 0 };
    let known = [offset_bytes, length_bytes, base_bytes, index_bytes];
    ensure(known.iter().all(|bytes| matches!(bytes, 0 | 4 | 8)) && version <= 2, body, || {
        "box iloc has fields of unknown widths".to_owned()
    })?;
    let count_bytes = if version == 2 { 4 } else { 2 };
    let count = fields.number(count_bytes)?;
    for _ in 0..count {
        let entry = fields.at;
        fields.scan.count(entry)?;
        fields.number(count_bytes)?;
        let method = if 0 < version { fields.number(2)? & 15 } else { 0 };
        fields.number(2)?;
        let base = fields.number(base_bytes)?;
        for _ in 0..fields.number(2)? {
            // Where all widths are 0 an extent takes no bytes, and the count is the only bound.
            fields.scan.count(entry)?;
            fields.number(index_bytes)?;
            let start = base.saturating_add(fields.number(offset_bytes)?);
            let len = fields.number(length_bytes)?;
            let inside = match method {
                0 => inside_media(&movie.media_data, start, len),
                1 => movie.item_data.is_some_and(|(from, to)| {
                    start.checked_add(len).is_some_and(|wanted| wanted <= to - from)
                }),
                _ => true,
            };
            ensure(inside, entry, || {
                format!("an item of {len} bytes at byte {start} is outside the data")
            })?;
        }
    }
    ensure(fields.at == end, fields.at, || "box iloc goes on behind its entries".to_owned())?;
    Ok(count)
}
