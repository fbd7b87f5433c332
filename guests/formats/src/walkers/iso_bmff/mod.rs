//! MP4, M4A, QuickTime, HEIC and AVIF: ISO/IEC 14496-12 (base media file format), Apple's
//! QuickTime File Format for MOV, ISO/IEC 23008-12 for HEIF.
//!
//! Boxes must fill their parents exactly, and tables must point into media data. What cannot be
//! known: there are no checksums, so a flipped bit in media data, in a time or in a name is
//! another film; and a fragmented file without an index may end after any fragment.

mod fragments;
mod items;
mod tables;

use crate::{
    format::Format,
    input::Reader,
    scan::Scan,
    stop::{Stop, at_most, ensure, invalid, unsupported},
    walk::printable,
};

use self::{fragments::Fragments, tables::SampleTable};

/// Media data boxes of a file: 10 hours in fragments of half a second. They take 1.2 MB.
const MEDIA_DATA_MAX: u64 = 72_000;
/// Tracks of a file, whose defaults for fragments are kept.
const TRACKS_MAX: u64 = 1024;

/// A box: its header, its body, and its end, which lie inside the parent.
#[derive(Debug, Clone, Copy)]
struct Boxed {
    kind: [u8; 4],
    start: u64,
    body: u64,
    end: u64,
}

/// What the boxes of a file say about each other.
#[derive(Debug, Default)]
struct Movie {
    /// Bodies of the media data boxes, in the order of the file.
    media_data: Vec<(u64, u64)>,
    tracks: u64,
    samples: u64,
    table: SampleTable,
    fragments: Fragments,
    has_movie: bool,
    has_items: bool,
    /// Body of the item data box inside `meta`.
    item_data: Option<(u64, u64)>,
    primary_item: bool,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut movie = Movie::default();
    let end = scan.len();
    let (first, last) = survey(scan, &mut movie)?;
    let head = if &first == b"styp" { "segment" } else { "file" };
    children(scan, &mut movie, 0, last, 0, *b"file")?;
    let still = matches!(scan.format, Format::Heic | Format::Avif);
    if still && !movie.has_movie {
        ensure(movie.has_items && movie.primary_item, end, || "there is no picture".to_owned())?;
        return Ok(last);
    }
    ensure(movie.has_movie || head == "segment", last, || "box moov is missing".to_owned())?;
    ensure(!movie.media_data.is_empty(), last, || "box mdat is missing".to_owned())?;
    if movie.has_movie {
        ensure(0 < movie.tracks, last, || "there is no track".to_owned())?;
        scan.fact("tracks", movie.tracks);
    }
    scan.fact("samples", movie.samples);
    if 0 < movie.fragments.count {
        scan.fact("fragments", movie.fragments.count);
    }
    Ok(last)
}

/// The kind of the first box, and where the boxes end; notes where the media data is.
///
/// What follows the last box and cannot be one, is behind the end: boxes have no trailer.
fn survey(scan: &mut Scan<'_>, movie: &mut Movie) -> Result<([u8; 4], u64), Stop> {
    let (end, mut at, mut first) = (scan.len(), 0, None);
    let mut whole = false;
    while at < end {
        if whole && !plausible(scan, at)? {
            break;
        }
        let found = header(&mut scan.reader, at, end, true)?;
        match &found.kind {
            b"mdat" => {
                let count = movie.media_data.len() as u64;
                at_most("media data boxes", count, MEDIA_DATA_MAX, at)?;
                movie.media_data.push((found.body, found.end));
            }
            b"moov" | b"meta" => movie.has_movie |= &found.kind == b"moov",
            _ => {}
        }
        let is_type = matches!(&found.kind, b"ftyp" | b"styp");
        let old = scan.format == Format::Mov;
        ensure(first.is_some() || is_type || old, at, || "box ftyp is missing".to_owned())?;
        ensure(first.is_none() || &found.kind != b"ftyp", at, || "a second box ftyp".to_owned())?;
        first.get_or_insert(found.kind);
        let has_content = movie.has_movie || first == Some(*b"styp") || !is_type;
        whole = has_content && !movie.media_data.is_empty();
        at = found.end;
        scan.count(at)?;
    }
    Ok((first.ok_or_else(|| invalid(0, "there is no box"))?, at))
}

/// Whether a box of a kind that can stand in a file begins here.
fn plausible(scan: &mut Scan<'_>, at: u64) -> Result<bool, Stop> {
    let Some(kind) = scan.reader.peek(at, 8)?.get(4..8) else { return Ok(false) };
    Ok(kind.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' '))
}

/// The header of a box (4.2): a size of 1 is followed by 64 bits, one of 0 reaches to the end.
fn header(reader: &mut Reader<'_>, at: u64, limit: u64, outermost: bool) -> Result<Boxed, Stop> {
    let size = u64::from(reader.u32_be(at, "the size of a box")?);
    let kind = reader.fourcc(at + 4, "the type of a box")?;
    let (body, size) = match size {
        1 => (at + 16, reader.u64_be(at + 8, "the long size of a box")?),
        0 if outermost => (at + 8, limit - at),
        _ => (at + 8, size),
    };
    let body = if &kind == b"uuid" { body + 16 } else { body };
    let end = at.checked_add(size).filter(|end| body <= *end && *end <= limit);
    let end = end.ok_or_else(|| {
        let room = limit.saturating_sub(at);
        invalid(at, format!("box {} claims {size} bytes where {room} are left", printable(&kind)))
    })?;
    Ok(Boxed { kind, start: at, body, end })
}

/// Walks the boxes that fill `start..end`.
fn children(
    scan: &mut Scan<'_>,
    movie: &mut Movie,
    start: u64,
    end: u64,
    depth: u32,
    parent: [u8; 4],
) -> Result<(), Stop> {
    at_most("boxes inside each other", depth.into(), scan.limits.nesting.into(), start)?;
    let mut at = start;
    while at < end {
        // QuickTime may end user data with 32 bits of zero.
        if &parent == b"udta" && end - at == 4 && scan.reader.u32_be(at, "user data")? == 0 {
            return Ok(());
        }
        let found = header(&mut scan.reader, at, end, depth == 0)?;
        scan.met(depth, &printable(&found.kind), at, found.end - at)?;
        enter(scan, movie, found, depth, parent)?;
        at = found.end;
    }
    Ok(())
}

fn enter(
    scan: &mut Scan<'_>,
    movie: &mut Movie,
    found: Boxed,
    depth: u32,
    parent: [u8; 4],
) -> Result<(), Stop> {
    let Boxed { kind, start, body, end } = found;
    let inside = |scan: &mut Scan<'_>, movie: &mut Movie, from| {
        children(scan, movie, from, end, depth + 1, kind)
    };
    match (&parent, &kind) {
        (b"file", b"moov") | (b"file", b"mfra") => inside(scan, movie, body)?,
        (b"moov", b"trak") => {
            movie.tracks += 1;
            at_most("tracks", movie.tracks, TRACKS_MAX, start)?;
            movie.table = SampleTable::default();
            inside(scan, movie, body)?;
            let (table, media) = (&movie.table, &movie.media_data);
            movie.samples += table.check(scan, media, end)?;
        }
        (b"moov", b"mvex") | (b"trak", b"edts" | b"mdia") | (b"mdia", b"minf") => {
            inside(scan, movie, body)?
        }
        (b"minf", b"dinf" | b"stbl") | (b"moov" | b"trak", b"udta") => inside(scan, movie, body)?,
        (b"file", b"moof") => {
            movie.fragments.begin(start);
            inside(scan, movie, body)?;
        }
        (b"moof", b"traf") => {
            movie.fragments.begin_track();
            inside(scan, movie, body)?;
        }
        (b"file" | b"moov" | b"trak" | b"udta" | b"moof", b"meta") => {
            let header = meta_header(scan, body, end)?;
            inside(scan, movie, body + header)?;
            if &parent == b"file" {
                movie.has_items |= items::check(scan, movie, body, end)?;
            }
        }
        (b"meta", b"iprp") | (b"iprp", b"ipco") => inside(scan, movie, body)?,
        (b"meta", b"idat") => movie.item_data = Some((body, end)),
        (b"meta", b"pitm") => movie.primary_item = true,
        (b"stbl", _) => movie.table.note(scan, kind, body, end)?,
        (b"dinf", b"dref") => references(scan, body, end)?,
        (b"mvex", b"trex") => movie.fragments.defaults(scan, body, end)?,
        (b"traf", b"tfhd") => movie.fragments.header(scan, body, end)?,
        (b"traf", b"trun") => {
            movie.samples += movie.fragments.run(scan, &movie.media_data, body, end)?;
        }
        (b"file", b"sidx") => fragments::segment_index(scan, body, end)?,
        (b"mfra", b"tfra") => fragments::random_access(scan, body, end)?,
        (b"mfra", b"mfro") => {
            let size = scan.reader.u32_be(body + 4, "box mfro")?;
            let holds = end.checked_sub(size.into()).map(|at| scan.reader.fourcc(at + 4, "mfra"));
            let holds = holds.transpose()?.is_some_and(|kind| &kind == b"mfra");
            ensure(holds, body, || format!("no box mfra begins {size} bytes before its end"))?;
        }
        (b"moov", b"mvhd") => sized(scan, found, 100, 112)?,
        (b"trak", b"tkhd") => sized(scan, found, 84, 96)?,
        (b"mdia", b"mdhd") => sized(scan, found, 24, 36)?,
        (b"mdia" | b"meta", b"hdlr") => {
            ensure(body + 20 <= end, start, || "box hdlr is too small".to_owned())?;
        }
        (b"edts", b"elst") => edits(scan, body, end)?,
        (b"file", b"ftyp" | b"styp") => {
            let fits = body + 8 <= end && (end - body) % 4 == 0;
            ensure(fits, start, || "the list of brands has the wrong size".to_owned())?;
        }
        _ => {}
    }
    Ok(())
}

/// Headers whose size follows from their version (8.2.2, 8.3.2, 8.4.2).
fn sized(scan: &mut Scan<'_>, found: Boxed, v0_bytes: u64, v1_bytes: u64) -> Result<(), Stop> {
    let version = scan.reader.u8(found.body, "a version")?;
    let bytes = found.end - found.body;
    let right = (version == 0 && bytes == v0_bytes) || (version == 1 && bytes == v1_bytes);
    ensure(right, found.start, || {
        format!("box {} of version {version} has {bytes} bytes", printable(&found.kind))
    })
}

/// `meta` is a full box with 4 bytes of version and flags, but in QuickTime it has none.
fn meta_header(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<u64, Stop> {
    let bare = body + 8 <= end && &scan.reader.fourcc(body + 4, "box meta")? == b"hdlr";
    ensure(bare || body + 4 <= end, body, || "box meta is too small".to_owned())?;
    Ok(if bare { 0 } else { 4 })
}

/// Edit lists (8.6.6): as many entries as the box has room for.
fn edits(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<(), Stop> {
    let version = scan.reader.u8(body, "an edit list")?;
    let count = u64::from(scan.reader.u32_be(body + 4, "an edit list")?);
    let bytes = if version == 1 { 20 } else { 12 };
    tables::fills("elst", count, bytes, body + 8, end)
}

/// Data references (8.7.2): all media must be in this file.
fn references(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<(), Stop> {
    let count = scan.reader.u32_be(body + 4, "data references")?;
    let (mut at, mut met) = (body + 8, 0);
    while at < end {
        let found = header(&mut scan.reader, at, end, false)?;
        let flags = scan.reader.u32_be(found.body, "a data reference")? & 0xFF_FFFF;
        if flags & 1 == 0 {
            return Err(unsupported(at, "the media is in another file"));
        }
        met += 1;
        scan.count(at)?;
        at = found.end;
    }
    ensure(met == count, body, || format!("{met} of {count} data references are there"))
}

/// Whether `len` bytes at `offset` lie in one of the media data boxes.
fn inside_media(media_data: &[(u64, u64)], offset: u64, len: u64) -> bool {
    let before = media_data.partition_point(|(start, _)| *start <= offset);
    let Some((_, end)) = before.checked_sub(1).and_then(|n| media_data.get(n)) else {
        return false;
    };
    offset.checked_add(len).is_some_and(|wanted| wanted <= *end)
}
