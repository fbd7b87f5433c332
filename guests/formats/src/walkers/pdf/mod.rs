//! PDF: ISO 32000-1, read from its end like viewers do: trailer, cross-reference, objects.
//!
//! Every object that the cross-reference lists must begin where it says and end as it should, and
//! streams compressed with Flate are inflated, with a bound, for their Adler-32. What cannot be
//! known: flipped bits in objects and streams without a sum, what encrypted streams hold, bytes
//! between objects, and the latest updates where the file is cut right behind an earlier one.

mod lexer;
mod object;
mod xref;

use crate::{
    inflate::Budget,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// Annex H, note 13: readers look for the header in so many bytes, but it belongs at the start.
const HEADER_BYTES_MAX: u64 = 1024;
/// Bytes between `startxref` and `%%EOF`: two line ends and a number.
const START_BYTES_MAX: u64 = 64;
/// Blanks behind `%%EOF` that belong to the file: a line end, and what mailers add.
const BLANKS_MAX: usize = 16;
/// Updates of a file, each with its own cross-reference.
const UPDATES_MAX: u64 = 4096;

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let total = scan.len();
    header(scan)?;
    let mark = scan.reader.rfind(b"%%EOF", 0, total)?;
    let mark = mark.ok_or_else(|| invalid(total, "%%EOF is missing"))?;
    let blanks = scan.reader.peek(mark + 5, BLANKS_MAX)?;
    let blanks = blanks.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let end = mark + 5 + blanks as u64;
    linearised(scan, end)?;
    let from = mark.saturating_sub(START_BYTES_MAX);
    let start = scan.reader.rfind(b"startxref", from, mark)?;
    let start = start.ok_or_else(|| invalid(mark, "startxref is missing"))?;
    let mut lexer = lexer::Lexer::new(scan.reader.glance(), start + 9);
    let section = lexer.integer("startxref")?;
    let mut objects = object::Objects::new(Budget::new(&scan.limits), total);
    chain(scan, &mut objects, section, start)?;
    scan.met(0, "startxref and %%EOF", start, end - start)?;
    scan.fact("objects", objects.checked);
    Ok(end)
}

fn header(scan: &mut Scan<'_>) -> Result<(), Stop> {
    let at = scan.reader.find(b"%PDF-", 0, HEADER_BYTES_MAX)?.unwrap_or(0);
    ensure(at == 0, 0, || format!("{at} bytes lie before the header"))?;
    let version = scan.reader.bytes(5, 3, "the header")?.to_vec();
    let known = matches!(version.as_slice(), [b'1' | b'2', b'.', b'0'..=b'9']);
    ensure(known, 5, || "the header has no version".to_owned())?;
    scan.met(0, "header", 0, 8)?;
    scan.fact("version", String::from_utf8_lossy(&version));
    Ok(())
}

/// Annex F: the first object of a linearised file states the file's length.
fn linearised(scan: &mut Scan<'_>, end: u64) -> Result<(), Stop> {
    let Some(at) = scan.reader.find(b"/Linearized", 0, HEADER_BYTES_MAX)? else { return Ok(()) };
    let Some(key) = scan.reader.find(b"/L ", at, at + 256)? else { return Ok(()) };
    let len = lexer::Lexer::new(scan.reader.glance(), key + 3).integer("the length")?;
    // Updates may follow; then the file is longer, and no longer linearised.
    ensure(len <= end, end, || format!("{end} of the file's {len} bytes are there"))?;
    scan.fact("linearised", len == end);
    Ok(())
}

/// Follows the cross-reference sections from the newest to the oldest (7.5.8).
fn chain(
    scan: &mut Scan<'_>,
    objects: &mut object::Objects,
    newest: u64,
    at: u64,
) -> Result<(), Stop> {
    let mut next = Some(newest);
    let mut seen: Vec<u64> = Vec::new();
    let mut root = false;
    while let Some(section) = next {
        ensure(!seen.contains(&section), at, || "cross-references go in a circle".to_owned())?;
        ensure((seen.len() as u64) < UPDATES_MAX, at, || format!("over {UPDATES_MAX} updates"))?;
        seen.push(section);
        let found = xref::section(scan, objects, section)?;
        root |= found.root;
        if let Some(hybrid) = found.hybrid {
            xref::section(scan, objects, hybrid)?;
        }
        next = found.previous;
    }
    ensure(root, newest, || "the trailer names no root".to_owned())?;
    scan.fact("cross-references", seen.len());
    Ok(())
}
