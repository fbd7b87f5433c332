//! From packets to files that play.
//!
//! Pure functions without I/O: fragments and track files (CMAF, ISO/IEC 23000-19, on ISO-BMFF,
//! ISO/IEC 14496-12), HLS playlists (RFC 8216), the DASH manifest (ISO/IEC 23009-1), a progressive
//! MP4, posters and storyboards, and the checks of what an AV1 encoder answered. Boxes are those of
//! `shiguredo_mp4`; the few it lacks (`colr`, `pasp`, `dOps` of many channels) are written here.

pub mod av1;
pub mod dash;
pub mod fragment;
pub mod hls;
pub mod picture;
pub mod progressive;
pub mod rate;
pub mod storyboard;
pub mod track;

/// Why something could not be packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackagingError {
    /// A number does not fit the field that the format has for it.
    #[error("{what}: {got} is over the format's limit of {limit}")]
    OverLimit {
        /// What was counted.
        what: &'static str,
        /// How much of it there was.
        got: u64,
        /// The most the format can say.
        limit: u64,
    },
    /// The encoder's configuration record or a packet is not what the specification says.
    #[error("the encoder's {what} is not valid: {why}")]
    Encoder {
        /// `configuration` or `packet`.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// A box could not be written or read.
    #[error("box: {0}")]
    Box(String),
    /// The picture could not be written as JPEG.
    #[error("picture: {0}")]
    Picture(String),
}

impl From<shiguredo_mp4::Error> for PackagingError {
    fn from(error: shiguredo_mp4::Error) -> Self {
        Self::Box(error.to_string())
    }
}

/// Narrow a number to the width that a format has for it.
pub(crate) fn narrow<T>(what: &'static str, value: u64, limit: u64) -> Result<T, PackagingError>
where
    T: TryFrom<u64>,
{
    match T::try_from(value) {
        Ok(narrowed) if value <= limit => Ok(narrowed),
        _ => Err(PackagingError::OverLimit { what, got: value, limit }),
    }
}
