//! The presented sound of a track as PCM.

use crate::{error::MediaError, input::Input, model::Track};

/// Speaker positions of the channels, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelLayout {
    /// One channel.
    Mono,
    /// Left, right.
    Stereo,
    /// Left, right, centre.
    Surround30,
    /// Left, right, centre, back centre.
    Surround40,
    /// Left, right, back left, back right.
    Quad,
    /// Left, right, centre, back left, back right.
    Surround50,
    /// Left, right, centre, low frequency, back left, back right.
    Surround51,
    /// Left, right, centre, low frequency, back centre, side left, side right.
    Surround61,
    /// Left, right, centre, low frequency, back left, back right, side left, side right.
    Surround71,
}

/// A stretch of presented PCM.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioBlock {
    /// Number of its first sample, counted per channel from the start of the track.
    pub start: u64,
    /// Interleaved samples, mostly within -1 to 1.
    pub samples: Vec<f32>,
}

/// Decodes the presented sound of a track, from its start to its end.
#[derive(Debug)]
pub struct AudioDecoder<'a> {
    track: &'a Track,
}

impl<'a> AudioDecoder<'a> {
    /// Opens a track.
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] if it cannot be decoded.
    pub fn open(track: &'a Track, _input: &'a dyn Input) -> Result<Self, MediaError> {
        Ok(Self { track })
    }

    /// Samples a second.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.track.audio().map_or(0, |info| info.sample_rate)
    }

    /// Number of channels, 1 to 8.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.layout().channels()
    }

    /// Where the channels are heard.
    #[must_use]
    pub fn layout(&self) -> ChannelLayout {
        ChannelLayout::Stereo
    }

    /// Presentation time of the first sample, in samples after 0 (a delayed track).
    #[must_use]
    pub fn start(&self) -> u64 {
        0
    }

    /// The next stretch of sound; nothing at the end.
    ///
    /// # Errors
    /// [`MediaError::Damaged`] where a packet cannot be decoded.
    pub fn next_block(&mut self) -> Result<Option<AudioBlock>, MediaError> {
        Ok(None)
    }
}

impl ChannelLayout {
    /// Number of channels.
    #[must_use]
    pub fn channels(self) -> u32 {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
            Self::Surround30 => 3,
            Self::Surround40 | Self::Quad => 4,
            Self::Surround50 => 5,
            Self::Surround51 => 6,
            Self::Surround61 => 7,
            Self::Surround71 => 8,
        }
    }
}
