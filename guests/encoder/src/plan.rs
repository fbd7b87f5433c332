//! What to encode and how it is cut: decided once, remembered, and the same for every part.

use backlot_packaging::av1::Colour;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::settings::Settings;

/// Lines of the rungs, most first.
const LINES: [u32; 6] = [2160, 1440, 1080, 720, 540, 360];
/// Shortest and longest side of a rung in pixels, and the most luma samples of it: what the
/// encoder takes (`backlot:encoding`, record `rung`).
const SIDE_MIN_PX: u32 = 16;
const SIDE_MAX_PX: u32 = 7_680;
const SAMPLES_MAX: u64 = 8_912_896;
/// Length of a group of pictures: how finely a viewer can seek and switch.
const GOP_SECS: u64 = 2;
/// Most frames of a group of pictures (`backlot:encoding`, record `settings`).
const GOP_FRAMES_MAX: u64 = 600;
/// Frame rates that the encoder takes, in frames a second.
const FRAME_RATE_MAX: u64 = 240;
/// Longest part: what a crash may lose.
const PART_SECS_MAX: u64 = 300;
/// Parts for each core, so that all cores have work until near the end.
const PARTS_PER_CORE: u64 = 4;
/// Most parts of a film: a parent may have 10,000 children, audio among them.
const PARTS_MAX: u64 = 9_000;
/// Pixel aspects outside 1:8 to 8:1 are mistakes of whoever wrote the file.
const PIXEL_ASPECT_MAX: u64 = 8;

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Such as `720p`.
    pub name: String,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// rav1e's quantizer.
    pub quantizer: u8,
}

/// One part: frames `first..last` of the film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its place in the film, from 0.
    pub index: u64,
    /// Its first frame.
    pub first: u64,
    /// The frame after its last.
    pub last: u64,
}

/// Shape of the decoded frames, after rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Width in luma samples.
    pub width: u32,
    /// Height in luma samples.
    pub height: u32,
    /// 8 or 10.
    pub bit_depth: u8,
    /// Width and height of a chroma plane.
    pub chroma: (u32, u32),
    /// Colour.
    pub colour: Colour,
}

/// Everything about a film that is decided before it is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The build's name.
    pub build: String,
    /// Key of the stored index.
    pub index: String,
    /// The encoder's name and version.
    pub encoder: String,
    /// The preset's name.
    pub preset: String,
    /// rav1e's speed.
    pub speed: u8,
    /// Frames of the film.
    pub frames: u64,
    /// Ticks of the video's clock in a second.
    pub timescale: u32,
    /// End of the last frame in those ticks.
    pub end: u64,
    /// Nominal frame rate as a fraction.
    pub frame_rate: (u32, u32),
    /// Frames of a group of pictures.
    pub gop: u64,
    /// What is decoded.
    pub picture: Picture,
    /// Width and height in square pixels, upright.
    pub display: (u32, u32),
    /// What is made of it, best first.
    pub rungs: Vec<Rung>,
    /// How it is cut.
    pub parts: Vec<Part>,
    /// Frames of which thumbnails are made.
    pub tiles: Vec<u64>,
    /// When those frames are shown, in milliseconds.
    pub tile_starts_ms: Vec<u64>,
    /// Audio tracks by their position in the index.
    pub audio: Vec<usize>,
    /// Also make a progressive MP4.
    pub mp4: bool,
}

/// Width and height in square pixels of a picture stored with this pixel aspect: the height stays.
pub fn square_pixels(width: u32, height: u32, (across, down): (u32, u32)) -> (u32, u32) {
    let (across, down) = (u64::from(across), u64::from(down));
    let sane = 0 < across
        && 0 < down
        && across <= down * PIXEL_ASPECT_MAX
        && down <= across * PIXEL_ASPECT_MAX;
    if !sane || across == down {
        return (width, height);
    }
    let scaled = (u64::from(width) * across + down / 2) / down;
    (u32::try_from(scaled.max(1)).unwrap_or(u32::MAX), height)
}

/// The rungs for a picture of this display size, best first: never larger than it, named after
/// the shorter side. A picture of fewer lines than the least rung gets one rung of its own size.
/// `BACKLOT_RUNGS` picks among them; if it picks none, the smallest stays.
pub fn ladder(display: (u32, u32), settings: &Settings) -> Result<Vec<Rung>, Fault> {
    let (width, height) = display;
    let lines = width.min(height);
    if lines < SIDE_MIN_PX {
        return Err(Fault::Publisher(format!(
            "a picture of {width}x{height} pixels is not supported; supported are {SIDE_MIN_PX} \
             pixels and more on each side"
        )));
    }
    let mut sizes: Vec<(u32, u32, u32)> = LINES
        .into_iter()
        .filter(|&rung| rung <= lines)
        .map(|rung| (rung, scaled(width, rung, lines), scaled(height, rung, lines)))
        .filter(|&(_, width, height)| fits(width, height))
        .collect();
    if sizes.is_empty() {
        let own = (lines, width & !1, height & !1);
        if !fits(own.1, own.2) {
            return Err(Fault::Publisher(format!(
                "a picture of {width}x{height} pixels is not supported; supported are at most \
                 {SIDE_MAX_PX} pixels on a side and {SAMPLES_MAX} in all"
            )));
        }
        sizes.push(own);
    }
    if let Some(wanted) = &settings.rungs {
        let smallest = sizes.last().copied();
        sizes.retain(|(lines, ..)| wanted.contains(lines));
        if sizes.is_empty() {
            sizes.extend(smallest);
        }
    }
    Ok(sizes
        .into_iter()
        .map(|(lines, width, height)| Rung {
            name: format!("{lines}p"),
            width,
            height,
            quantizer: settings.quantizer(lines),
        })
        .collect())
}

fn fits(width: u32, height: u32) -> bool {
    [width, height].iter().all(|side| (SIDE_MIN_PX..=SIDE_MAX_PX).contains(side))
        && u64::from(width) * u64::from(height) <= SAMPLES_MAX
}

/// `side · to / from`, to the nearest even number.
fn scaled(side: u32, to: u32, from: u32) -> u32 {
    let (side, to, from) = (u64::from(side), u64::from(to), u64::from(from.max(1)));
    u32::try_from((side * to + from) / (2 * from) * 2).unwrap_or(u32::MAX)
}

/// The nominal frame rate of `frames` that last `ticks`: a usual one if it is near, else what they
/// average to, within what the encoder takes.
pub fn frame_rate(frames: u64, ticks: u64, timescale: u32) -> (u32, u32) {
    const USUAL: [(u32, u32); 13] = [
        (24_000, 1_001),
        (24, 1),
        (25, 1),
        (30_000, 1_001),
        (30, 1),
        (48, 1),
        (50, 1),
        (60_000, 1_001),
        (60, 1),
        (100, 1),
        (120_000, 1_001),
        (120, 1),
        (240, 1),
    ];
    let second = u64::from(timescale.max(1));
    let thousandths = u128::from(frames) * u128::from(second) * 1_000 / u128::from(ticks.max(1));
    let average = thousandths.clamp(1_000, u128::from(FRAME_RATE_MAX) * 1_000) as f64 / 1_000.0;
    // A film in milliseconds is off by one part in a thousand; 24 and 23.976 differ by as much, so
    // the nearest wins.
    let nearest = USUAL.into_iter().min_by(|a, b| {
        let off = |rate: &(u32, u32)| (f64::from(rate.0) / f64::from(rate.1) / average - 1.0).abs();
        off(a).total_cmp(&off(b))
    });
    if let Some((frames, seconds)) = nearest
        && (f64::from(frames) / f64::from(seconds) / average - 1.0).abs() < 0.001
    {
        return (frames, seconds);
    }
    let thousandths = (average * 1_000.0).round() as u32;
    let divisor = greatest_common_divisor(thousandths, 1_000);
    (thousandths / divisor, 1_000 / divisor)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

/// Frames of a group of pictures at this rate: about [`GOP_SECS`].
pub fn gop_frames((frames, seconds): (u32, u32)) -> u64 {
    let exact = u64::from(frames) * GOP_SECS;
    ((exact + u64::from(seconds) / 2) / u64::from(seconds.max(1))).clamp(1, GOP_FRAMES_MAX)
}

/// Cut `frames` at multiples of `gop` into parts of about equal length: short enough that each
/// core gets several and none is longer than the settings allow.
pub fn cuts(frames: u64, gop: u64, frame_rate: (u32, u32), settings: &Settings) -> Vec<Part> {
    let gop = gop.max(1);
    let gops = frames.div_ceil(gop);
    let in_gops = |seconds: u64| {
        let frames = seconds.saturating_mul(u64::from(frame_rate.0));
        (frames / u64::from(frame_rate.1.max(1)) / gop).max(1)
    };
    let longest = in_gops(settings.part_secs.unwrap_or(PART_SECS_MAX).min(PART_SECS_MAX));
    let shared = (gops / settings.cores.saturating_mul(PARTS_PER_CORE).max(1)).max(1);
    let count = match settings.parts {
        Some(exact) => exact,
        None => gops.div_ceil(longest.min(shared)),
    };
    let count = count.clamp(1, gops.clamp(1, PARTS_MAX));
    // Not `gops / count` for each and the rest for the last: parts differ by one group at most.
    let boundary = |part: u64| (gops * part / count * gop).min(frames);
    (0..count)
        .map(|index| Part { index, first: boundary(index), last: boundary(index + 1) })
        .filter(|part| part.first < part.last)
        .collect()
}

/// The parts in the order in which to start them: longest first, so that none is left over when
/// the other cores have nothing to do any more.
pub fn start_order(parts: &[Part]) -> Vec<Part> {
    let mut order = parts.to_vec();
    order.sort_by_key(|part| (std::cmp::Reverse(part.last - part.first), part.index));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Settings::read(variables.iter().map(own)).unwrap()
    }

    fn sizes(width: u32, height: u32, variables: &[(&str, &str)]) -> String {
        match ladder((width, height), &settings(variables)) {
            Ok(rungs) => rungs
                .iter()
                .map(|rung| format!("{} {}x{}", rung.name, rung.width, rung.height))
                .collect::<Vec<_>>()
                .join(", "),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn ladders() {
        for (width, height, wanted) in [
            (1280, 720, "720p 1280x720, 540p 960x540, 360p 640x360"),
            (1080, 1920, "1080p 1080x1920, 720p 720x1280, 540p 540x960, 360p 360x640"),
            (641, 361, "360p 640x360"),
            (640, 480, "360p 480x360"),
            (1024, 576, "540p 960x540, 360p 640x360"),
            (321, 241, "241p 320x240"),
            (16, 16, "16p 16x16"),
            (7680, 16, "16p 7680x16"),
            (
                3840,
                2160,
                "2160p 3840x2160, 1440p 2560x1440, 1080p 1920x1080, 720p 1280x720, 540p 960x540, \
                 360p 640x360",
            ),
            // Too many samples for the encoder at 2160 lines.
            (
                5160,
                2160,
                "1440p 3440x1440, 1080p 2580x1080, 720p 1720x720, 540p 1290x540, 360p 860x360",
            ),
        ] {
            assert_eq!(sizes(width, height, &[]), wanted, "{width}x{height}");
        }
        assert!(sizes(15, 400, &[]).contains("15x400 pixels is not supported"));
    }

    #[test]
    fn rungs_can_be_picked() {
        assert_eq!(sizes(1280, 720, &[("BACKLOT_RUNGS", "360p")]), "360p 640x360");
        assert_eq!(sizes(1280, 720, &[("BACKLOT_RUNGS", "1080p")]), "360p 640x360");
        assert_eq!(sizes(320, 240, &[("BACKLOT_RUNGS", "360p")]), "240p 320x240");
    }

    #[test]
    fn pixels_become_square() {
        assert_eq!(square_pixels(720, 576, (16, 15)), (768, 576));
        assert_eq!(square_pixels(720, 480, (8, 9)), (640, 480));
        assert_eq!(square_pixels(1440, 1080, (4, 3)), (1920, 1080));
        for odd in [(0, 1), (1, 0), (1, 1_000_000), (u32::MAX, 1)] {
            assert_eq!(square_pixels(320, 240, odd), (320, 240));
        }
    }

    #[test]
    fn frame_rates_have_their_names() {
        for (frames, ticks, timescale, wanted) in [
            (132, 132 * 512, 12_800, (25, 1)),
            (300, 300 * 1001, 30_000, (30_000, 1_001)),
            (240, 240 * 1001, 24_000, (24_000, 1_001)),
            (2_400, 100_000, 1_000, (24, 1)),
            (1, 1, 1, (1, 1)),
            (1, 3_600_000, 1_000, (1, 1)),
            (1_000_000, 1, 1, (240, 1)),
            (125, 10_000, 1_000, (25, 2)),
            (0, 0, 0, (1, 1)),
        ] {
            assert_eq!(frame_rate(frames, ticks, timescale), wanted, "{frames} in {ticks}");
        }
        assert_eq!(gop_frames((25, 1)), 50);
        assert_eq!(gop_frames((30_000, 1_001)), 60);
        assert_eq!(gop_frames((25, 2)), 25);
        assert_eq!(gop_frames((1, 1)), 2);
    }

    #[test]
    fn parts_are_as_the_settings_say() {
        let count = |frames, variables: &[(&str, &str)]| {
            cuts(frames, 50, (25, 1), &settings(variables)).len()
        };
        assert_eq!(count(132, &[("BACKLOT_CORES", "2")]), 3);
        assert_eq!(count(132, &[("BACKLOT_PARTS", "1")]), 1);
        assert_eq!(count(132, &[("BACKLOT_PARTS", "7")]), 3);
        assert_eq!(count(5_000, &[("BACKLOT_PARTS", "7")]), 7);
        // Two hours on two cores: 24 parts of five minutes.
        assert_eq!(count(180_000, &[("BACKLOT_CORES", "2")]), 24);
        assert_eq!(count(180_000, &[("BACKLOT_PART_SECS", "60")]), 120);
        assert_eq!(count(180_000, &[("BACKLOT_CORES", "64")]), 258);
    }

    proptest! {
        #[test]
        fn every_frame_is_in_exactly_one_part(
            frames in 1u64..2_000_000,
            gop in 1u64..=600,
            cores in 1u64..200,
            part_secs in proptest::option::of(1u64..1_000),
            parts in proptest::option::of(1u64..9_000),
            rate in 1u32..=240,
        ) {
            let settings = Settings { part_secs, parts, cores, ..settings(&[]) };
            let cut = cuts(frames, gop, (rate, 1), &settings);
            prop_assert!(cut.len() as u64 <= PARTS_MAX);
            let mut next = 0;
            for (index, part) in (0..).zip(&cut) {
                prop_assert_eq!(part.index, index);
                prop_assert_eq!(part.first, next);
                prop_assert!(part.first < part.last);
                prop_assert!(part.first.is_multiple_of(gop));
                next = part.last;
            }
            prop_assert_eq!(next, frames);
            let lengths = || cut.iter().map(|part| (part.last - part.first).div_ceil(gop));
            prop_assert!(lengths().max() <= lengths().min().map(|least| least + 1));
            if parts.is_none() && (cut.len() as u64) < PARTS_MAX {
                let longest = u64::from(rate) * part_secs.unwrap_or(300).min(300) / gop;
                prop_assert!(lengths().max() <= Some(longest.max(1)));
            }
            let mut order = start_order(&cut);
            prop_assert!(order.is_sorted_by_key(|part| std::cmp::Reverse(part.last - part.first)));
            order.sort_by_key(|part| part.index);
            prop_assert_eq!(order, cut);
        }

        #[test]
        fn rungs_are_even_and_never_larger_than_the_picture(
            width in 1u32..9_000,
            height in 1u32..9_000,
        ) {
            if let Ok(rungs) = ladder((width, height), &settings(&[])) {
                prop_assert!(!rungs.is_empty());
                for rung in rungs {
                    prop_assert!(rung.width.is_multiple_of(2) && rung.height.is_multiple_of(2));
                    // Rounding to even may add one pixel to the longer side of an odd picture.
                    prop_assert!(rung.width <= width + 1 && rung.height <= height + 1);
                    prop_assert!(fits(rung.width, rung.height));
                }
            }
        }
    }
}
