//! What a file holds, whatever its container: tracks and where their samples are.

use serde::{Deserialize, Serialize};

use crate::{error::MediaError, pack};

/// Kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    /// MP4 or QuickTime, whole or fragmented.
    Mp4,
    /// Matroska or WebM.
    Matroska,
    /// YUV4MPEG2: uncompressed pictures.
    Y4m,
}

/// How the samples of a track are coded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// H.264/AVC; `config` is the body of `avcC` (or empty: parameter sets in band, `avc3`).
    H264,
    /// H.265/HEVC; `config` is the body of `hvcC`.
    Hevc,
    /// VP9; `config` is the body of `vpcC`, or empty.
    Vp9,
    /// Planar pictures as they are in Y4M; `config` is the stream header line.
    Raw,
    /// AAC; `config` is the AudioSpecificConfig.
    Aac,
    /// Opus; `config` is an OpusHead.
    Opus,
    /// Anything else, by name: listed, so that it can be named, but not decoded.
    Other(String),
}

/// Everything needed to read the samples of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Kind of file.
    pub container: Container,
    /// Tracks in file order. At least one has samples.
    pub tracks: Vec<Track>,
}

/// One stream of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The file's number of the track.
    pub id: u64,
    /// Video or audio, and what is known of it before decoding.
    pub kind: TrackKind,
    /// How the samples are coded.
    pub codec: Codec,
    /// The codec's configuration record; see [`Codec`].
    pub config: Vec<u8>,
    /// Ticks of this track's times in a second. At least 1.
    pub timescale: u32,
    /// Samples in decode order.
    #[serde(with = "pack")]
    pub samples: Vec<Sample>,
    /// Language tag as in the file (ISO 639-2 or BCP 47), where it says one.
    pub language: Option<String>,
    /// Whether the file marks the track as enabled (MP4) or default (Matroska).
    pub default: bool,
    /// What the edit list or the codec delay did to the presentation.
    pub edit: Edit,
    /// Bytes that go before each sample (Matroska's header stripping). Mostly empty.
    pub prefix: Vec<u8>,
}

/// Whether a track is seen or heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackKind {
    /// Pictures.
    Video(VideoInfo),
    /// Sound.
    Audio(AudioInfo),
}

/// One coded sample (access unit, packet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Byte offset in the input.
    pub offset: u64,
    /// Size in bytes, without [`Track::prefix`].
    pub size: u32,
    /// Decode time, in ticks; only its order matters.
    pub dts: i64,
    /// Presentation time after edits, in ticks; 0 is the start of the presentation.
    pub pts: i64,
    /// Duration in ticks; 0 where unknown.
    pub duration: u32,
    /// Decoding can start here: an IDR, or an open-GOP random access point.
    pub key: bool,
    /// Whether it is presented. False: only decoded for others' sake (cut away by an edit list,
    /// or a hidden frame).
    pub shown: bool,
}

/// The presentation of a track after its edit list or codec delay.
///
/// For video the samples' `pts` and `shown` already carry all of it. For audio it says which
/// of the decoded PCM is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Edit {
    /// Where the presentation of this track starts, in ticks after 0 (empty edits).
    pub start: i64,
    /// Ticks of media cut away at the front: codec delay, or the edit's media time.
    pub skip: i64,
    /// Ticks that are presented, where the file says so.
    pub duration: Option<u64>,
    /// Ticks of padding cut away at the end of the media (Matroska's discard padding).
    pub padding: i64,
}

/// What is known of a video track without decoding it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// Width of the decoded picture in luma samples, cropped, before rotation.
    pub width: u32,
    /// Height of the decoded picture in luma samples, cropped, before rotation.
    pub height: u32,
    /// How the picture must be turned to be upright.
    pub rotation: Rotation,
    /// Width to height of one sample, before rotation; (1, 1) where the file says nothing.
    pub pixel_aspect: (u32, u32),
    /// Colour description, where the file or the stream gives one.
    pub colour: Option<Colour>,
    /// Bits a sample: 8 or 10.
    pub bit_depth: u8,
    /// Chroma sampling.
    pub chroma: Chroma,
    /// Nominal frame rate as a fraction, where the file gives one. A hint: times are in samples.
    pub frame_rate: Option<(u32, u32)>,
}

/// What is known of an audio track without decoding it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// Sampling rate of the decoded sound in hertz, as far as the container knows.
    pub sample_rate: u32,
    /// Channels of the decoded sound, as far as the container knows.
    pub channels: u32,
}

/// Rotation clockwise (in degrees) that makes a picture upright, after mirroring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rotation {
    /// 0, 90, 180 or 270, clockwise.
    pub degrees: u16,
    /// Mirror left to right, before rotating.
    pub mirrored: bool,
}

impl Rotation {
    /// Whether width and height change places.
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        self.degrees == 90 || self.degrees == 270
    }

    /// Whether the picture is upright as it is.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Colour description by the code points of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour {
    /// Colour primaries; 1 is BT.709, 2 unspecified.
    pub primaries: u8,
    /// Transfer characteristics; 1 is BT.709, 2 unspecified.
    pub transfer: u8,
    /// Matrix coefficients; 1 is BT.709, 2 unspecified.
    pub matrix: u8,
    /// Samples use the full range (0–255), not 16–235.
    pub full_range: bool,
}

/// Chroma sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chroma {
    /// Half width, half height.
    Yuv420,
    /// Half width, full height.
    Yuv422,
    /// Full size.
    Yuv444,
}

impl Chroma {
    /// Size of a chroma plane for a luma plane of `width` by `height`; odd sides round up.
    #[must_use]
    pub fn plane(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Yuv420 => (width.div_ceil(2), height.div_ceil(2)),
            Self::Yuv422 => (width.div_ceil(2), height),
            Self::Yuv444 => (width, height),
        }
    }
}

impl Track {
    /// The video description, if this is a video track.
    #[must_use]
    pub fn video(&self) -> Option<&VideoInfo> {
        match &self.kind {
            TrackKind::Video(info) => Some(info),
            TrackKind::Audio(_) => None,
        }
    }

    /// The audio description, if this is an audio track.
    #[must_use]
    pub fn audio(&self) -> Option<&AudioInfo> {
        match &self.kind {
            TrackKind::Audio(info) => Some(info),
            TrackKind::Video(_) => None,
        }
    }
}

impl Index {
    /// The video track to present: the first that is marked default and can be decoded, else the
    /// first that can be decoded.
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] naming the codec if there is video but none that can be
    /// decoded, and "no video" if there is none.
    pub fn main_video(&self) -> Result<&Track, MediaError> {
        let videos = || self.tracks.iter().filter(|track| track.video().is_some());
        let decodable = |track: &&Track| {
            !matches!(track.codec, Codec::Other(_)) && track.samples.iter().any(|s| s.shown)
        };
        if let Some(track) =
            videos().filter(decodable).find(|t| t.default).or_else(|| videos().find(decodable))
        {
            return Ok(track);
        }
        match videos().next().map(|track| &track.codec) {
            Some(Codec::Other(name)) => Err(MediaError::unsupported(format!("{name} video"))),
            Some(_) => Err(MediaError::damaged("the video track has no pictures")),
            None => Err(MediaError::unsupported("a file without video")),
        }
    }

    /// Audio tracks in file order, also those that cannot be decoded ([`Codec::Other`]).
    pub fn audio_tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| track.audio().is_some())
    }

    /// A compact form for storing: about 8 bytes a sample.
    ///
    /// # Errors
    /// Never in practice; the serializer's error is passed on as a bug of ours.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MediaError> {
        postcard::to_allocvec(self)
            .map_err(|error| MediaError::request(format!("index does not serialize: {error}")))
    }

    /// Reads what [`Index::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`MediaError::Request`] if the bytes are not an index of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MediaError> {
        postcard::from_bytes(bytes)
            .map_err(|error| MediaError::request(format!("not an index of this version: {error}")))
    }
}
