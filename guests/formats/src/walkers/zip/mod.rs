//! ZIP: PKWARE's APPNOTE.TXT 6.3.10, and what is built on it ([`office`]).
//!
//! Two readers of one archive must see the same entries, so the directory and the local headers
//! must agree, entries may not overlap, and no byte may lie between them. All entries are
//! inflated, with a bound, for their CRC; archives among them are bytes like others. What cannot
//! be known: flipped bits in times, attributes, comments and extra fields, which no sum covers.

mod directory;
mod entry;
mod office;

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{
    checksum::CRC_32,
    inflate::{Budget, Inflater},
    scan::Scan,
    stop::{Stop, at_most, ensure, unsupported},
    walk::printable,
};

pub(crate) use self::directory::find_end;
use self::{directory::Directory, entry::Entry, office::Office};

/// Before the central directory of an Android package (source.android.com, APK signature v2).
const APK_BLOCK_MAGIC: &[u8] = b"APK Sig Block 42";

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let directory = Directory::find(scan)?;
    at_most("entries", directory.entries, scan.limits.archive_entries, directory.end_record)?;
    let names = places(scan, &directory)?;
    let mut office = Office::default();
    let mut budget = Budget::new(&scan.limits);
    let mut at = directory.start;
    for _ in 0..directory.entries {
        let entry = Entry::read(&mut scan.reader, at)?;
        contents(scan, &entry, &mut budget, &mut office)?;
        at = entry.record_end;
    }
    scan.met(0, "central directory", directory.start, directory.size)?;
    let rest = directory.end - directory.start - directory.size;
    scan.met(0, "end of central directory", directory.end - rest, rest)?;
    scan.fact("entries", directory.entries);
    office.check(scan, &names, directory.start)?;
    Ok(directory.end)
}

/// The names of an archive as sorted hashes.
struct Names(Vec<u64>);

impl Names {
    fn has(&self, name: &str) -> bool {
        self.0.binary_search(&hash(name.as_bytes())).is_ok()
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Checks that the entries fill the file up to the directory, each byte in one of them.
///
/// That comes before anything is inflated: overlapping entries are how small bombs become large.
fn places(scan: &mut Scan<'_>, directory: &Directory) -> Result<Names, Stop> {
    let count = usize::try_from(directory.entries).unwrap_or(0);
    let (mut ranges, mut names) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut at, mut glance) = (directory.start, scan.reader.glance());
    for _ in 0..directory.entries {
        let entry = Entry::read(&mut scan.reader, at)?;
        entry.check_name(at)?;
        ranges.push(entry.extent(&mut glance, directory.start)?);
        names.push(hash(&entry.name));
        at = entry.record_end;
    }
    let claimed = directory.start + directory.size;
    ensure(at == claimed, at, || format!("the directory ends here instead of at byte {claimed}"))?;
    ranges.sort_unstable();
    let mut covered = 0;
    for (start, end) in ranges {
        ensure(covered <= start, start, || {
            "entries overlap, as decompression bombs do".to_owned()
        })?;
        ensure(covered == start, covered, || {
            let gap = start - covered;
            let place = if covered == 0 { "before the first entry" } else { "between entries" };
            format!("{gap} bytes {place} that the directory does not list")
        })?;
        covered = end;
    }
    if covered < directory.start {
        let magic_at = directory.start.saturating_sub(APK_BLOCK_MAGIC.len() as u64);
        let signed = scan.reader.peek(magic_at, APK_BLOCK_MAGIC.len())? == APK_BLOCK_MAGIC;
        ensure(signed, covered, || "bytes before the directory that it does not list".to_owned())?;
    }
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    ensure(!twice, directory.start, || "two entries have the same name".to_owned())?;
    Ok(Names(names))
}

/// Inflates an entry and checks its size and CRC.
fn contents(
    scan: &mut Scan<'_>,
    entry: &Entry,
    budget: &mut Budget,
    office: &mut Office,
) -> Result<(), Stop> {
    let name = printable(&entry.name);
    if entry.encrypted {
        return Err(unsupported(entry.local, format!("entry {name} is encrypted")));
    }
    let start = entry.data_start(&mut scan.reader)?;
    let end = start + entry.compressed;
    office.begin(entry);
    let mut digest = CRC_32.digest();
    let given = match entry.method {
        0 => {
            scan.reader.feed(start, end, &name, |piece| {
                digest.update(piece);
                office.take(piece);
            })?;
            entry.compressed
        }
        8 => {
            let (mut inflater, mut at) = (Inflater::raw(), start);
            while at < end && !inflater.ended() {
                let piece = scan.reader.piece(at, end, &name)?;
                let used = inflater.push(piece, at, budget, |bytes| {
                    digest.update(bytes);
                    office.take(bytes);
                    Ok(())
                })?;
                ensure(0 < used || inflater.ended(), at, || {
                    format!("entry {name} does not go on")
                })?;
                at += used as u64;
            }
            ensure(inflater.ended() && at == end, at, || {
                format!("the compressed data of entry {name} does not end where it should")
            })?;
            inflater.given
        }
        method => {
            let what = format!("entry {name} is compressed with method {method}");
            return Err(unsupported(entry.local, what));
        }
    };
    ensure(given == entry.inflated, entry.local, || {
        format!("entry {name} inflates to {given} of {} bytes", entry.inflated)
    })?;
    ensure(digest.finalize() == entry.crc, start, || format!("the CRC of entry {name} is wrong"))?;
    scan.met(0, &name, entry.local, end - entry.local)?;
    // The last byte of Deflate may hold bits that nothing covers.
    let covered = end - u64::from(entry.method == 8);
    if start < covered {
        scan.proved(1, "data", start, covered - start)?;
    }
    Ok(())
}
