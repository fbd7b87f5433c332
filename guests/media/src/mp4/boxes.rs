//! The box structure of ISO/IEC 14496-12, section 4.2: in the file, and inside a box in memory.

use crate::{
    bytes::Bytes,
    error::{MediaError, at_most},
    input::Window,
    limits::Limits,
};

pub(super) type FourCc = [u8; 4];

/// A box in the file: its type and where its body is.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileBox {
    pub(super) kind: FourCc,
    pub(super) start: u64,
    pub(super) body: u64,
    pub(super) end: u64,
    /// The box says that it reaches further than the file does.
    pub(super) cut: bool,
}

/// Walks the boxes at the top of a file.
pub(super) struct FileBoxes<'a, 'w> {
    window: &'w Window<'a>,
    at: u64,
    seen: u64,
    elements: u64,
}

impl<'a, 'w> FileBoxes<'a, 'w> {
    pub(super) fn new(window: &'w Window<'a>, limits: &Limits) -> Self {
        Self { window, at: 0, seen: 0, elements: limits.elements }
    }

    pub(super) fn next(&mut self) -> Result<Option<FileBox>, MediaError> {
        let start = self.at;
        let (header, found) = self.window.peek::<16>(start)?;
        // Fewer than eight bytes at the end cannot be a box: many writers leave padding there.
        if found < 8 {
            return Ok(None);
        }
        self.seen += 1;
        at_most("boxes in the file", self.seen, self.elements)?;
        let mut header = Bytes::new(header.get(..found).unwrap_or_default());
        let (short, kind) = (header.u32()?, header.fourcc()?);
        let (size, header_len) = match short {
            0 => (self.window.len() - start, 8),
            1 => (header.u64()?, 16),
            size => (u64::from(size), 8),
        };
        if size < header_len {
            let name = name(kind);
            return Err(MediaError::damaged_at(format!("box {name} has size {size}"), start));
        }
        let end = start.saturating_add(size);
        let cut = self.window.len() < end;
        let end = end.min(self.window.len());
        self.at = end;
        Ok(Some(FileBox { kind, start, body: start + header_len, end, cut }))
    }
}

/// The boxes inside a body that is in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boxes<'a>(Bytes<'a>);

impl<'a> Boxes<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(Bytes::new(body))
    }

    /// The first box of a kind, or nothing.
    pub(super) fn find(self, kind: &FourCc) -> Result<Option<&'a [u8]>, MediaError> {
        for found in self {
            let (found, body) = found?;
            if found == *kind {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// The first box of a kind.
    pub(super) fn need(self, kind: &FourCc) -> Result<&'a [u8], MediaError> {
        self.find(kind)?
            .ok_or_else(|| MediaError::damaged(format!("box {} is missing", name(*kind))))
    }

    fn step(&mut self) -> Result<(FourCc, &'a [u8]), MediaError> {
        let size = self.0.u32()?;
        let kind = self.0.fourcc()?;
        let body = match size {
            0 => self.0.rest().len() as u64,
            1 => self.0.u64()?.checked_sub(16).ok_or_else(|| too_small(kind))?,
            size => u64::from(size).checked_sub(8).ok_or_else(|| too_small(kind))?,
        };
        let len = usize::try_from(body).unwrap_or(usize::MAX);
        let body = self.0.take(len).map_err(|_| {
            MediaError::damaged(format!("box {} is larger than the box around it", name(kind)))
        })?;
        Ok((kind, body))
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<(FourCc, &'a [u8]), MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        // QuickTime ends some lists of boxes with four zero bytes.
        if self.0.rest().len() < 8 {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.0 = Bytes::new(&[]);
        }
        Some(step)
    }
}

fn too_small(kind: FourCc) -> MediaError {
    MediaError::damaged(format!("box {} is smaller than its own header", name(kind)))
}

/// A box type as text fit for a message.
pub(super) fn name(kind: FourCc) -> String {
    kind.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

/// Version and flags at the front of a full box.
pub(super) fn full<'a>(body: &'a [u8]) -> Result<(u8, u32, Bytes<'a>), MediaError> {
    let mut bytes = Bytes::new(body);
    let version = bytes.u8()?;
    let flags = bytes.u24()?;
    Ok((version, flags, bytes))
}
