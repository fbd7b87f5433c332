//! NAL units in samples: length prefixes, and emulation prevention.

use crate::error::MediaError;

/// Iterates over the NAL units of a sample whose lengths have `length_size` bytes.
///
/// A length that reaches past the sample is an error, once; empty units are left out.
pub(crate) fn units(
    sample: &[u8],
    length_size: usize,
) -> impl Iterator<Item = Result<&[u8], MediaError>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let split = rest.split_at_checked(length_size);
            let unit = split.and_then(|(length, after)| {
                let length = length.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
                after.split_at_checked(usize::try_from(length).ok()?)
            });
            let Some((unit, after)) = unit else {
                // Some writers pad samples with zeros.
                let padding = rest.iter().all(|&byte| byte == 0);
                rest = &[];
                return (!padding).then(|| {
                    Err(MediaError::damaged("a picture's parts are longer than the picture"))
                });
            };
            rest = after;
            if !unit.is_empty() {
                return Some(Ok(unit));
            }
        }
        None
    })
}

/// Removes emulation prevention from the first `max` bytes of a unit.
pub(crate) fn unescape(unit: &[u8], max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len().min(max));
    let mut zeros = 0;
    for &byte in unit.iter().take(max) {
        if 2 <= zeros && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let read = |bytes: &[u8]| -> Result<Vec<Vec<u8>>, MediaError> {
            units(bytes, 2).map(|unit| unit.map(<[u8]>::to_vec)).collect()
        };
        assert_eq!(read(&[0, 1, 7, 0, 0, 0, 2, 8, 9]).unwrap(), [vec![7], vec![8, 9]]);
        assert!(read(&[0, 1, 7, 0, 9, 1]).is_err());
        assert_eq!(read(&[0, 1, 7, 0]).unwrap(), [vec![7]], "padding");
    }

    #[test]
    fn emulation_prevention_goes() {
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3], 9), [1, 0, 0, 1, 0, 0]);
    }
}
