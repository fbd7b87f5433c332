//! Films made of packets from Debian's ffmpeg, packaged here and read back by ffmpeg, ffprobe,
//! dav1d and an independent playlist parser.
//!
//! They need `ffmpeg` with libsvtav1, and `dav1d`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

use std::path::Path;
use std::process::Command;

use backlot_packaging::av1::{Av1Config, Colour};
use backlot_packaging::dash::{self, Kind, Manifest, Representation};
use backlot_packaging::fragment::{self, Fragment, Sample};
use backlot_packaging::hls::{self, AudioStream, VideoStream};
use backlot_packaging::progressive::{self, Source};
use backlot_packaging::rate;
use backlot_packaging::track::{Media, OpusHead, Track};

const GOP: usize = 10;
const FRAMES: usize = 35;
const TIMESCALE: u32 = 12_800;

/// Run a tool; its output if it succeeded and had nothing to warn of.
fn run(tool: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(tool).args(arguments).current_dir(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    assert_eq!(errors.trim(), "", "{tool} {arguments:?} warns");
    String::from_utf8(output.stdout).unwrap()
}

/// Packets and the configuration of a small film.
struct Packets {
    folder: tempfile::TempDir,
    config: Vec<u8>,
    units: Vec<Vec<u8>>,
}

/// Encode with SVT-AV1, without scene cuts: a key frame each [`GOP`] frames.
fn encode(depth: &str) -> Packets {
    let folder = tempfile::tempdir().unwrap();
    let frames = FRAMES.to_string();
    let gop = GOP.to_string();
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=4", "-frames:v"])
        .args([&frames, "-pix_fmt", depth, "-c:v", "libsvtav1", "-preset", "12", "-g", &gop])
        .args(["-svtav1-params", "scd=0:lp=1", "film.ivf"])
        .current_dir(folder.path())
        .env("SVT_LOG", "1")
        .status()
        .unwrap();
    assert!(status.success());
    let ivf = std::fs::read(folder.path().join("film.ivf")).unwrap();
    let mut units = Vec::new();
    let mut at = 32;
    while let Some(header) = ivf.get(at..at + 12) {
        let size = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let unit = &ivf[at + 12..at + 12 + size];
        // Without the temporal delimiter, as the encoder's host call gives them.
        units.push(unit.strip_prefix(&[0x12, 0]).unwrap_or(unit).to_vec());
        at += 12 + size;
    }
    assert_eq!(units.len(), FRAMES);
    let header = &units[0][..2 + usize::from(units[0][1])];
    let sequence = shiguredo_mp4::bitstream::av1::parse_sequence_header(&header[2..]).unwrap();
    let config = [
        0x81,
        (sequence.seq_profile << 5) | sequence.seq_level_idx_0,
        (sequence.seq_tier_0 << 7) | (u8::from(sequence.high_bitdepth) << 6) | 0x0c,
        0,
    ];
    Packets { config: [&config, header].concat(), units, folder }
}

/// Track files and what is known of them.
struct Made {
    track: Track,
    name: String,
    fragments: Vec<Fragment>,
    header_bytes: u64,
    init_bytes: u64,
}

fn make(
    folder: &Path,
    name: &str,
    track: Track,
    start: u64,
    groups: &[Vec<(Vec<u8>, Sample)>],
) -> Made {
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut body = Vec::new();
    let mut next = start;
    for (number, group) in (1..).zip(groups) {
        let samples: Vec<Sample> = group.iter().map(|(_, sample)| *sample).collect();
        let data: Vec<u8> = group.iter().flat_map(|(data, _)| data.clone()).collect();
        let bytes = fragment::write(number, next, &samples, &data).unwrap();
        let duration = samples.iter().map(|sample| u64::from(sample.duration)).sum();
        fragments.push(Fragment {
            start: next,
            duration,
            samples: samples.len() as u32,
            offset: body.len() as u64,
            bytes: bytes.len() as u64,
        });
        next += duration;
        body.extend(bytes);
    }
    let header = track.header(&fragments).unwrap();
    std::fs::write(folder.join(format!("{name}.mp4")), [header.bytes.as_slice(), &body].concat())
        .unwrap();
    let header_bytes = header.bytes.len() as u64;
    let playlist = hls::media_playlist(
        &format!("{name}.mp4"),
        header.init_bytes,
        header_bytes,
        &fragments,
        track.timescale,
    );
    std::fs::write(folder.join(format!("{name}.m3u8")), playlist).unwrap();
    Made { track, name: name.to_owned(), fragments, header_bytes, init_bytes: header.init_bytes }
}

fn video(packets: &Packets, start: u64, duration: impl Fn(usize) -> u32) -> Made {
    let config = Av1Config::parse(&packets.config).unwrap();
    let (width, height) = config.size();
    let colour = Colour::BT709;
    let groups: Vec<Vec<_>> = packets
        .units
        .iter()
        .enumerate()
        .map(|(number, unit)| {
            let key = number.is_multiple_of(GOP);
            config.check_unit(unit, key).unwrap();
            let size = unit.len() as u32;
            (unit.clone(), Sample { duration: duration(number), size, key })
        })
        .collect::<Vec<_>>()
        .chunks(GOP)
        .map(<[_]>::to_vec)
        .collect();
    let media = Media::Av1 { config, width: width as u16, height: height as u16, colour };
    let track = Track { timescale: TIMESCALE, language: "und".to_owned(), media, skip: 0 };
    make(packets.folder.path(), "video", track, start, &groups)
}

/// AAC of ffmpeg, out of ADTS.
fn aac(folder: &Path) -> Made {
    run(
        "ffmpeg",
        &["-v", "error", "-f", "lavfi", "-i", "sine=d=1.4:r=48000", "-ac", "2", "-c:a", "aac"]
            .into_iter()
            .chain(["-f", "adts", "sound.aac"])
            .collect::<Vec<_>>(),
        folder,
    );
    let adts = std::fs::read(folder.join("sound.aac")).unwrap();
    let mut packets = Vec::new();
    let mut at = 0;
    while let Some(header) = adts.get(at..at + 7) {
        let size = usize::from(header[3] & 3) << 11
            | usize::from(header[4]) << 3
            | usize::from(header[5]) >> 5;
        let data = adts[at + 7..at + size].to_vec();
        let sample = Sample { duration: 1024, size: data.len() as u32, key: true };
        packets.push((data, sample));
        at += size;
    }
    let media = Media::Aac {
        // AAC-LC, 48 kHz, two channels.
        config: vec![0x11, 0x90],
        channels: 2,
        sample_rate: 48_000,
        bits_per_second: 128_000,
    };
    let track = Track { timescale: 48_000, language: "eng".to_owned(), media, skip: 1024 };
    let groups: Vec<_> = packets.chunks(40).map(<[_]>::to_vec).collect();
    make(folder, "aac", track, 0, &groups)
}

/// Opus of a sine, 1.4 s, with the encoder's delay.
fn opus(folder: &Path) -> Made {
    let mut encoder =
        opus_pure::OpusEncoder::new(48_000, 1, opus_pure::Application::Audio).unwrap();
    let skip = encoder.lookahead() as u16;
    let total = 48_000 * 14 / 10 + u64::from(skip);
    let mut buffer = vec![0; opus_pure::MAX_PACKET_BYTES];
    let packets: Vec<_> = (0..total.div_ceil(960))
        .map(|number| {
            let sound: Vec<f32> =
                (0..960).map(|n| ((number * 960 + n) as f32 / 20.0).sin() / 2.0).collect();
            let size = encoder.encode(&sound, 960, &mut buffer).unwrap();
            let duration = (total - number * 960).min(960) as u32;
            (buffer[..size].to_vec(), Sample { duration, size: size as u32, key: true })
        })
        .collect();
    let media = Media::Opus(OpusHead {
        channels: 1,
        pre_skip: skip,
        input_sample_rate: 48_000,
        gain: 0,
        mapping: (0, Vec::new()),
    });
    let language = "und".to_owned();
    let track = Track { timescale: 48_000, language, media, skip: u64::from(skip) };
    let groups: Vec<_> = packets.chunks(40).map(<[_]>::to_vec).collect();
    make(folder, "opus", track, 0, &groups)
}

/// Hashes of the decoded frames, and their times in ticks of the file.
fn frames(file: &str, folder: &Path) -> (Vec<String>, Vec<u64>) {
    let arguments = ["-v", "warning", "-copyts", "-i", file, "-map", "0:v:0"];
    let copied = ["-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "framemd5", "-"];
    let text = run("ffmpeg", &[&arguments[..], &copied[..]].concat(), folder);
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        (fields[5].to_owned(), fields[2].parse::<u64>().unwrap())
    })
    .unzip()
}

fn probe(file: &str, fields: &str, folder: &Path) -> Vec<String> {
    let text = run(
        "ffprobe",
        &["-v", "warning", "-count_packets", "-show_entries", fields, "-of", "csv=p=0:nk=1", file],
        folder,
    );
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_track_file_gives_back_what_went_in() {
    for depth in ["yuv420p", "yuv420p10le"] {
        let packets = encode(depth);
        let folder = packets.folder.path();
        // A variable frame rate: every third frame stays longer, and the film begins late.
        let duration = |number: usize| if number.is_multiple_of(3) { 700 } else { 512 };
        let made = video(&packets, 1_280, duration);
        let (hashes, times) = frames("video.mp4", folder);
        assert_eq!(hashes, frames("film.ivf", folder).0);
        let mut wanted = vec![1_280];
        wanted.extend((0..FRAMES - 1).scan(1_280, |time, number| {
            *time += u64::from(duration(number));
            Some(*time)
        }));
        assert_eq!(times, wanted);
        let stream = "stream=codec_name,width,height,sample_aspect_ratio,pix_fmt";
        let shown = probe("video.mp4", &format!("{stream},nb_read_packets"), folder);
        assert_eq!(shown, [format!("av1,96,64,1:1,{depth},{FRAMES}")]);
        run("ffmpeg", &["-v", "warning", "-i", "video.mp4", "-c", "copy", "v.obu"], folder);
        run("dav1d", &["-q", "-i", "v.obu", "-o", "v.y4m"], folder);
        // The index of subsegments leads to them: seeking goes by it.
        let index = std::fs::read(folder.join("video.mp4")).unwrap();
        let colour = b"colrnclx\0\x01\0\x01\0\x01\0";
        assert!(index.windows(colour.len()).any(|bytes| bytes == colour));
        assert_eq!(&index[made.init_bytes as usize + 4..][..4], b"sidx");
        assert_eq!(&index[made.header_bytes as usize + 4..][..4], b"moof");
    }
}

#[test]
fn packets_out_of_place_are_refused() {
    let packets = encode("yuv420p");
    let config = Av1Config::parse(&packets.config).unwrap();
    let refused = |unit: &[u8], key: bool| config.check_unit(unit, key).unwrap_err().to_string();
    assert!(refused(&packets.units[1], true).contains("no random access"));
    assert!(refused(&packets.units[0], false).contains("a key frame inside"));
    let two = [packets.units[1].as_slice(), &packets.units[2]].concat();
    assert!(refused(&two, false).contains("shows 2 frames"));
    let delimited = [&[0x12, 0], packets.units[0].as_slice()].concat();
    assert!(refused(&delimited, true).contains("temporal delimiter"));
    assert!(!refused(&packets.units[0][..40], true).is_empty());
    assert!(!refused(&[], true).is_empty());
    let mut other = packets.units[0].clone();
    other[5] ^= 0x10;
    assert!(!refused(&other, true).is_empty());
}

#[test]
fn codec_strings() {
    let packets = encode("yuv420p10le");
    let config = Av1Config::parse(&packets.config).unwrap();
    assert_eq!(config.codec_string(&Colour::BT709), "av01.0.00M.10");
    assert_eq!(config.codec_string(&Colour::UNSPECIFIED), "av01.0.00M.10");
    let pal = Colour { primaries: 5, transfer: 6, matrix: 6, full_range: true };
    assert_eq!(config.codec_string(&pal), "av01.0.00M.10.0.110.05.06.06.1");
    for broken in [&packets.config[..3], &packets.config[..4], &[0x82, 0, 0, 0]] {
        assert!(Av1Config::parse(broken).is_err());
    }
}

#[test]
fn playlists_and_manifest_play() {
    let packets = encode("yuv420p");
    let folder = packets.folder.path();
    let film = video(&packets, 0, |_| 512);
    let sounds = [aac(folder), opus(folder)];
    let videos = [VideoStream {
        uri: "video.m3u8".to_owned(),
        codec: film.track.codec_string().unwrap(),
        width: 96,
        height: 64,
        frames_per_second: 25.0,
        rates: rate::measure(&film.fragments, TIMESCALE),
    }];
    let audios: Vec<AudioStream> = sounds
        .iter()
        .map(|sound| AudioStream {
            group: sound.name.clone(),
            uri: format!("{}.m3u8", sound.name),
            codec: sound.track.codec_string().unwrap(),
            name: "Say \"hi\"".to_owned(),
            language: Some("en".to_owned()),
            channels: 2,
            default: true,
            rates: rate::measure(&sound.fragments, 48_000),
        })
        .collect();
    let master = hls::master_playlist(&videos, &audios);
    std::fs::write(folder.join("master.m3u8"), &master).unwrap();

    let parsed = m3u8_rs::parse_master_playlist_res(master.as_bytes()).unwrap();
    let codecs: Vec<_> = parsed.variants.iter().map(|v| v.codecs.clone().unwrap()).collect();
    assert_eq!(codecs, ["av01.0.00M.08,mp4a.40.2", "av01.0.00M.08,opus"]);
    for variant in &parsed.variants {
        assert!(variant.average_bandwidth.unwrap() <= variant.bandwidth);
        assert_eq!(variant.frame_rate, Some(25.0));
        assert!(parsed.alternatives.iter().any(|a| Some(&a.group_id) == variant.audio.as_ref()));
    }
    let text = std::fs::read(folder.join("video.m3u8")).unwrap();
    let list = m3u8_rs::parse_media_playlist_res(&text).unwrap();
    assert!(list.end_list && list.independent_segments);
    let durations: Vec<f32> = list.segments.iter().map(|segment| segment.duration).collect();
    assert_eq!(durations, [0.4, 0.4, 0.4, 0.2]);
    let file_bytes = std::fs::metadata(folder.join("video.mp4")).unwrap().len();
    let last = list.segments.last().unwrap().byte_range.as_ref().unwrap();
    assert_eq!(last.offset.unwrap() + last.length, file_bytes);

    let representation = |made: &Made, kind: Kind| Representation {
        id: made.name.clone(),
        uri: format!("{}.mp4", made.name),
        codec: made.track.codec_string().unwrap(),
        bandwidth: rate::measure(&made.fragments, made.track.timescale).peak,
        timescale: made.track.timescale,
        init_bytes: made.init_bytes,
        header_bytes: made.header_bytes,
        kind,
    };
    let audio = |language: &str, main| Kind::Audio {
        sample_rate: 48_000,
        channels: 2,
        language: Some(language.to_owned()),
        main,
    };
    let manifest = dash::write(&Manifest {
        duration_secs: 1.4,
        buffer_secs: 0.4,
        videos: vec![representation(
            &film,
            Kind::Video { width: 96, height: 64, frame_rate: (30_000, 1_001) },
        )],
        audios: vec![
            representation(&sounds[0], audio("en", true)),
            representation(&sounds[1], audio("d<e", false)),
        ],
    });
    std::fs::write(folder.join("manifest.mpd"), &manifest).unwrap();
    assert!(manifest.contains(&format!(
        "indexRange=\"{}-{}\"",
        film.init_bytes,
        film.header_bytes - 1
    )));
    assert!(manifest.contains("lang=\"d&lt;e\"") && manifest.contains("30000/1001"));

    let hashes = frames("film.ivf", folder).0;
    for entry in ["master.m3u8", "manifest.mpd"] {
        let input = ["-v", "error", "-i", entry];
        let text = run(
            "ffmpeg",
            &[&input[..], &["-map", "0:v:0", "-f", "framemd5", "-"]].concat(),
            folder,
        );
        let shown = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(shown, hashes.len(), "{entry}");
        let every = ["-map", "0:a", "-f", "null", "-"];
        run("ffmpeg", &[&input[..], &every[..]].concat(), folder);
    }
}

#[test]
fn sound_is_as_long_as_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    for made in [aac(folder.path()), opus(folder.path())] {
        let file = format!("{}.mp4", made.name);
        let packets = probe(&file, "stream=codec_name,nb_read_packets,start_time", folder.path());
        assert!(packets[0].starts_with(&made.name), "{packets:?}");
        run("ffmpeg", &["-v", "warning", "-y", "-i", &file, "sound.wav"], folder.path());
        let samples = (std::fs::metadata(folder.path().join("sound.wav")).unwrap().len() - 78)
            / if made.name == "opus" { 2 } else { 4 };
        let wanted =
            made.fragments.iter().map(|fragment| fragment.duration).sum::<u64>() - made.track.skip;
        assert!(samples.abs_diff(wanted) <= 1_024, "{}: {samples} of {wanted}", made.name);
    }
}

#[test]
fn a_progressive_file_has_its_tables_in_front() {
    let packets = encode("yuv420p");
    let folder = packets.folder.path();
    let made = [video(&packets, 640, |_| 512), aac(folder)];
    let files: Vec<Vec<u8>> = made
        .iter()
        .map(|made| std::fs::read(folder.join(format!("{}.mp4", made.name))).unwrap())
        .collect();
    let mut payloads = Vec::new();
    let sources: Vec<Source> = made
        .iter()
        .zip(&files)
        .map(|(made, file)| {
            let mut places = Vec::new();
            let chunks = made
                .fragments
                .iter()
                .map(|one| {
                    let at = (made.header_bytes + one.offset) as usize;
                    let bytes = &file[at..at + one.bytes as usize];
                    let moof = fragment::moof_bytes(bytes).unwrap() as usize;
                    let head = fragment::read_head(&bytes[..moof]).unwrap();
                    places.push(bytes[head.payload_offset as usize..].to_vec());
                    head.samples
                })
                .collect();
            payloads.push(places);
            Source { track: made.track.clone(), start: made.fragments[0].start, chunks }
        })
        .collect();
    let layout = progressive::layout(&sources).unwrap();
    let mut film = layout.header;
    for (track, chunk) in layout.order {
        film.extend(&payloads[track][chunk]);
    }
    std::fs::write(folder.join("progressive.mp4"), &film).unwrap();
    let place = |kind: &[u8]| film.windows(4).position(|four| four == kind).unwrap();
    assert!(place(b"moov") < place(b"mdat"));
    let (hashes, times) = frames("progressive.mp4", folder);
    assert_eq!(hashes, frames("film.ivf", folder).0);
    assert_eq!(times[0] * 1_000 / u64::from(TIMESCALE), 50);
    let shown = probe("progressive.mp4", "stream=codec_name,nb_read_packets", folder);
    let sound_packets: u32 = made[1].fragments.iter().map(|fragment| fragment.samples).sum();
    assert_eq!(shown, [format!("av1,{FRAMES}"), format!("aac,{sound_packets}")]);
}
