//! JPEG: ITU-T T.81, annex B, with the application segments of JFIF and Exif as plain segments.
//!
//! What cannot be known: JPEG has no checksums. A flipped bit in entropy-coded data is another
//! picture, unless it makes a marker; neither can missing rows be told without decoding.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// Bytes of SOI.
const START_BYTES: u64 = 2;

/// What the frame header says, which scans refer to (B.2.2).
#[derive(Debug, Default)]
struct Frame {
    /// Component identifiers with the quantisation table of each.
    components: Vec<(u8, u8)>,
    progressive: bool,
    lossless: bool,
}

/// Tables that have been defined (B.2.4): one bit for each destination.
#[derive(Debug, Default)]
struct Tables {
    quantisation: u8,
    dc: u8,
    ac: u8,
    arithmetic: bool,
    restart_interval: u16,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    scan.met(0, "SOI", 0, START_BYTES)?;
    let (mut frame, mut tables, mut scans) = (None, Tables::default(), 0_u32);
    let mut at = START_BYTES;
    loop {
        let (start, marker) = marker(scan, at)?;
        if marker == 0xD9 {
            scan.met(0, "EOI", start, 2)?;
            ensure(0 < scans, start, || "the file ends before any picture data".to_owned())?;
            scan.fact("scans", scans);
            return Ok(start + 2);
        }
        let len = u64::from(scan.reader.u16_be(start + 2, "the length of a segment")?);
        let end = start + 2 + len;
        ensure(2 <= len && end <= scan.len(), start + 2, || {
            format!("segment {marker:02X} claims {len} bytes, and the file ends before")
        })?;
        let body = scan.reader.bytes(start + 4, (len - 2) as usize, "a segment")?.to_vec();
        at = end;
        scan.met(0, name(marker), start, len + 2)?;
        let wrong = |what: &str| invalid(start, format!("{} {what}", name(marker)));
        match marker {
            0xC4 => huffman(&body, &mut tables).ok_or_else(|| wrong("is no table of codes"))?,
            0xCC => tables.arithmetic = true,
            0xC0..=0xCF if marker != 0xC8 => {
                ensure(frame.is_none(), start, || "a second frame header".to_owned())?;
                let found = frame_header(scan, marker, &body);
                frame = Some(found.ok_or_else(|| wrong("is not possible"))?);
            }
            0xDB => quantisation(&body, &mut tables).ok_or_else(|| wrong("is no table"))?,
            0xDD => {
                let interval = <[u8; 2]>::try_from(body.as_slice());
                let interval = interval.map_err(|_| wrong("is not 4 bytes long"))?;
                tables.restart_interval = u16::from_be_bytes(interval);
            }
            0xDA => {
                let frame = frame.as_ref().ok_or_else(|| wrong("comes before its frame"))?;
                scan_header(&body, frame, &tables).ok_or_else(|| wrong("is not possible"))?;
                scans += 1;
                at = entropy_coded(scan, end, tables.restart_interval)?;
            }
            0xDC | 0xE0..=0xFE => {}
            _ => return Err(wrong("is not a marker that can stand here")),
        }
    }
}

/// The next marker (B.1.1.2): any number of fill bytes, then a code.
fn marker(scan: &mut Scan<'_>, at: u64) -> Result<(u64, u8), Stop> {
    let mut at = at;
    let first = scan.reader.u8(at, "a marker")?;
    ensure(first == 0xFF, at, || format!("{first:02X} where a marker must be"))?;
    loop {
        let code = scan.reader.u8(at + 1, "a marker")?;
        if code != 0xFF {
            return Ok((at, code));
        }
        at += 1;
    }
}

/// Skips entropy-coded data (B.1.1.5): FF is followed by 00, by a restart, or is a marker.
fn entropy_coded(scan: &mut Scan<'_>, start: u64, interval: u16) -> Result<u64, Stop> {
    let (mut at, mut restarts) = (start, 0_u8);
    let total = scan.len();
    loop {
        let piece = scan.reader.piece(at, total, "picture data")?;
        let Some(found) = memchr::memchr(0xFF, piece) else {
            at += piece.len() as u64;
            continue;
        };
        at += found as u64;
        match scan.reader.u8(at + 1, "picture data")? {
            0x00 => at += 2,
            0xFF => at += 1,
            code @ 0xD0..=0xD7 => {
                // Restarts count from 0 to 7 and again (F.1.1.5.2).
                let expected = 0xD0 + restarts % 8;
                ensure(code == expected && 0 < interval, at, || {
                    format!("restart {} instead of {}", code - 0xD0, restarts % 8)
                })?;
                restarts = restarts.wrapping_add(1);
                at += 2;
            }
            _ => {
                ensure(start < at, at, || "a scan without picture data".to_owned())?;
                scan.met(1, "entropy-coded data", start, at - start)?;
                return Ok(at);
            }
        }
    }
}

/// Table B.2: precision, size, and for each component its sampling and its table.
fn frame_header(scan: &mut Scan<'_>, marker: u8, body: &[u8]) -> Option<Frame> {
    let (head, specifications) = body.split_at_checked(6)?;
    let &[precision, h0, h1, w0, w1, count] = head else { return None };
    let (height_px, width_px) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([w0, w1]));
    let lossless = matches!(marker, 0xC3 | 0xC7 | 0xCB | 0xCF);
    let progressive = matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE);
    let precise = match marker {
        0xC0 => precision == 8,
        _ if lossless => (2..=16).contains(&precision),
        _ => matches!(precision, 8 | 12),
    };
    let sized = 0 < width_px && (1..=4).contains(&count);
    if !precise || !sized || specifications.len() != usize::from(count) * 3 {
        return None;
    }
    let mut components = Vec::new();
    for specification in specifications.chunks_exact(3) {
        let &[id, sampling, table] = specification else { return None };
        let fits = |factor: u8| (1..=4).contains(&factor);
        let unique = components.iter().all(|(other, _)| *other != id);
        if !fits(sampling >> 4) || !fits(sampling & 15) || 3 < table || !unique {
            return None;
        }
        components.push((id, table));
    }
    scan.fact("pixels", format!("{width_px}x{height_px}"));
    Some(Frame { components, progressive, lossless })
}

/// Table B.5: for each table its class and place, 16 counts of codes, and as many values.
fn huffman(body: &[u8], tables: &mut Tables) -> Option<()> {
    let mut rest = body;
    while let Some((&[head], after)) = rest.split_at_checked(1) {
        let (counts, after) = after.split_at_checked(16)?;
        let values: usize = counts.iter().map(|count| usize::from(*count)).sum();
        // Codes of a length cannot be more than the shorter ones leave over (annex C).
        let mut free = 1_u32;
        for count in counts {
            free = (free * 2).checked_sub(u32::from(*count))?;
        }
        if 256 < values || values == 0 || 1 < head >> 4 || 3 < head & 15 {
            return None;
        }
        let defined = if head >> 4 == 0 { &mut tables.dc } else { &mut tables.ac };
        *defined |= 1 << (head & 15);
        rest = after.split_at_checked(values)?.1;
    }
    (!body.is_empty()).then_some(())
}

/// Table B.4: for each table its precision and place, and 64 elements that are not 0.
fn quantisation(body: &[u8], tables: &mut Tables) -> Option<()> {
    let mut rest = body;
    while let Some((&[head], after)) = rest.split_at_checked(1) {
        let bytes = match head >> 4 {
            0 => 64,
            1 => 128,
            _ => return None,
        };
        let (elements, after) = after.split_at_checked(bytes)?;
        if 3 < head & 15
            || elements.chunks(bytes / 64).any(|element| element.iter().all(|b| *b == 0))
        {
            return None;
        }
        tables.quantisation |= 1 << (head & 15);
        rest = after;
    }
    (!body.is_empty()).then_some(())
}

/// Table B.3: the components of the scan, whose tables must be there.
fn scan_header(body: &[u8], frame: &Frame, tables: &Tables) -> Option<()> {
    let (&[count], rest) = body.split_at_checked(1)? else { return None };
    let (selectors, spectral) = rest.split_at_checked(usize::from(count) * 2)?;
    let &[first, last, approximation] = spectral else { return None };
    if !(1..=4).contains(&count) || frame.components.len() < usize::from(count) {
        return None;
    }
    let band = if frame.lossless {
        first <= 7
    } else if frame.progressive {
        first <= last && last <= 63 && (first != 0 || last == 0) && approximation >> 4 <= 13
    } else {
        // Some writers leave the fields at zero; decoders do not read them (G.1.1.1.1).
        first == 0 && matches!(last, 0 | 63) && approximation == 0
    };
    for selector in selectors.chunks_exact(2) {
        let &[id, places] = selector else { return None };
        let (_, table) = frame.components.iter().find(|(known, _)| *known == id)?;
        let has = |defined: u8, place: u8| place <= 3 && defined & (1 << place) != 0;
        let quantised = frame.lossless || has(tables.quantisation, *table);
        // A refining scan of DC (G.1.2.1) uses no table, and arithmetic coding has defaults.
        let refines = frame.progressive && approximation >> 4 != 0 && first == 0;
        let dc = tables.arithmetic || 0 < first || refines || has(tables.dc, places >> 4);
        let ac_used = !frame.lossless && (!frame.progressive || 0 < first);
        let ac = tables.arithmetic || !ac_used || has(tables.ac, places & 15);
        if !quantised || !dc || !ac || 3 < places >> 4 || 3 < places & 15 {
            return None;
        }
    }
    band.then_some(())
}

fn name(marker: u8) -> &'static str {
    match marker {
        0xC4 => "DHT",
        0xCC => "DAC",
        0xC0..=0xCF => "SOF",
        0xDA => "SOS",
        0xDB => "DQT",
        0xDC => "DNL",
        0xDD => "DRI",
        0xE0..=0xEF => "APP",
        0xFE => "COM",
        _ => "segment",
    }
}
