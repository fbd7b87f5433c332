//! OpusHead, the form of Opus's configuration in Ogg and Matroska (RFC 7845, section 5.1).

use crate::{bytes::Bytes, error::MediaError};

/// What OpusHead says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) channels: u8,
    /// Samples at 48 kHz to drop at the start.
    pub(crate) pre_skip: u16,
    /// Gain to apply, in 1/256 dB.
    pub(crate) gain: i16,
    pub(crate) family: u8,
    /// Streams, coupled streams and mapping, in families other than 0.
    pub(crate) streams: u8,
    pub(crate) coupled: u8,
    pub(crate) mapping: Vec<u8>,
}

/// Rewrites MP4's `dOps` (big-endian) as OpusHead (little-endian).
pub(crate) fn head_from_dops(dops: &[u8]) -> Result<Vec<u8>, MediaError> {
    let mut bytes = Bytes::new(dops);
    if bytes.u8()? != 0 {
        return Err(MediaError::damaged("the Opus configuration has an unknown version"));
    }
    let mut head = b"OpusHead\x01".to_vec();
    head.push(bytes.u8()?);
    head.extend_from_slice(&bytes.u16()?.to_le_bytes());
    head.extend_from_slice(&bytes.u32()?.to_le_bytes());
    head.extend_from_slice(&bytes.u16()?.to_le_bytes());
    head.extend_from_slice(bytes.rest());
    Ok(head)
}

/// Reads OpusHead.
pub(crate) fn head(config: &[u8]) -> Result<Head, MediaError> {
    let mut bytes = Bytes::new(config);
    if bytes.take(8)? != b"OpusHead" || 15 < bytes.u8()? {
        return Err(MediaError::damaged("the Opus configuration is not an OpusHead"));
    }
    let channels = bytes.u8()?;
    let pre_skip = bytes.u16()?.swap_bytes();
    bytes.skip(4)?;
    let gain = bytes.u16()?.swap_bytes().cast_signed();
    let family = bytes.u8()?;
    if channels == 0 {
        return Err(MediaError::damaged("Opus sound without channels"));
    }
    let mut head =
        Head { channels, pre_skip, gain, family, streams: 1, coupled: 0, mapping: Vec::new() };
    if family != 0 {
        (head.streams, head.coupled) = (bytes.u8()?, bytes.u8()?);
        head.mapping = bytes.take(usize::from(channels))?.to_vec();
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dops_becomes_opus_head() {
        let dops = [0, 2, 0x01, 0x38, 0, 0, 0xBB, 0x80, 0xFF, 0, 0];
        let made = head_from_dops(&dops).unwrap();
        let read = head(&made).unwrap();
        assert_eq!((read.channels, read.pre_skip, read.gain, read.family), (2, 312, -256, 0));
        assert!(head(b"OpusHead").is_err());
    }
}
