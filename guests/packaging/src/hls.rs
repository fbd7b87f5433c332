//! HLS playlists (RFC 8216, version 7) over track files, by byte range.

use std::fmt::Write as _;

use crate::fragment::Fragment;
use crate::rate;

/// One video rendition in the master playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoStream {
    /// Its media playlist, relative to the master.
    pub uri: String,
    /// Codec string of the video alone.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames a second.
    pub frames_per_second: f64,
    /// Measured rates.
    pub rates: rate::Rates,
}

/// One audio rendition in the master playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioStream {
    /// Its group: renditions of one codec.
    pub group: String,
    /// Its media playlist, relative to the master.
    pub uri: String,
    /// Codec string.
    pub codec: String,
    /// What a viewer chooses it by; unique within the group.
    pub name: String,
    /// Language tag (RFC 5646), where it is known.
    pub language: Option<String>,
    /// Channels.
    pub channels: u32,
    /// Played unless the viewer chooses otherwise: one of each group.
    pub default: bool,
    /// Measured rates.
    pub rates: rate::Rates,
}

/// The media playlist of one track file: `header_bytes` of `ftyp`, `moov` and `sidx`, of which
/// `init_bytes` are the initialization segment, and then the fragments one after another.
pub fn media_playlist(
    uri: &str,
    init_bytes: u64,
    header_bytes: u64,
    fragments: &[Fragment],
    timescale: u32,
) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    // Writing to a String cannot fail; the results are dropped in this function and the next.
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{}", rate::target_secs(fragments, timescale));
    text.push_str("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{init_bytes}@0\"");
    let mut offset = header_bytes;
    for fragment in fragments {
        let seconds = fragment.duration as f64 / f64::from(timescale.max(1));
        let _ = writeln!(text, "#EXTINF:{seconds:.6},");
        let _ = writeln!(text, "#EXT-X-BYTERANGE:{}@{offset}\n{uri}", fragment.bytes);
        offset += fragment.bytes;
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The master playlist: each video rendition once with each group of audio.
pub fn master_playlist(videos: &[VideoStream], audios: &[AudioStream]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let mut groups: Vec<&str> = Vec::new();
    for audio in audios {
        if !groups.contains(&audio.group.as_str()) {
            groups.push(&audio.group);
        }
        let _ = write!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\"",
            quoted(&audio.group),
            quoted(&audio.name)
        );
        if let Some(language) = &audio.language {
            let _ = write!(text, ",LANGUAGE=\"{}\"", quoted(language));
        }
        let _ = writeln!(
            text,
            ",DEFAULT={},AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{}\"",
            if audio.default { "YES" } else { "NO" },
            audio.channels,
            quoted(&audio.uri)
        );
    }
    let with_groups: Vec<Option<&str>> =
        if groups.is_empty() { vec![None] } else { groups.into_iter().map(Some).collect() };
    for group in with_groups {
        let members = || audios.iter().filter(move |audio| Some(audio.group.as_str()) == group);
        let audio_average = members().map(|audio| audio.rates.average).max().unwrap_or(0);
        let audio_peak = members().map(|audio| audio.rates.peak).max().unwrap_or(0);
        let mut codecs: Vec<&str> = Vec::new();
        for audio in members() {
            if !codecs.contains(&audio.codec.as_str()) {
                codecs.push(&audio.codec);
            }
        }
        for video in videos {
            let codecs = [&[video.codec.as_str()], codecs.as_slice()].concat().join(",");
            let _ = write!(
                text,
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\",\
                 RESOLUTION={}x{},FRAME-RATE={:.3},VIDEO-RANGE=SDR,CLOSED-CAPTIONS=NONE",
                (video.rates.peak + audio_peak).max(1),
                (video.rates.average + audio_average).max(1),
                video.width,
                video.height,
                video.frames_per_second,
            );
            if let Some(group) = group {
                let _ = write!(text, ",AUDIO=\"{}\"", quoted(group));
            }
            let _ = writeln!(text, "\n{}", video.uri);
        }
    }
    text
}

/// A quoted string holds no quotes and no line breaks (RFC 8216, section 4.2).
fn quoted(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c.is_control() { ' ' } else { c }).collect()
}
