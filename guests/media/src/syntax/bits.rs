//! A bit reader with the Exp-Golomb codes of H.264 and HEVC.

use crate::error::MediaError;

/// Reads bits from the most significant end. Past the end is an error.
#[derive(Debug, Clone)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Result<bool, MediaError> {
        let byte = self
            .bytes
            .get(self.at / 8)
            .ok_or_else(|| MediaError::damaged("a stream header ends too early"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// Up to 32 bits.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32, MediaError> {
        let mut value = 0_u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    pub(crate) fn skip(&mut self, count: u32) -> Result<(), MediaError> {
        for _ in 0..count {
            self.bit()?;
        }
        Ok(())
    }

    /// `ue(v)`.
    pub(crate) fn ue(&mut self) -> Result<u32, MediaError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if 31 < zeros {
                return Err(MediaError::damaged("a stream header has a number too large"));
            }
        }
        Ok((1_u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `se(v)`.
    pub(crate) fn se(&mut self) -> Result<i32, MediaError> {
        let code = i64::from(self.ue()?);
        let value = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
        i32::try_from(value).map_err(|_| MediaError::damaged("a number too large"))
    }

    /// `ue(v)` with an inclusive upper bound.
    pub(crate) fn ue_at_most(&mut self, max: u32) -> Result<u32, MediaError> {
        let value = self.ue()?;
        if max < value {
            return Err(MediaError::damaged(format!("a stream header has {value}, over {max}")));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101, then the signed reading of the same.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        let read: Vec<u32> = (0..5).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&bytes);
        let read: Vec<i32> = (0..5).map(|_| bits.se().unwrap()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
        assert!(Bits::new(&[0; 8]).ue().is_err(), "no end of zeros");
        assert!(Bits::new(&[]).bit().is_err());
    }
}
