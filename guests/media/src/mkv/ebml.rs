//! EBML elements (RFC 8794): in the file, and inside a body that is in memory.

use crate::{bytes::Bytes, error::MediaError, input::Window};

/// Longest header: four bytes of number, eight of size.
const HEADER_BYTES_MAX: usize = 12;

/// An element in the file. `end` is missing where the size is unknown (live recordings).
#[derive(Debug, Clone, Copy)]
pub(super) struct FileElement {
    pub(super) id: u32,
    pub(super) body: u64,
    pub(super) end: Option<u64>,
}

/// The element at `at`; nothing at the end of the file.
pub(super) fn element_at(window: &Window<'_>, at: u64) -> Result<Option<FileElement>, MediaError> {
    let (header, found) = window.peek::<HEADER_BYTES_MAX>(at)?;
    if found == 0 {
        return Ok(None);
    }
    let mut bytes = Bytes::new(header.get(..found).unwrap_or_default());
    let (id, size) = header_of(&mut bytes).map_err(|error| error.at(at))?;
    let body = at + (found - bytes.rest().len()) as u64;
    let end = size.map(|size| body.saturating_add(size));
    Ok(Some(FileElement { id, body, end }))
}

fn header_of(bytes: &mut Bytes<'_>) -> Result<(u32, Option<u64>), MediaError> {
    let first = bytes.rest().first().copied().unwrap_or(0);
    let id_len = first.leading_zeros() as usize + 1;
    if 4 < id_len {
        return Err(MediaError::damaged("an element has no valid number"));
    }
    let id = u32::try_from(bytes.uint(id_len)?).unwrap_or(0);
    Ok((id, size(bytes)?))
}

/// A size; nothing for the reserved value "unknown".
fn size(bytes: &mut Bytes<'_>) -> Result<Option<u64>, MediaError> {
    let (value, len) = variable(bytes)?;
    Ok((value != (1 << (7 * len)) - 1).then_some(value))
}

/// A variable-length number without its marker, and its length in bytes.
pub(super) fn variable(bytes: &mut Bytes<'_>) -> Result<(u64, u32), MediaError> {
    let first = bytes.rest().first().copied().unwrap_or(0);
    let len = first.leading_zeros() + 1;
    if 8 < len {
        return Err(MediaError::damaged("an element has no valid size"));
    }
    let value = bytes.uint(len as usize)?;
    Ok((value & !(1 << (7 * len)), len))
}

/// Iterates over the elements of a body in memory: (number, body).
pub(super) fn elements(body: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), MediaError>> {
    let mut bytes = Bytes::new(body);
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let step = step(&mut bytes);
        if step.is_err() {
            bytes = Bytes::new(&[]);
        }
        Some(step)
    })
}

fn step<'a>(bytes: &mut Bytes<'a>) -> Result<(u32, &'a [u8]), MediaError> {
    let (id, size) = header_of(bytes)?;
    let size = size.ok_or_else(|| MediaError::damaged("an element has no size"))?;
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let body = bytes
        .take(len)
        .map_err(|_| MediaError::damaged("an element is larger than the one around it"))?;
    Ok((id, body))
}

/// An unsigned number; empty is 0.
pub(super) fn unsigned(body: &[u8]) -> Result<u64, MediaError> {
    if 8 < body.len() {
        return Err(MediaError::damaged("a number of more than eight bytes"));
    }
    Bytes::new(body).uint(body.len())
}

/// A signed number.
pub(super) fn signed(body: &[u8]) -> Result<i64, MediaError> {
    let value = unsigned(body)?.cast_signed();
    let unused = 64 - 8 * u32::try_from(body.len()).unwrap_or(8);
    Ok(if unused == 64 { 0 } else { value << unused >> unused })
}

/// A floating-point number; 0 for lengths that are neither 4 nor 8.
pub(super) fn float(body: &[u8]) -> f64 {
    if let Ok(bytes) = <[u8; 8]>::try_from(body) {
        return f64::from_be_bytes(bytes);
    }
    <[u8; 4]>::try_from(body).map_or(0.0, |bytes| f64::from(f32::from_be_bytes(bytes)))
}

/// Text up to the first zero byte.
pub(super) fn text(body: &[u8]) -> String {
    let text = body.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(variable(&mut Bytes::new(&[0x81])).unwrap(), (1, 1));
        assert_eq!(variable(&mut Bytes::new(&[0x40, 2])).unwrap(), (2, 2));
        assert!(variable(&mut Bytes::new(&[0])).is_err());
        assert_eq!(size(&mut Bytes::new(&[0xFF])).unwrap(), None);
        assert_eq!(
            size(&mut Bytes::new(&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])).unwrap(),
            None
        );
        assert_eq!(
            (signed(&[0xFF]).unwrap(), signed(&[0x7F, 0]).unwrap(), signed(&[]).unwrap()),
            (-1, 0x7F00, 0)
        );
        assert!((float(&44_100_f32.to_be_bytes()) - 44_100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn lying_sizes_end_the_walk() {
        let found: Vec<_> = elements(&[0x86, 0x81, 7, 0x86, 0x8F, 1]).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Ok((0x86, [7].as_slice())));
        assert!(found[1].is_err());
    }
}
