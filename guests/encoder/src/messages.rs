//! What the invocations of one film tell one another, as JSON.

use backlot_packaging::fragment::Fragment;
use serde::{Deserialize, Serialize};

use crate::plan::{Part, Picture, Rung};

/// Which upload it is about, pinned to its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// The object's version, where the bucket keeps versions.
    pub version: Option<String>,
    /// Unique to its bytes.
    pub content_id: String,
}

/// To a child: encode one part of the video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartOrder {
    /// What to read.
    pub upload: Upload,
    /// Key of the index.
    pub index: String,
    /// Prefix of the keys to write to.
    pub work: String,
    /// Which frames.
    pub part: Part,
    /// What must come out of the decoder.
    pub picture: Picture,
    /// rav1e's speed.
    pub speed: u8,
    /// Nominal frame rate as a fraction.
    pub frame_rate: (u32, u32),
    /// Frames of a group of pictures.
    pub gop: u64,
    /// What to make of it.
    pub rungs: Vec<Rung>,
    /// Frames of this part to make thumbnails of.
    pub tiles: Vec<u64>,
    /// Width and height of a thumbnail.
    pub tile_size: (u32, u32),
    /// Width and height of a poster.
    pub poster_size: (u32, u32),
}

/// What a part made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartDone {
    /// Which part.
    pub part: Part,
    /// What was made, in the order of the order's rungs.
    pub rungs: Vec<RungDone>,
    /// The thumbnails, if there are any in this part.
    pub tiles: Option<TilesDone>,
}

/// One rung of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungDone {
    /// Key of its fragments, one after another.
    pub key: String,
    /// Their bytes.
    pub bytes: u64,
    /// The content of `av1C`, in hexadecimal.
    pub config: String,
    /// The fragments.
    pub fragments: Vec<Fragment>,
    /// SHA-256 of the packets end to end, in hexadecimal.
    pub sha256: String,
}

/// Thumbnails of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TilesDone {
    /// Key of the pictures: red, green and blue, one after another.
    pub key: String,
    /// The frames that they show.
    pub frames: Vec<u64>,
    /// Key of the most interesting of them, larger, as JPEG.
    pub poster: String,
    /// How interesting that one is.
    pub interest: f64,
}

/// To a child: make one audio track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundOrder {
    /// What to read.
    pub upload: Upload,
    /// Key of the index.
    pub index: String,
    /// Prefix of the keys to write to.
    pub work: String,
    /// Position of the track in the index.
    pub track: usize,
}

/// What an audio child made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundDone {
    /// The track's language, where the file says one.
    pub language: Option<String>,
    /// What was made: the source's own coding, Opus, or both.
    pub streams: Vec<StreamDone>,
}

/// One coding of one audio track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDone {
    /// Key of its fragments, one after another.
    pub key: String,
    /// Their bytes.
    pub bytes: u64,
    /// How it is coded.
    pub codec: StreamCodec,
    /// AudioSpecificConfig or OpusHead, in hexadecimal.
    pub config: String,
    /// Channels.
    pub channels: u8,
    /// Sampling rate in hertz.
    pub sample_rate: u32,
    /// Ticks in a second.
    pub timescale: u32,
    /// Ticks at the begin that are not presented.
    pub skip: u64,
    /// The fragments.
    pub fragments: Vec<Fragment>,
}

/// How an audio stream is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamCodec {
    /// The source's AAC.
    Aac,
    /// Opus.
    Opus,
}
