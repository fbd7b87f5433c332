//! The DASH manifest (ISO/IEC 23009-1, on-demand profile) over the same track files as HLS.

use std::fmt::Write as _;

/// Everything that the manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Duration of the presentation in seconds.
    pub duration_secs: f64,
    /// Longest fragment in seconds: what a player buffers before it begins.
    pub buffer_secs: f64,
    /// Video renditions: one adaptation set.
    pub videos: Vec<Representation>,
    /// Audio renditions: one adaptation set each.
    pub audios: Vec<Representation>,
}

/// One track file.
#[derive(Debug, Clone, PartialEq)]
pub struct Representation {
    /// Unique within the manifest.
    pub id: String,
    /// The track file, relative to the manifest.
    pub uri: String,
    /// Codec string.
    pub codec: String,
    /// Peak rate in bits a second.
    pub bandwidth: u64,
    /// Ticks in a second.
    pub timescale: u32,
    /// Bytes of the initialization segment, from the begin of the file.
    pub init_bytes: u64,
    /// Bytes before the first fragment; the index is what is between.
    pub header_bytes: u64,
    /// Seen or heard.
    pub kind: Kind,
}

/// What is particular to video and to audio.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Video with square pixels.
    Video {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Frames a second as a fraction.
        frame_rate: (u32, u32),
    },
    /// Audio.
    Audio {
        /// Sampling rate in hertz.
        sample_rate: u32,
        /// Channels.
        channels: u32,
        /// Language tag (RFC 5646), where it is known.
        language: Option<String>,
        /// The one to play unless the viewer chooses otherwise.
        main: bool,
    },
}

/// Write the manifest.
pub fn write(manifest: &Manifest) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail; the results are dropped in this file.
    let _ = writeln!(
        text,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\" \
         mediaPresentationDuration=\"PT{:.3}S\" minBufferTime=\"PT{:.3}S\">",
        manifest.duration_secs, manifest.buffer_secs
    );
    text.push_str("  <Period id=\"0\" start=\"PT0S\">\n");
    if !manifest.videos.is_empty() {
        text.push_str(
            "    <AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" \
             subsegmentAlignment=\"true\" subsegmentStartsWithSAP=\"1\">\n",
        );
        for video in &manifest.videos {
            representation(&mut text, video);
        }
        text.push_str("    </AdaptationSet>\n");
    }
    for (position, audio) in manifest.audios.iter().enumerate() {
        adaptation_set(&mut text, position + 1, audio);
    }
    text.push_str("  </Period>\n</MPD>\n");
    text
}

fn adaptation_set(text: &mut String, id: usize, audio: &Representation) {
    let _ = write!(
        text,
        "    <AdaptationSet id=\"{id}\" contentType=\"audio\" mimeType=\"audio/mp4\" \
         subsegmentAlignment=\"true\" subsegmentStartsWithSAP=\"1\""
    );
    let mut role = "alternate";
    if let Kind::Audio { language, main, .. } = &audio.kind {
        if let Some(language) = language {
            let _ = write!(text, " lang=\"{}\"", escaped(language));
        }
        role = if *main { "main" } else { role };
    }
    let _ =
        writeln!(text, ">\n      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>");
    representation(text, audio);
    text.push_str("    </AdaptationSet>\n");
}

fn representation(text: &mut String, one: &Representation) {
    let _ = write!(
        text,
        "      <Representation id=\"{}\" codecs=\"{}\" bandwidth=\"{}\"",
        escaped(&one.id),
        escaped(&one.codec),
        one.bandwidth.max(1)
    );
    match &one.kind {
        Kind::Video { width, height, frame_rate: (frames, seconds) } => {
            let _ = write!(text, " width=\"{width}\" height=\"{height}\" sar=\"1:1\"");
            let _ = match seconds {
                1 => writeln!(text, " frameRate=\"{frames}\">"),
                _ => writeln!(text, " frameRate=\"{frames}/{seconds}\">"),
            };
        }
        Kind::Audio { sample_rate, channels, .. } => {
            let _ = writeln!(
                text,
                " audioSamplingRate=\"{sample_rate}\">\n        <AudioChannelConfiguration \
                 schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
                 value=\"{channels}\"/>"
            );
        }
    }
    let _ = writeln!(
        text,
        "        <BaseURL>{}</BaseURL>\n        <SegmentBase indexRange=\"{}-{}\" \
         indexRangeExact=\"true\" timescale=\"{}\">\n          \
         <Initialization range=\"0-{}\"/>\n        </SegmentBase>\n      </Representation>",
        escaped(&one.uri),
        one.init_bytes,
        one.header_bytes.saturating_sub(1),
        one.timescale,
        one.init_bytes.saturating_sub(1)
    );
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
