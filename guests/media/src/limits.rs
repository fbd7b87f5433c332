//! Bounds on what an input may ask of us. The sandbox bounds memory and time besides.

/// Limits of [`crate::index`] and of the decoders. All are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples of all tracks together. 4 M are 37 hours at 30 frames a second.
    pub samples: u64,
    /// Tracks in a file.
    pub tracks: u64,
    /// Bytes of the index of a file (`moov`, or one `moof`; Matroska's tracks). 256 MiB.
    pub header_bytes: u64,
    /// Boxes or elements visited in one file, so that a file of empty boxes ends.
    pub elements: u64,
    /// Luma samples of a picture: 8,912,896, that is HEVC level 5 (4096×2176).
    pub picture_samples: u64,
    /// Bytes of one coded sample. 64 MiB: ten times an uncompressed 1080p picture.
    pub sample_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples: 4 << 20,
            tracks: 64,
            header_bytes: 256 << 20,
            elements: 16 << 20,
            picture_samples: 8_912_896,
            sample_bytes: 64 << 20,
        }
    }
}
