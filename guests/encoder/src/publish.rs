//! From checked parts to the files of a build: track files, playlists, pictures.
//!
//! Everything here can be run again: a file that is stored already is not made again, since the
//! parts that it was made of may be gone.

use backlot_packaging::dash::{self, Kind, Manifest, Representation};
use backlot_packaging::fragment::{self, Fragment};
use backlot_packaging::hls::{self, AudioStream, VideoStream};
use backlot_packaging::picture::Rgb;
use backlot_packaging::progressive::{self, Source};
use backlot_packaging::storyboard::{Sheet, tile_size};
use backlot_packaging::track::{Media, OpusHead, Track};
use backlot_packaging::{rate, track};
use backlot_sdk::objects;

use crate::announce::{AudioNote, Content, RungNote, SourceNote};
use crate::fault::Fault;
use crate::messages::{SoundDone, StreamCodec, StreamDone};
use crate::names::{CONTENT_BUCKET, Keys, language_tag, title};
use crate::plan::Plan;
use crate::store::{self, Sink};
use crate::thumbnails::JPEG_QUALITY;
use crate::validate::Film;

/// Lines of the best rung that goes into the progressive MP4.
const MP4_LINES_MAX: u32 = 720;
/// Bytes of a fragment read to find its tables: those of 4,000 samples.
const MOOF_READ_BYTES: u64 = 64 << 10;

const MP4_TYPE: &str = "video/mp4";
const HLS_TYPE: &str = "application/vnd.apple.mpegurl";
const DASH_TYPE: &str = "application/dash+xml";

/// One track file of the build.
struct TrackFile {
    /// Without extension, such as `video-720p`.
    stem: String,
    track: Track,
    codec: String,
    fragments: Vec<Fragment>,
    header: track::Header,
    bytes: u64,
}

/// A build whose files are stored.
pub struct LaidOut<'a> {
    plan: &'a Plan,
    keys: &'a Keys,
    duration_ms: u64,
    rungs: Vec<RungNote>,
    audio: Vec<AudioNote>,
}

/// Store every file of the build but the pointer to it.
pub fn lay_out<'a>(
    plan: &'a Plan,
    keys: &'a Keys,
    film: &Film,
    sounds: &[SoundDone],
) -> Result<LaidOut<'a>, Fault> {
    let mut videos = Vec::new();
    let mut rungs = Vec::new();
    for rung in &film.rungs {
        let narrow = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let track = Track {
            timescale: plan.timescale,
            language: "und".to_owned(),
            media: Media::Av1 {
                config: rung.config.clone(),
                width: narrow(rung.rung.width),
                height: narrow(rung.rung.height),
                colour: plan.picture.colour,
            },
            skip: 0,
        };
        let stem = format!("video-{}", rung.rung.name);
        let file = track_file(keys, stem, track, &rung.fragments, &rung.keys)?;
        rungs.push(RungNote {
            name: rung.rung.name.clone(),
            width: rung.rung.width,
            height: rung.rung.height,
            bytes: file.bytes,
            codec: file.codec.clone(),
            file: format!("{}/{}.mp4", keys.build, file.stem),
        });
        videos.push(file);
    }

    let mut heard = Vec::new();
    let mut audio = Vec::new();
    for (number, sound) in sounds.iter().enumerate() {
        let language = sound.language.as_deref().and_then(language_tag);
        let name = match (&language, number) {
            (Some(language), 0) => language.clone(),
            (Some(language), number) => format!("{language} {}", number + 1),
            (None, number) => format!("Audio {}", number + 1),
        };
        for stream in &sound.streams {
            let (suffix, track) = audio_track(stream, language.as_deref())?;
            let stem = format!("audio-{number}-{suffix}");
            let keys_of = std::slice::from_ref(&stream.key);
            let file = track_file(keys, stem, track, &stream.fragments, keys_of)?;
            audio.push(AudioNote {
                name: name.clone(),
                language: language.clone(),
                channels: stream.channels,
                bytes: file.bytes,
                codec: file.codec.clone(),
                file: format!("{}/{}.mp4", keys.build, file.stem),
            });
            heard.push((file, suffix, stream.sample_rate));
        }
    }

    for file in videos.iter().chain(heard.iter().map(|(file, ..)| file)) {
        let playlist = hls::media_playlist(
            &format!("{}.mp4", file.stem),
            file.header.init_bytes,
            file.header.bytes.len() as u64,
            &file.fragments,
            file.track.timescale,
        );
        store::put(&keys.file(&format!("{}.m3u8", file.stem)), HLS_TYPE, playlist.as_bytes())?;
    }
    let master = master(plan, &videos, &heard, &audio);
    store::put(&keys.file("master.m3u8"), HLS_TYPE, master.as_bytes())?;
    let duration_secs = videos
        .iter()
        .chain(heard.iter().map(|(file, ..)| file))
        .map(TrackFile::end_secs)
        .fold(0.0, f64::max);
    let manifest = manifest(plan, duration_secs, &videos, &heard, &audio);
    store::put(&keys.file("manifest.mpd"), DASH_TYPE, manifest.as_bytes())?;
    pictures(plan, keys, film)?;
    if plan.mp4 {
        let video = plan
            .rungs
            .iter()
            .position(|rung| rung.width.min(rung.height) <= MP4_LINES_MAX)
            .and_then(|position| videos.get(position))
            .or(videos.last());
        let first = |wanted: &str| heard.iter().find(|(_, suffix, _)| *suffix == wanted);
        let sound = first("aac").or_else(|| first("opus")).map(|(file, ..)| file);
        progressive_mp4(keys, &video.into_iter().chain(sound).collect::<Vec<_>>())?;
    }
    let duration_ms = (duration_secs * 1_000.0).round() as u64;
    Ok(LaidOut { plan, keys, duration_ms, rungs, audio })
}

impl LaidOut<'_> {
    /// The pointer to this build.
    pub fn content(self, source: &SourceNote, previous: Option<String>) -> Content {
        let plan = self.plan;
        let file = |name: &str| format!("{}/{name}", plan.build);
        Content {
            id: self.keys.id.clone(),
            title: title(&source.key).to_owned(),
            source: source.clone(),
            build: plan.build.clone(),
            previous,
            duration_ms: self.duration_ms,
            frames: plan.frames,
            width: plan.display.0,
            height: plan.display.1,
            master: file("master.m3u8"),
            dash: file("manifest.mpd"),
            poster: file("poster.jpg"),
            storyboard: file("storyboard.vtt"),
            mp4: plan.mp4.then(|| file("film.mp4")),
            rungs: self.rungs,
            audio: self.audio,
            encoder: plan.encoder.clone(),
            preset: plan.preset.clone(),
        }
    }
}

impl TrackFile {
    /// When its last sample ends, in seconds from the begin of the film.
    fn end_secs(&self) -> f64 {
        let end = self.fragments.last().map_or(0, |last| last.start + last.duration);
        end.saturating_sub(self.track.skip) as f64 / f64::from(self.track.timescale.max(1))
    }
}

/// Make a track file of a header and the stored fragments, without copying these.
fn track_file(
    keys: &Keys,
    stem: String,
    track: Track,
    fragments: &[Fragment],
    sources: &[String],
) -> Result<TrackFile, Fault> {
    let header = track.header(fragments)?;
    let key = keys.file(&format!("{stem}.mp4"));
    if !store::is_stored(&key)? {
        let header_key = keys.work(&format!("{stem}-header"));
        store::put(&header_key, MP4_TYPE, &header.bytes)?;
        let sources = [std::slice::from_ref(&header_key), sources].concat();
        let kind = if track.is_audio() { "audio/mp4" } else { MP4_TYPE };
        store::compose(&key, kind, &sources)?;
    }
    let fragment_bytes: u64 = fragments.iter().map(|fragment| fragment.bytes).sum();
    Ok(TrackFile {
        stem,
        codec: track.codec_string()?,
        fragments: fragments.to_vec(),
        bytes: header.bytes.len() as u64 + fragment_bytes,
        track,
        header,
    })
}

/// The track of an audio stream, and what its file is called after.
fn audio_track(
    stream: &StreamDone,
    language: Option<&str>,
) -> Result<(&'static str, Track), Fault> {
    let config = hex::decode(&stream.config)
        .map_err(|_| Fault::Passing("a sound's configuration is not hexadecimal".to_owned()))?;
    let rates = rate::measure(&stream.fragments, stream.timescale);
    let (suffix, media) = match stream.codec {
        StreamCodec::Aac => (
            "aac",
            Media::Aac {
                config,
                channels: stream.channels,
                sample_rate: stream.sample_rate,
                bits_per_second: u32::try_from(rates.average).unwrap_or(u32::MAX),
            },
        ),
        StreamCodec::Opus => (
            "opus",
            Media::Opus(OpusHead::parse(&config).ok_or_else(|| {
                Fault::Publisher("the file is damaged: its Opus header is cut off".to_owned())
            })?),
        ),
    };
    Ok((
        suffix,
        Track {
            timescale: stream.timescale,
            language: language.unwrap_or("und").to_owned(),
            media,
            skip: stream.skip,
        },
    ))
}

/// Audio of this build: the file, what it is called after, and its sampling rate.
type Heard = (TrackFile, &'static str, u32);

fn master(plan: &Plan, videos: &[TrackFile], heard: &[Heard], notes: &[AudioNote]) -> String {
    let frames_per_second = f64::from(plan.frame_rate.0) / f64::from(plan.frame_rate.1.max(1));
    // Least first: what a player without an estimate of its own begins with.
    let videos: Vec<VideoStream> = videos
        .iter()
        .zip(&plan.rungs)
        .rev()
        .map(|(file, rung)| VideoStream {
            uri: format!("{}.m3u8", file.stem),
            codec: file.codec.clone(),
            width: rung.width,
            height: rung.height,
            frames_per_second,
            rates: rate::measure(&file.fragments, file.track.timescale),
        })
        .collect();
    let mut groups = Vec::new();
    let audios: Vec<AudioStream> = heard
        .iter()
        .zip(notes)
        .map(|((file, group, _), note)| {
            let default = !groups.contains(group);
            groups.push(*group);
            AudioStream {
                group: (*group).to_owned(),
                uri: format!("{}.m3u8", file.stem),
                codec: file.codec.clone(),
                name: note.name.clone(),
                language: note.language.clone(),
                channels: u32::from(note.channels),
                default,
                rates: rate::measure(&file.fragments, file.track.timescale),
            }
        })
        .collect();
    hls::master_playlist(&videos, &audios)
}

fn manifest(
    plan: &Plan,
    duration_secs: f64,
    videos: &[TrackFile],
    heard: &[Heard],
    notes: &[AudioNote],
) -> String {
    let representation = |file: &TrackFile, kind: Kind| Representation {
        id: file.stem.clone(),
        uri: format!("{}.mp4", file.stem),
        codec: file.codec.clone(),
        bandwidth: rate::measure(&file.fragments, file.track.timescale).peak,
        timescale: file.track.timescale,
        init_bytes: file.header.init_bytes,
        header_bytes: file.header.bytes.len() as u64,
        kind,
    };
    let longest = videos
        .iter()
        .flat_map(|file| &file.fragments)
        .map(|fragment| fragment.duration)
        .max()
        .unwrap_or(0);
    dash::write(&Manifest {
        duration_secs,
        buffer_secs: longest as f64 / f64::from(plan.timescale.max(1)),
        videos: videos
            .iter()
            .zip(&plan.rungs)
            .rev()
            .map(|(file, rung)| {
                let (width, height) = (rung.width, rung.height);
                representation(file, Kind::Video { width, height, frame_rate: plan.frame_rate })
            })
            .collect(),
        audios: heard
            .iter()
            .zip(notes)
            .enumerate()
            .map(|(number, ((file, _, sample_rate), note))| {
                let kind = Kind::Audio {
                    sample_rate: *sample_rate,
                    channels: u32::from(note.channels),
                    language: note.language.clone(),
                    main: number == 0,
                };
                representation(file, kind)
            })
            .collect(),
    })
}

/// The poster and the storyboard.
fn pictures(plan: &Plan, keys: &Keys, film: &Film) -> Result<(), Fault> {
    let poster = keys.file("poster.jpg");
    if !store::is_stored(&poster)? {
        // The earliest of those that are alike.
        let best = film
            .tiles
            .iter()
            .reduce(|best, tiles| if best.interest < tiles.interest { tiles } else { best });
        if let Some(best) = best {
            store::compose(&poster, "image/jpeg", std::slice::from_ref(&best.poster))?;
        }
    }
    let (tile_width, tile_height) = tile_size(plan.display.0, plan.display.1);
    let tiles = u32::try_from(plan.tiles.len()).unwrap_or(u32::MAX);
    let sheet = Sheet { tile_width, tile_height, tiles };
    let picture = keys.file("storyboard.jpg");
    if !store::is_stored(&picture)? {
        let tile_bytes = tile_width as usize * tile_height as usize * 3;
        let mut pictures = Vec::new();
        for part in &film.tiles {
            let stored = store::get(&part.key)?.unwrap_or_default();
            pictures.extend(stored.chunks_exact(tile_bytes.max(1)).map(|data| Rgb {
                width: tile_width,
                height: tile_height,
                data: data.to_vec(),
            }));
        }
        let jpeg = sheet.compose(&pictures).jpeg(JPEG_QUALITY)?;
        store::put(&picture, "image/jpeg", &jpeg)?;
    }
    let vtt = keys.file("storyboard.vtt");
    let end_ms = u128::from(plan.end) * 1_000 / u128::from(plan.timescale.max(1));
    let end_ms = u64::try_from(end_ms).unwrap_or(u64::MAX);
    let text = sheet.vtt("storyboard.jpg", &plan.tile_starts_ms, end_ms);
    store::put(&vtt, "text/vtt", text.as_bytes())?;
    Ok(())
}

/// Copy the samples of these track files into one progressive MP4.
fn progressive_mp4(keys: &Keys, files: &[&TrackFile]) -> Result<(), Fault> {
    let key = keys.file("film.mp4");
    if store::is_stored(&key)? {
        return Ok(());
    }
    let mut readers = Vec::new();
    let mut payloads = Vec::new();
    let mut sources = Vec::new();
    for file in files {
        let track_key = keys.file(&format!("{}.mp4", file.stem));
        let reader = objects::open(CONTENT_BUCKET, &track_key, None)?;
        let (mut chunks, mut places) = (Vec::new(), Vec::new());
        for fragment in &file.fragments {
            let at = file.header.bytes.len() as u64 + fragment.offset;
            let begin = store::read(&reader, at, fragment.bytes.min(MOOF_READ_BYTES))?;
            let moof_bytes = fragment::moof_bytes(&begin)?;
            let moof = store::read(&reader, at, moof_bytes.min(fragment.bytes))?;
            let head = fragment::read_head(&moof)?;
            let payload_bytes = fragment.bytes.saturating_sub(head.payload_offset);
            places.push((at + head.payload_offset, payload_bytes));
            chunks.push(head.samples);
        }
        let start = file.fragments.first().map_or(0, |first| first.start);
        sources.push(Source { track: file.track.clone(), start, chunks });
        readers.push(reader);
        payloads.push(places);
    }
    let layout = progressive::layout(&sources)?;
    let mut sink = Sink::create(&key, MP4_TYPE)?;
    sink.write(&layout.header)?;
    for (track, chunk) in layout.order {
        let place = payloads.get(track).and_then(|places| places.get(chunk));
        if let (Some(reader), Some(&(at, bytes))) = (readers.get(track), place) {
            sink.write(&store::read(reader, at, bytes)?)?;
        }
    }
    sink.finish()
}
