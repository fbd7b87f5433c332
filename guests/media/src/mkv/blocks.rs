//! Blocks: track, time, lacing (RFC 9559, sections 10 and 11.3).

use super::ebml::variable;
use crate::{bytes::Bytes, error::MediaError};

/// Bytes of a block that hold its header, its lacing and the first bytes of the first frame. A
/// lace has at most 256 frames, whose sizes take at most 8 bytes (Xiph: one a 255 bytes).
pub(super) const HEAD_BYTES: usize = 4096;

/// The header of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) track: u64,
    /// In ticks of the segment, from the cluster's time.
    pub(super) time: i16,
    /// Only in simple blocks.
    pub(super) key: bool,
    pub(super) invisible: bool,
    /// Bytes of the header, lacing included.
    pub(super) header: usize,
    /// Sizes of the frames after it; they fill the block.
    pub(super) sizes: Vec<u64>,
}

/// Reads the front of a block of `len` bytes.
pub(super) fn parse(head: &[u8], len: u64) -> Result<Block, MediaError> {
    let mut bytes = Bytes::new(head);
    let track = variable(&mut bytes)?.0;
    let time = bytes.u16()?.cast_signed();
    let flags = bytes.u8()?;
    let mut sizes: Vec<u64> = Vec::new();
    let lacing = flags >> 1 & 3;
    if lacing != 0 {
        let others = usize::from(bytes.u8()?);
        match lacing {
            1 => {
                for _ in 0..others {
                    sizes.push(xiph(&mut bytes)?);
                }
            }
            3 => ebml(&mut bytes, others, &mut sizes)?,
            _ => {
                let rest = body_len(head, &bytes, len)?;
                let each = rest / (others as u64 + 1);
                if each * (others as u64 + 1) != rest {
                    return Err(MediaError::damaged("a lace does not divide evenly"));
                }
                sizes.resize(others, each);
            }
        }
    }
    let rest = body_len(head, &bytes, len)?;
    let last = sizes.iter().try_fold(rest, |rest, size| rest.checked_sub(*size));
    sizes.push(last.ok_or_else(|| MediaError::damaged("a lace is longer than its block"))?);
    let header = head.len() - bytes.rest().len();
    Ok(Block { track, time, key: flags & 0x80 != 0, invisible: flags & 8 != 0, header, sizes })
}

fn body_len(head: &[u8], bytes: &Bytes<'_>, len: u64) -> Result<u64, MediaError> {
    len.checked_sub((head.len() - bytes.rest().len()) as u64)
        .ok_or_else(|| MediaError::damaged("a block is shorter than its header"))
}

fn xiph(bytes: &mut Bytes<'_>) -> Result<u64, MediaError> {
    let mut size = 0;
    loop {
        let byte = bytes.u8()?;
        size += u64::from(byte);
        if byte != 255 {
            return Ok(size);
        }
    }
}

/// The first size, then signed differences; the last size is what is left.
fn ebml(bytes: &mut Bytes<'_>, others: usize, sizes: &mut Vec<u64>) -> Result<(), MediaError> {
    let mut size = 0_i64;
    for number in 0..others {
        let (value, len) = variable(bytes)?;
        let value = value.cast_signed();
        let step = if number == 0 { value } else { value - ((1 << (7 * len - 1)) - 1) };
        size = size.saturating_add(step);
        let size = u64::try_from(size);
        sizes.push(size.map_err(|_| MediaError::damaged("a lace has a negative size"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bytes: &[u8], len: u64) -> Option<Vec<u64>> {
        parse(bytes, len).ok().map(|block| block.sizes)
    }

    #[test]
    fn lacing() {
        let plain = parse(&[0x81, 0xFF, 0xFE, 0x80, 9], 5).unwrap();
        assert_eq!((plain.track, plain.time, plain.key, plain.sizes), (1, -2, true, vec![1]));
        assert_eq!(sizes(&[0x81, 0, 0, 2, 2, 255, 1, 3], 8 + 259 + 4), Some(vec![256, 3, 4]));
        assert_eq!(sizes(&[0x81, 0, 0, 4, 2], 5 + 30), Some(vec![10, 10, 10]));
        assert_eq!(sizes(&[0x81, 0, 0, 4, 2], 5 + 31), None);
        // 100, then 100 - 10, then the rest.
        assert_eq!(sizes(&[0x81, 0, 0, 6, 2, 0xE4, 0xB5], 7 + 200), Some(vec![100, 90, 10]));
        assert_eq!(sizes(&[0x81, 0, 0, 6, 2, 0xE4, 0xB5], 7 + 100), None);
        assert_eq!(sizes(&[0x81, 0, 0], 3), None);
    }
}
