//! Movie fragments (8.8), their index (8.16.3) and their table of random access (8.8.10).

use crate::{
    scan::Scan,
    stop::{Stop, ensure},
};

use super::inside_media;

/// Where the data of the fragment that is being walked lies.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    pub(super) count: u64,
    /// Default sample size of each track, from `trex`.
    defaults: Vec<(u32, u32)>,
    /// First byte of the `moof`.
    start: u64,
    /// From which the runs of this track fragment count.
    base: u64,
    default_size: u32,
    /// Where the last run ended, and the next begins unless it says otherwise.
    next: Option<u64>,
}

impl Fragments {
    pub(super) fn begin(&mut self, start: u64) {
        self.count += 1;
        self.start = start;
        self.next = None;
    }

    pub(super) fn begin_track(&mut self) {
        self.default_size = 0;
        self.base = self.start;
    }

    /// `trex` (8.8.3): track, description, duration, size, flags.
    pub(super) fn defaults(
        &mut self,
        scan: &mut Scan<'_>,
        body: u64,
        end: u64,
    ) -> Result<(), Stop> {
        ensure(end - body == 24, body, || "box trex has the wrong size".to_owned())?;
        let track = scan.reader.u32_be(body + 4, "box trex")?;
        let size = scan.reader.u32_be(body + 16, "box trex")?;
        if (self.defaults.len() as u64) < super::TRACKS_MAX {
            self.defaults.push((track, size));
        }
        Ok(())
    }

    /// `tfhd` (8.8.7): which fields are there follows from the flags.
    pub(super) fn header(&mut self, scan: &mut Scan<'_>, body: u64, end: u64) -> Result<(), Stop> {
        let flags = scan.reader.u32_be(body, "box tfhd")? & 0xFF_FFFF;
        let track = scan.reader.u32_be(body + 4, "box tfhd")?;
        let words = |mask: u32| u64::from((flags & mask).count_ones());
        let bytes = 8 + words(1) * 8 + words(0x3A) * 4;
        ensure(end - body == bytes, body, || "box tfhd has the wrong size".to_owned())?;
        let known = self.defaults.iter().find(|(id, _)| *id == track).map(|(_, size)| *size);
        let segment = self.defaults.is_empty();
        ensure(known.is_some() || segment, body + 4, || format!("track {track} is unknown"))?;
        self.default_size = known.unwrap_or(0);
        // Without the flag default-base-is-moof, data follows that of the track before.
        self.base =
            if flags & 0x2_0000 == 0 { self.next.unwrap_or(self.start) } else { self.start };
        if flags & 1 != 0 {
            self.base = scan.reader.u64_be(body + 8, "box tfhd")?;
        }
        if flags & 0x10 != 0 {
            let before = words(1) * 8 + words(2) * 4 + words(8) * 4;
            self.default_size = scan.reader.u32_be(body + 8 + before, "box tfhd")?;
        }
        self.next = Some(self.base);
        Ok(())
    }

    /// `trun` (8.8.8): its samples lie in media data. Gives their number.
    pub(super) fn run(
        &mut self,
        scan: &mut Scan<'_>,
        media_data: &[(u64, u64)],
        body: u64,
        end: u64,
    ) -> Result<u64, Stop> {
        let flags = scan.reader.u32_be(body, "box trun")? & 0xFF_FFFF;
        let count = u64::from(scan.reader.u32_be(body + 4, "box trun")?);
        let words = |mask: u32| u64::from((flags & mask).count_ones());
        let (head, each) = (8 + words(5) * 4, words(0xF00) * 4);
        ensure(end - body == head + count * each, body, || {
            format!("a run of {count} samples has {} bytes", end - body)
        })?;
        let mut start = self.next.unwrap_or(self.base);
        if flags & 1 != 0 {
            let offset = scan.reader.u32_be(body + 8, "box trun")?.cast_signed();
            start = self.base.wrapping_add_signed(i64::from(offset));
        }
        let mut bytes = u64::from(self.default_size) * count;
        if flags & 0x200 != 0 {
            bytes = 0;
            let first = body + head + words(0x100) * 4;
            for sample in 0..count {
                bytes += u64::from(scan.reader.u32_be(first + sample * each, "box trun")?);
            }
        }
        ensure(bytes == 0 || inside_media(media_data, start, bytes), body, || {
            format!("a run of {bytes} bytes at byte {start} is outside the media data")
        })?;
        self.next = Some(start.saturating_add(bytes));
        Ok(count)
    }
}

/// `sidx`: the parts that it lists lie in the file, one behind the other.
pub(super) fn segment_index(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<(), Stop> {
    let version = scan.reader.u8(body, "box sidx")?;
    let (at, first) = if version == 0 {
        (body + 20, u64::from(scan.reader.u32_be(body + 16, "box sidx")?))
    } else {
        (body + 28, scan.reader.u64_be(body + 20, "box sidx")?)
    };
    let count = u64::from(scan.reader.u16_be(at + 2, "box sidx")?);
    super::tables::fills("sidx", count, 12, at + 4, end)?;
    let mut part = end.saturating_add(first);
    for entry in 0..count {
        let word = scan.reader.u32_be(at + 4 + entry * 12, "box sidx")?;
        part = part.saturating_add(u64::from(word & 0x7FFF_FFFF));
    }
    let total = scan.len();
    ensure(part <= total, total, || format!("the index lists parts up to byte {part}"))
}

/// `tfra`: each entry points to a `moof`.
pub(super) fn random_access(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<(), Stop> {
    let version = scan.reader.u8(body, "box tfra")?;
    let lengths = u64::from(scan.reader.u32_be(body + 8, "box tfra")?);
    let count = u64::from(scan.reader.u32_be(body + 12, "box tfra")?);
    let numbers = [4, 2, 0].into_iter().map(|shift| (lengths >> shift & 3) + 1).sum::<u64>();
    let place = if version == 1 { 16 } else { 8 };
    super::tables::fills("tfra", count, place + numbers, body + 16, end)?;
    let mut glance = scan.reader.glance();
    for entry in 0..count {
        let at = body + 16 + entry * (place + numbers) + place / 2;
        let offset = if version == 1 {
            scan.reader.u64_be(at, "box tfra")?
        } else {
            u64::from(scan.reader.u32_be(at, "box tfra")?)
        };
        let kind = glance.peek(offset.saturating_add(4), 4)?;
        ensure(kind == b"moof", at, || format!("no fragment begins at byte {offset}"))?;
    }
    Ok(())
}
