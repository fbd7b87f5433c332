//! Matroska and WebM: RFC 9559, on EBML, RFC 8794.
//!
//! Elements must fill their parents, blocks belong to tracks, seek heads and cues point to what
//! they name, and CRC-32 elements agree. What cannot be known: flipped bits in masters that were
//! written without a CRC-32, elements whose type is unknown, and clusters that are missing at the
//! end of a file that was streamed with unknown sizes.

use crate::{
    checksum::CRC_32,
    format::Format,
    input::Reader,
    scan::Scan,
    stop::{Stop, at_most, ensure, invalid},
    walk::printable,
};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
const CRC: u32 = 0xBF;
const VOID: u32 = 0xEC;
const CHAPTER_DISPLAY: u32 = 0x80;

/// Tracks of a file, whose numbers are kept.
const TRACKS_MAX: u64 = 1024;

/// Elements by identifier, name, and whether they hold others (RFC 9559, 5.1). Those that are not
/// here are skipped by their size.
#[rustfmt::skip]
const ELEMENTS: &[(u32, &str, bool)] = &[
    (EBML, "EBML", true), (SEGMENT, "Segment", true), (CLUSTER, "Cluster", true),
    (CRC, "CRC-32", false), (VOID, "Void", false),
    (0x114D_9B74, "SeekHead", true), (0x4DBB, "Seek", true), (0x53AB, "SeekID", false),
    (0x53AC, "SeekPosition", false),
    (0x1549_A966, "Info", true), (0x1654_AE6B, "Tracks", true), (0xAE, "TrackEntry", true),
    (0xD7, "TrackNumber", false), (0xE0, "Video", true), (0x55B0, "Colour", true),
    (0x55D0, "MasteringMetadata", true), (0x7670, "Projection", true), (0xE1, "Audio", true),
    (0x6D80, "ContentEncodings", true), (0x6240, "ContentEncoding", true),
    (0xE7, "Timestamp", false), (0xA3, "SimpleBlock", false), (0xA0, "BlockGroup", true),
    (0xA1, "Block", false),
    (0x1C53_BB6B, "Cues", true), (0xBB, "CuePoint", true), (0xB7, "CueTrackPositions", true),
    (0xF1, "CueClusterPosition", false),
    (0x1941_A469, "Attachments", true), (0x61A7, "AttachedFile", true),
    (0x1043_A770, "Chapters", true), (0x45B9, "EditionEntry", true), (0xB6, "ChapterAtom", true),
    (CHAPTER_DISPLAY, "ChapterDisplay", true),
    (0x1254_C367, "Tags", true), (0x7373, "Tag", true), (0x63C0, "Targets", true),
    (0x67C8, "SimpleTag", true),
];

/// Children of the segment: where one begins, a cluster of unknown size has ended.
const LEVEL_1: &[u32] = &[
    CLUSTER,
    0x114D_9B74,
    0x1549_A966,
    0x1654_AE6B,
    0x1C53_BB6B,
    0x1941_A469,
    0x1043_A770,
    0x1254_C367,
];

/// An element inside its parent. `size_known` is not set where it ends with its last child.
#[derive(Debug, Clone, Copy)]
struct Element {
    id: u32,
    start: u64,
    body: u64,
    end: u64,
    size_known: bool,
}

/// What elements say about each other.
#[derive(Debug, Default)]
struct Film {
    /// Body of the segment: positions count from it.
    origin: u64,
    tracks: Vec<u64>,
    /// Tracks of blocks that came before their track, with the offset of the first such block.
    awaited: Vec<(u64, u64)>,
    has_info: bool,
    clusters: u64,
    blocks: u64,
    /// Identifier of the last `SeekID`.
    sought: u32,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut film = Film::default();
    let total = scan.len();
    let head = element(&mut scan.reader, 0, total)?;
    ensure(head.id == EBML && head.size_known, 0, || "there is no EBML header".to_owned())?;
    children(scan, &mut film, head, 0)?;
    let mut at = head.end;
    let segment = loop {
        let found = element(&mut scan.reader, at, total)?;
        if found.id != VOID {
            break found;
        }
        at = found.end;
    };
    ensure(segment.id == SEGMENT, at, || "there is no segment".to_owned())?;
    film.origin = segment.body;
    let end = children(scan, &mut film, segment, 0)?;
    ensure(film.has_info, end, || "the segment has no Info".to_owned())?;
    ensure(!film.tracks.is_empty(), end, || "the segment has no tracks".to_owned())?;
    // Clusters may come before the tracks, though writers are told not to (RFC 9559, 25.3).
    for (track, at) in &film.awaited {
        ensure(film.tracks.contains(track), *at, || format!("a block of track {track}"))?;
    }
    scan.fact("tracks", film.tracks.len());
    scan.fact("clusters", film.clusters);
    scan.fact("blocks", film.blocks);
    Ok(end)
}

/// A number of variable length (RFC 8794, 4): its bytes, its value, and whether all bits are set.
fn vint(reader: &mut Reader<'_>, at: u64, bytes_max: u32) -> Result<(u64, u64, bool), Stop> {
    let first = reader.u8(at, "an element")?;
    let bytes = first.leading_zeros() + 1;
    ensure(bytes <= bytes_max, at, || format!("a number of {bytes} bytes"))?;
    let found = reader.bytes(at, bytes as usize, "an element")?;
    let all = found.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = (1_u64 << (7 * bytes)) - 1;
    Ok((bytes.into(), all & mask, all & mask == mask))
}

fn element(reader: &mut Reader<'_>, at: u64, limit: u64) -> Result<Element, Stop> {
    let (id_bytes, value, reserved) = vint(reader, at, 4)?;
    // With its marker, an identifier is one number.
    let id = u32::try_from(value | 1 << (7 * id_bytes)).unwrap_or(0);
    // Zero is reserved as well, but RFC 9559, 5.1.7.1.4.9 kept what was in use before.
    ensure(!reserved && (0 < value || id == CHAPTER_DISPLAY), at, || {
        "a reserved identifier".to_owned()
    })?;
    let (size_bytes, size, unknown) = vint(reader, at + id_bytes, 8)?;
    let body = at + id_bytes + size_bytes;
    ensure(!unknown || matches!(id, SEGMENT | CLUSTER), at, || {
        format!("element {} of unknown size", name(id))
    })?;
    let end = if unknown { Some(limit) } else { body.checked_add(size) };
    let end = end.filter(|end| body <= *end && *end <= limit).ok_or_else(|| {
        let room = limit.saturating_sub(at);
        invalid(at, format!("element {} claims {size} bytes where {room} are left", name(id)))
    })?;
    Ok(Element { id, start: at, body, end, size_known: !unknown })
}

fn name(id: u32) -> String {
    let known = ELEMENTS.iter().find(|(known, ..)| *known == id);
    known.map_or_else(|| format!("{id:X}"), |(_, name, _)| (*name).to_owned())
}

/// Walks what is inside `parent`; gives its end.
fn children(
    scan: &mut Scan<'_>,
    film: &mut Film,
    parent: Element,
    depth: u32,
) -> Result<u64, Stop> {
    let most = scan.limits.nesting;
    at_most("elements inside each other", depth.into(), most.into(), parent.start)?;
    let slot = scan.walk.structures.len();
    scan.met(depth, &name(parent.id), parent.start, parent.end - parent.start)?;
    let mut at = parent.body;
    while at < parent.end {
        let child = element(&mut scan.reader, at, parent.end)?;
        if !parent.size_known && parent.id == CLUSTER && LEVEL_1.contains(&child.id) {
            break;
        }
        let holds = ELEMENTS.iter().any(|(id, _, holds)| *id == child.id && *holds);
        at = if holds {
            note_master(film, child);
            children(scan, film, child, depth + 1)?
        } else {
            leaf(scan, film, parent, child, depth + 1)?;
            child.end
        };
    }
    if let Some(structure) = scan.walk.structures.get_mut(slot) {
        structure.len = at - parent.start;
    }
    Ok(at)
}

fn note_master(film: &mut Film, child: Element) {
    match child.id {
        0x1549_A966 => film.has_info = true,
        CLUSTER => film.clusters += 1,
        _ => {}
    }
}

fn leaf(
    scan: &mut Scan<'_>,
    film: &mut Film,
    parent: Element,
    child: Element,
    depth: u32,
) -> Result<(), Stop> {
    let Element { id, start, body, end, .. } = child;
    scan.count(start)?;
    match id {
        CRC => check_crc(scan, parent, child, depth)?,
        0xA3 | 0xA1 => {
            let (bytes, track, _) = vint(&mut scan.reader, body, 8)?;
            ensure(body + bytes + 3 <= end, start, || "a block is too small".to_owned())?;
            let known = film.tracks.contains(&track);
            if !known && !film.awaited.iter().any(|(awaited, _)| *awaited == track) {
                film.awaited.push((track, body));
                at_most("tracks", film.awaited.len() as u64, TRACKS_MAX, start)?;
            }
            film.blocks += 1;
        }
        0xD7 => {
            let number = unsigned(scan, child)?;
            let fresh = 0 < number && !film.tracks.contains(&number);
            ensure(fresh, body, || format!("a second track {number}"))?;
            film.tracks.push(number);
            at_most("tracks", film.tracks.len() as u64, TRACKS_MAX, start)?;
        }
        0x53AB => film.sought = u32::try_from(unsigned(scan, child)?).unwrap_or(0),
        0x53AC => points_to(scan, film, child, film.sought)?,
        0xF1 => points_to(scan, film, child, CLUSTER)?,
        0x4282 => {
            let bytes = usize::try_from(end - body).unwrap_or(usize::MAX).min(64);
            let kind = scan.reader.bytes(body, bytes, "the type of the document")?;
            let kind = kind.trim_ascii_end();
            let kind = kind.strip_suffix(b"\0").unwrap_or(kind);
            let found = match kind {
                b"matroska" => Format::Matroska,
                b"webm" => Format::WebM,
                other => {
                    return Err(invalid(body, format!("a document of type {}", printable(other))));
                }
            };
            scan.format = found;
        }
        // Sizes of identifiers and of sizes (RFC 8794, 11.2.4 and 11.2.5).
        0x42F2 | 0x42F3 => {
            let most = if id == 0x42F2 { 4 } else { 8 };
            let number = unsigned(scan, child)?;
            ensure((1..=most).contains(&number), body, || format!("numbers of {number} bytes"))?;
        }
        _ => {}
    }
    Ok(())
}

fn unsigned(scan: &mut Scan<'_>, element: Element) -> Result<u64, Stop> {
    let bytes = element.end - element.body;
    ensure(bytes <= 8, element.start, || format!("a number of {bytes} bytes"))?;
    let found = scan.reader.bytes(element.body, bytes as usize, "a number")?;
    Ok(found.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// RFC 8794, 11.3.1: the sum of all that follows in the parent, least byte first.
fn check_crc(scan: &mut Scan<'_>, parent: Element, child: Element, depth: u32) -> Result<(), Stop> {
    let first = child.start == parent.body;
    ensure(first && child.end - child.body == 4 && parent.size_known, child.start, || {
        "a CRC-32 element where none can be".to_owned()
    })?;
    let stated = scan.reader.u32_le(child.body, "a CRC-32 element")?;
    let mut digest = CRC_32.digest();
    // With a reader of its own, so that the window stays where the walk goes on.
    let mut reader = scan.reader.cursor();
    reader.feed(child.end, parent.end, "an element", |piece| digest.update(piece))?;
    ensure(digest.finalize() == stated, child.body, || {
        format!("the CRC-32 of element {} is wrong", name(parent.id))
    })?;
    scan.proved(depth, "children under CRC-32", child.body, parent.end - child.body)
}

/// Checks that an element of type `id` begins at the position, which counts from the segment.
fn points_to(scan: &mut Scan<'_>, film: &Film, child: Element, id: u32) -> Result<(), Stop> {
    let position = unsigned(scan, child)?;
    let at = film.origin.saturating_add(position);
    let bytes = id.to_be_bytes();
    let known = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    let wanted = bytes.get(known..).unwrap_or_default();
    let found = scan.reader.glance().peek(at, wanted.len())? == wanted;
    ensure(found, child.body, || format!("no element {} begins at byte {at}", name(id)))
}
