//! What the world is told of a film: the pointer to it, and events.

use backlot_sdk::context;
use serde::Serialize;

use crate::fault::Fault;

/// `content.json`: what a page or a player needs to know of a published film.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    /// The content id.
    pub id: String,
    /// What a person calls it.
    pub title: String,
    /// The upload that it was made of.
    pub source: SourceNote,
    /// The build that is published.
    pub build: String,
    /// The build that was published before, which stays for those who are watching it.
    pub previous: Option<String>,
    /// How long it is.
    pub duration_ms: u64,
    /// Frames of video.
    pub frames: u64,
    /// Width of the source in square pixels, upright.
    pub width: u32,
    /// Height of the source in square pixels, upright.
    pub height: u32,
    /// HLS, relative to where this pointer is; so are the other files.
    pub master: String,
    /// DASH.
    pub dash: String,
    /// A still picture.
    pub poster: String,
    /// Thumbnails over its length.
    pub storyboard: String,
    /// Progressive MP4, if it was asked for.
    pub mp4: Option<String>,
    /// Video renditions, best first.
    pub rungs: Vec<RungNote>,
    /// Audio renditions.
    pub audio: Vec<AudioNote>,
    /// Name and version of the encoder.
    pub encoder: String,
    /// The preset.
    pub preset: String,
}

/// The upload that a film was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceNote {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its entity tag.
    pub etag: String,
    /// Unique to its bytes.
    #[serde(rename = "contentId")]
    pub content_id: String,
}

/// One video rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RungNote {
    /// Such as `720p`.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes of its track file.
    pub bytes: u64,
    /// Codec string.
    pub codec: String,
    /// The track file.
    pub file: String,
}

/// One audio rendition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AudioNote {
    /// What a viewer chooses it by.
    pub name: String,
    /// Language tag, where it is known.
    pub language: Option<String>,
    /// Channels.
    pub channels: u8,
    /// Bytes of its track file.
    pub bytes: u64,
    /// Codec string.
    pub codec: String,
    /// The track file.
    pub file: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    id: &'a str,
    source: &'a SourceNote,
    reason: &'a str,
}

/// Tell that a film can be watched; `content` is its `content.json`.
pub fn ready(id: &str, content: &[u8]) -> Result<(), Fault> {
    publish("content.ready", id, content.to_vec())
}

/// Tell why there will be none.
pub fn failed(id: &str, source: &SourceNote, reason: &str) -> Result<(), Fault> {
    publish("content.failed", id, serde_json::to_vec(&Failed { id, source, reason })?)
}

fn publish(kind: &str, id: &str, data: Vec<u8>) -> Result<(), Fault> {
    context::publish(&context::NewEvent {
        kind: kind.to_owned(),
        subject: Some(id.to_owned()),
        data,
    })?;
    Ok(())
}
