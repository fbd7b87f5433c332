//! From an upload to a plan: what is in it, and what will be made of it.

use backlot_media::{Index, Limits, Track, rotate, supported};
use backlot_packaging::av1::Colour;
use backlot_packaging::storyboard::TILES_MAX;
use backlot_sdk::encoder;

use crate::decode;
use crate::fault::Fault;
use crate::messages::Upload;
use crate::names::{self, Keys};
use crate::plan::{Picture, Plan, cuts, frame_rate, gop_frames, ladder, square_pixels};
use crate::settings::Settings;
use crate::store::{self, Source};
use crate::timeline::Timeline;

/// Audio tracks that are published, at most.
const AUDIO_TRACKS_MAX: usize = 8;
/// Transfer characteristics of high dynamic range: PQ and HLG (ITU-T H.273, table 3).
const HDR_TRANSFERS: [u8; 2] = [16, 18];

/// Read the upload's index, store it for the children, decode one frame, and decide.
pub fn plan(upload: &Upload, source: &Source, settings: &Settings) -> Result<Plan, Fault> {
    let index = backlot_media::index(source, &Limits::default())?;
    let video = index.main_video()?;
    let timeline = Timeline::new(video)?;
    let (picture, display) = first_picture(source, video)?;
    let rungs = ladder(display, settings)?;
    let length = timeline.end().saturating_sub(timeline.start(0));
    let frame_rate = frame_rate(timeline.frames(), length, timeline.timescale);
    let gop = gop_frames(frame_rate);
    let encoder = encoder::version();
    let facts = format!("{settings:?} {rungs:?} {gop}");
    let build = names::digest(&[&upload.content_id, &facts, &encoder, env!("CARGO_PKG_VERSION")]);
    let id = names::content_id(&upload.bucket, &upload.key);
    let keys = Keys { id, build };

    let index_key = keys.work("index");
    let tiles = timeline.spread(TILES_MAX);
    store::put(&index_key, "application/octet-stream", &index.to_bytes()?)?;
    Ok(Plan {
        index: index_key,
        encoder,
        preset: settings.preset.name().to_owned(),
        speed: settings.speed(),
        frames: timeline.frames(),
        timescale: timeline.timescale,
        end: timeline.end(),
        frame_rate,
        gop,
        picture,
        display,
        rungs,
        parts: cuts(timeline.frames(), gop, frame_rate, settings),
        tile_starts_ms: tiles.iter().map(|&frame| timeline.ms(timeline.start(frame))).collect(),
        tiles,
        audio: audio_tracks(&index),
        mp4: settings.mp4,
        build: keys.build,
    })
}

/// Shape of the film's first frame, upright, and its size in square pixels.
fn first_picture(source: &Source, video: &Track) -> Result<(Picture, (u32, u32)), Fault> {
    let info = video.video().ok_or_else(|| Fault::Publisher("a film without video".to_owned()))?;
    let mut first = None;
    decode::each_raw_frame(source, video, 0..1, |frame| {
        first.get_or_insert(frame);
        Ok(())
    })?;
    let first = first.ok_or_else(|| {
        Fault::Publisher("the file is damaged: its first frame cannot be decoded".to_owned())
    })?;
    let stored = square_pixels(first.width, first.height, info.pixel_aspect);
    let upright = rotate(first, info.rotation);
    let display = if info.rotation.swaps_sides() { (stored.1, stored.0) } else { stored };
    let colour = upright.colour.or(info.colour).map_or(Colour::UNSPECIFIED, |colour| Colour {
        primaries: colour.primaries,
        transfer: colour.transfer,
        matrix: colour.matrix,
        full_range: colour.full_range,
    });
    if HDR_TRANSFERS.contains(&colour.transfer) {
        return Err(Fault::Publisher(format!(
            "high dynamic range video is not supported; {}",
            supported()
        )));
    }
    let picture = Picture {
        width: upright.width,
        height: upright.height,
        bit_depth: upright.bit_depth,
        chroma: upright.chroma.plane(upright.width, upright.height),
        colour,
    };
    Ok((picture, display))
}

/// The audio tracks to publish, the film's own choice first.
fn audio_tracks(index: &Index) -> Vec<usize> {
    let mut tracks: Vec<(usize, &Track)> = index
        .tracks
        .iter()
        .enumerate()
        .filter(|(_, track)| track.audio().is_some() && !track.samples.is_empty())
        .collect();
    // Stable: file order within each kind.
    tracks.sort_by_key(|(_, track)| !track.default);
    tracks.into_iter().map(|(position, _)| position).take(AUDIO_TRACKS_MAX).collect()
}
