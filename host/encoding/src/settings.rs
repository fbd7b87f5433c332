//! What a guest asks for, and the same checked.
//!
//! [`Settings`] is plain data that nobody has looked at. [`Settings::check`] turns it into
//! [`CheckedSettings`], which only this module can make: code that holds one need not check again.

use rav1e::color::{
    ColorDescription, ColorPrimaries, MatrixCoefficients, PixelRange, TransferCharacteristics,
};

use crate::error::{EncodeError, at_most};
use crate::level::{self, Level};

/// Longest side of a picture or rung in pixels; 7,680 is 8K UHD's width.
pub const SIDE_PX_MAX: u32 = 7_680;
/// Most luma samples of a picture or rung: MaxPicSize of the levels 5.x (AV1 specification,
/// annex A.3).
pub const LUMA_SAMPLES_MAX: u64 = 8_912_896;
/// Smallest side of a rung in pixels: rav1e refuses less for video.
pub const RUNG_SIDE_PX_MIN: u32 = 16;
/// Most rungs of a session: six of the usual ladder (360 to 2160 lines) and two to spare.
pub const RUNGS_MAX: usize = 8;
/// Longest name of a rung in bytes; it goes into logs.
pub const RUNG_NAME_BYTES_MAX: usize = 64;
/// Longest GOP in frames: 10 s at 60 frames a second.
pub const GOP_FRAMES_MAX: u32 = 600;
/// Highest frame rate in frames a second.
pub const FRAMES_PER_SECOND_MAX: u32 = 240;
/// Fastest preset. rav1e silently reads more than 10 as 10; we refuse.
pub const SPEED_MAX: u8 = 10;

/// Terms of the frame rate kept for rav1e, which converts them to `i32`. Rates that need more are
/// rounded; nothing but the level and the tile count follows from the rate.
const RATE_TERM_MAX: u32 = 1 << 20;

/// Chroma planes' size relative to luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// Half width, half height (rounded up).
    Yuv420,
    /// Half width (rounded up), full height.
    Yuv422,
    /// Full width, full height.
    Yuv444,
}

/// Shape of the frames that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Luma width in pixels: 1 to [`SIDE_PX_MAX`].
    pub width_px: u32,
    /// Luma height in pixels: 1 to [`SIDE_PX_MAX`].
    pub height_px: u32,
    /// 8 or 10.
    pub bit_depth: u8,
    /// Subsampling of what is pushed; 4:2:0 is what is encoded.
    pub chroma: Chroma,
}

impl Picture {
    /// Width and height of each chroma plane in samples.
    pub fn chroma_size(&self) -> (u32, u32) {
        let half = |px: u32| px.div_ceil(2);
        match self.chroma {
            Chroma::Yuv420 => (half(self.width_px), half(self.height_px)),
            Chroma::Yuv422 => (half(self.width_px), self.height_px),
            Chroma::Yuv444 => (self.width_px, self.height_px),
        }
    }

    /// Bytes of one sample as pushed: 1, or 2 (little-endian) at 10 bits.
    pub fn sample_bytes(&self) -> usize {
        if self.bit_depth == 8 { 1 } else { 2 }
    }

    /// Bytes of one frame as pushed, all planes together.
    pub fn frame_bytes(&self) -> usize {
        let (chroma_width, chroma_height) = self.chroma_size();
        let luma = self.width_px as usize * self.height_px as usize;
        let chroma = chroma_width as usize * chroma_height as usize;
        (luma + 2 * chroma) * self.sample_bytes()
    }
}

/// Colour as ITU-T H.273 code points; signalled, not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// ColourPrimaries; 2 is unspecified.
    pub primaries: u8,
    /// TransferCharacteristics; 2 is unspecified.
    pub transfer: u8,
    /// MatrixCoefficients; 2 is unspecified.
    pub matrix: u8,
    /// Full rather than studio range.
    pub full_range: bool,
}

impl Colour {
    /// Nothing is known; studio range.
    pub const UNSPECIFIED: Colour =
        Colour { primaries: 2, transfer: 2, matrix: 2, full_range: false };
    /// BT.709 in studio range: nearly all HD video.
    pub const BT709: Colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
}

/// One rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// For progress and logs; at most [`RUNG_NAME_BYTES_MAX`].
    pub name: String,
    /// Even, [`RUNG_SIDE_PX_MIN`] to [`SIDE_PX_MAX`].
    pub width_px: u32,
    /// Even, [`RUNG_SIDE_PX_MIN`] to [`SIDE_PX_MAX`].
    pub height_px: u32,
    /// rav1e's quantizer: 1 (best) to 255, constant.
    pub quantizer: u8,
}

/// What to encode and how; see the WIT package `backlot:encoding` for the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shape of the input.
    pub picture: Picture,
    /// Colour signalling.
    pub colour: Colour,
    /// Frames a second, numerator.
    pub frame_rate_num: u32,
    /// Frames a second, denominator.
    pub frame_rate_den: u32,
    /// rav1e's speed: 0 (slowest) to [`SPEED_MAX`].
    pub speed: u8,
    /// Frames of a closed GOP: 1 to [`GOP_FRAMES_MAX`].
    pub gop_frames: u32,
    /// 1 to [`RUNGS_MAX`].
    pub rungs: Vec<Rung>,
}

/// Settings that are within all limits. Made only by [`Settings::check`].
#[derive(Clone, Debug)]
pub struct CheckedSettings {
    settings: Settings,
    /// Reduced, both terms at most [`RATE_TERM_MAX`].
    frame_rate: (u32, u32),
    colour: Option<ColorDescription>,
    levels: Vec<Level>,
}

impl Settings {
    /// Check everything that can be checked without encoding.
    ///
    /// # Errors
    /// [`EncodeError::OverLimit`] or [`EncodeError::Invalid`] naming the first offending field.
    pub fn check(self) -> Result<CheckedSettings, EncodeError> {
        check_picture(&self.picture)?;
        let frame_rate = checked_rate(self.frame_rate_num, self.frame_rate_den)?;
        let colour = checked_colour(&self.colour)?;
        at_most("speed", u64::from(self.speed), u64::from(SPEED_MAX))?;
        if self.gop_frames == 0 {
            return Err(EncodeError::invalid("gop-frames", "0; a GOP has at least one frame"));
        }
        at_most("gop-frames", u64::from(self.gop_frames), u64::from(GOP_FRAMES_MAX))?;
        if self.rungs.is_empty() {
            return Err(EncodeError::invalid("rungs", "none; at least one is needed"));
        }
        at_most("rungs", self.rungs.len() as u64, RUNGS_MAX as u64)?;
        let mut levels = Vec::with_capacity(self.rungs.len());
        for rung in &self.rungs {
            check_rung(rung)?;
            levels.push(level::lowest(rung.width_px, rung.height_px, frame_rate).ok_or_else(
                || EncodeError::invalid("rung", "no AV1 level allows this size and frame rate"),
            )?);
        }
        Ok(CheckedSettings { settings: self, frame_rate, colour, levels })
    }
}

impl CheckedSettings {
    /// Shape of the input.
    pub fn picture(&self) -> Picture {
        self.settings.picture
    }

    /// Frames a second as a reduced fraction.
    pub fn frame_rate(&self) -> (u32, u32) {
        self.frame_rate
    }

    /// rav1e's speed.
    pub fn speed(&self) -> u8 {
        self.settings.speed
    }

    /// Frames of a closed GOP.
    pub fn gop_frames(&self) -> u32 {
        self.settings.gop_frames
    }

    /// The renditions, at least one.
    pub fn rungs(&self) -> &[Rung] {
        &self.settings.rungs
    }

    /// Each rendition with the lowest AV1 level that allows it.
    pub fn rungs_with_levels(&self) -> impl Iterator<Item = (&Rung, Level)> {
        self.settings.rungs.iter().zip(self.levels.iter().copied())
    }

    pub(crate) fn colour(&self) -> Option<ColorDescription> {
        self.colour
    }

    pub(crate) fn range(&self) -> PixelRange {
        if self.settings.colour.full_range { PixelRange::Full } else { PixelRange::Limited }
    }
}

fn check_picture(picture: &Picture) -> Result<(), EncodeError> {
    for (what, px) in [("picture width", picture.width_px), ("picture height", picture.height_px)] {
        if px == 0 {
            return Err(EncodeError::invalid(what, "0 px"));
        }
        at_most(what, u64::from(px), u64::from(SIDE_PX_MAX))?;
    }
    let samples = u64::from(picture.width_px) * u64::from(picture.height_px);
    at_most("picture luma samples", samples, LUMA_SAMPLES_MAX)?;
    if picture.bit_depth != 8 && picture.bit_depth != 10 {
        let why = format!("{} is neither 8 nor 10", picture.bit_depth);
        return Err(EncodeError::invalid("bit-depth", why));
    }
    Ok(())
}

fn check_rung(rung: &Rung) -> Result<(), EncodeError> {
    at_most("rung name bytes", rung.name.len() as u64, RUNG_NAME_BYTES_MAX as u64)?;
    for (what, px) in [("rung width", rung.width_px), ("rung height", rung.height_px)] {
        if px < RUNG_SIDE_PX_MIN {
            let why = format!("{px} px is under the least of {RUNG_SIDE_PX_MIN}");
            return Err(EncodeError::invalid(what, why));
        }
        if !px.is_multiple_of(2) {
            return Err(EncodeError::invalid(what, format!("{px} px is odd")));
        }
        at_most(what, u64::from(px), u64::from(SIDE_PX_MAX))?;
    }
    let samples = u64::from(rung.width_px) * u64::from(rung.height_px);
    at_most("rung luma samples", samples, LUMA_SAMPLES_MAX)?;
    if rung.quantizer == 0 {
        return Err(EncodeError::invalid("quantizer", "0 is lossless; the least is 1"));
    }
    Ok(())
}

/// The rate as a reduced fraction within [`RATE_TERM_MAX`].
fn checked_rate(num: u32, den: u32) -> Result<(u32, u32), EncodeError> {
    if den == 0 {
        return Err(EncodeError::invalid("frame-rate-den", "0"));
    }
    if num < den {
        let why = format!("{num}/{den} is under 1 frame a second");
        return Err(EncodeError::invalid("frame rate", why));
    }
    if u64::from(den) * u64::from(FRAMES_PER_SECOND_MAX) < u64::from(num) {
        let limit = u64::from(FRAMES_PER_SECOND_MAX);
        let got = u64::from(num.div_ceil(den));
        return Err(EncodeError::OverLimit { what: "frame rate", got, limit });
    }
    let divisor = greatest_common_divisor(num, den);
    let (mut num, mut den) = (num / divisor, den / divisor);
    while RATE_TERM_MAX < num {
        // `den` stays positive: it is at least num / 240 before and after.
        num = num.div_ceil(2);
        den = den.div_ceil(2);
    }
    Ok((num, den))
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// The colour description, or none where nothing is specified (then the bitstream says nothing).
fn checked_colour(colour: &Colour) -> Result<Option<ColorDescription>, EncodeError> {
    let color_primaries = primaries(colour.primaries)
        .ok_or_else(|| reserved("colour primaries", colour.primaries))?;
    let transfer_characteristics =
        transfer(colour.transfer).ok_or_else(|| reserved("colour transfer", colour.transfer))?;
    let matrix_coefficients =
        matrix(colour.matrix).ok_or_else(|| reserved("colour matrix", colour.matrix))?;
    if matrix_coefficients == MatrixCoefficients::Identity {
        // AV1 specification 6.4.2: MC_IDENTITY needs 4:4:4, and we encode 4:2:0.
        return Err(EncodeError::invalid("colour matrix", "identity (RGB) cannot be 4:2:0"));
    }
    let description =
        ColorDescription { color_primaries, transfer_characteristics, matrix_coefficients };
    let unspecified = (colour.primaries, colour.transfer, colour.matrix) == (2, 2, 2);
    Ok((!unspecified).then_some(description))
}

fn reserved(what: &'static str, code: u8) -> EncodeError {
    EncodeError::invalid(what, format!("{code} is a reserved code point"))
}

/// ITU-T H.273, table 2.
fn primaries(code: u8) -> Option<ColorPrimaries> {
    use ColorPrimaries as P;
    Some(match code {
        1 => P::BT709,
        2 => P::Unspecified,
        4 => P::BT470M,
        5 => P::BT470BG,
        6 => P::BT601,
        7 => P::SMPTE240,
        8 => P::GenericFilm,
        9 => P::BT2020,
        10 => P::XYZ,
        11 => P::SMPTE431,
        12 => P::SMPTE432,
        22 => P::EBU3213,
        _ => return None,
    })
}

/// ITU-T H.273, table 3.
fn transfer(code: u8) -> Option<TransferCharacteristics> {
    use TransferCharacteristics as T;
    Some(match code {
        1 => T::BT709,
        2 => T::Unspecified,
        4 => T::BT470M,
        5 => T::BT470BG,
        6 => T::BT601,
        7 => T::SMPTE240,
        8 => T::Linear,
        9 => T::Log100,
        10 => T::Log100Sqrt10,
        11 => T::IEC61966,
        12 => T::BT1361,
        13 => T::SRGB,
        14 => T::BT2020_10Bit,
        15 => T::BT2020_12Bit,
        16 => T::SMPTE2084,
        17 => T::SMPTE428,
        18 => T::HLG,
        _ => return None,
    })
}

/// ITU-T H.273, table 4.
fn matrix(code: u8) -> Option<MatrixCoefficients> {
    use MatrixCoefficients as M;
    Some(match code {
        0 => M::Identity,
        1 => M::BT709,
        2 => M::Unspecified,
        4 => M::FCC,
        5 => M::BT470BG,
        6 => M::BT601,
        7 => M::SMPTE240,
        8 => M::YCgCo,
        9 => M::BT2020NCL,
        10 => M::BT2020CL,
        11 => M::SMPTE2085,
        12 => M::ChromatNCL,
        13 => M::ChromatCL,
        14 => M::ICtCp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            picture: Picture {
                width_px: 1_280,
                height_px: 720,
                bit_depth: 8,
                chroma: Chroma::Yuv420,
            },
            colour: Colour::BT709,
            frame_rate_num: 25,
            frame_rate_den: 1,
            speed: 10,
            gop_frames: 50,
            rungs: vec![Rung {
                name: "720p".into(),
                width_px: 1_280,
                height_px: 720,
                quantizer: 100,
            }],
        }
    }

    fn answer(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = settings();
        change(&mut settings);
        match settings.check() {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn limits_are_inclusive() {
        assert_eq!(answer(|_| ()), "ok");
        assert_eq!(answer(|s| s.picture.width_px = 1), "ok");
        assert_eq!(answer(|s| (s.picture.width_px, s.picture.height_px) = (7_680, 1_160)), "ok");
        assert_eq!(answer(|s| (s.picture.width_px, s.picture.height_px) = (1_160, 7_680)), "ok");
        assert_eq!(answer(|s| (s.rungs[0].width_px, s.rungs[0].height_px) = (16, 16)), "ok");
        assert_eq!(answer(|s| (s.rungs[0].width_px, s.rungs[0].height_px) = (7_680, 1_160)), "ok");
        assert_eq!(answer(|s| (s.frame_rate_num, s.frame_rate_den) = (1, 1)), "ok");
        assert_eq!(answer(|s| (s.frame_rate_num, s.frame_rate_den) = (240, 1)), "ok");
        assert_eq!(answer(|s| s.gop_frames = 600), "ok");
        assert_eq!(answer(|s| s.rungs = vec![s.rungs[0].clone(); 8]), "ok");
        assert_eq!(answer(|s| s.rungs[0].quantizer = 255), "ok");
    }

    #[test]
    fn what_is_over_a_limit_is_named_with_its_value() {
        let over = "is over the limit of";
        assert_eq!(
            answer(|s| s.picture.width_px = 7_681),
            format!("picture width: 7681 {over} 7680")
        );
        assert!(answer(|s| s.picture.width_px = u32::MAX).starts_with("picture width"));
        assert_eq!(
            answer(|s| (s.picture.width_px, s.picture.height_px) = (7_680, 1_161)),
            format!("picture luma samples: 8916480 {over} 8912896")
        );
        assert!(answer(|s| s.rungs[0].width_px = 7_682).contains(over));
        assert_eq!(answer(|s| s.speed = 11), format!("speed: 11 {over} 10"));
        assert_eq!(answer(|s| s.gop_frames = 601), format!("gop-frames: 601 {over} 600"));
        assert_eq!(answer(|s| s.rungs = vec![s.rungs[0].clone(); 9]), format!("rungs: 9 {over} 8"));
        assert_eq!(answer(|s| s.frame_rate_num = 6_001), format!("frame rate: 6001 {over} 240"));
        assert!(answer(|s| s.rungs[0].name = "x".repeat(65)).contains("rung name"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(answer(|s| s.picture.height_px = 0), "picture height: 0 px");
        assert!(answer(|s| s.picture.bit_depth = 12).contains("neither 8 nor 10"));
        assert!(answer(|s| s.picture.bit_depth = 0).contains("neither 8 nor 10"));
        assert_eq!(answer(|s| s.frame_rate_den = 0), "frame-rate-den: 0");
        assert!(answer(|s| s.frame_rate_num = 0).contains("under 1 frame a second"));
        assert!(answer(|s| s.frame_rate_den = 26).contains("under 1 frame a second"));
        assert!(answer(|s| s.gop_frames = 0).contains("at least one frame"));
        assert!(answer(|s| s.rungs.clear()).contains("at least one"));
        assert!(answer(|s| s.rungs[0].width_px = 14).contains("under the least of 16"));
        assert!(answer(|s| s.rungs[0].height_px = 719).contains("is odd"));
        assert!(answer(|s| s.rungs[0].quantizer = 0).contains("lossless"));
        assert!(answer(|s| s.colour.primaries = 3).contains("3 is a reserved code point"));
        assert!(answer(|s| s.colour.transfer = 0).contains("reserved"));
        assert!(answer(|s| s.colour.matrix = 255).contains("reserved"));
        assert!(answer(|s| s.colour.matrix = 0).contains("identity"));
    }

    #[test]
    fn rates_are_reduced_and_kept_small() {
        assert_eq!(checked_rate(60_000, 2_000), Ok((30, 1)));
        assert_eq!(checked_rate(30_000, 1_001), Ok((30_000, 1_001)));
        let (num, den) = checked_rate(u32::MAX, u32::MAX / 240 + 1).unwrap();
        assert!(num <= RATE_TERM_MAX && 0 < den);
        let rate = f64::from(num) / f64::from(den);
        assert!((239.9..=240.1).contains(&rate), "{rate}");
    }

    #[test]
    fn chroma_planes_are_rounded_up() {
        let picture = |chroma| Picture { width_px: 5, height_px: 3, bit_depth: 10, chroma };
        assert_eq!(picture(Chroma::Yuv420).chroma_size(), (3, 2));
        assert_eq!(picture(Chroma::Yuv422).chroma_size(), (3, 3));
        assert_eq!(picture(Chroma::Yuv444).chroma_size(), (5, 3));
        assert_eq!(picture(Chroma::Yuv420).frame_bytes(), (15 + 2 * 6) * 2);
    }
}
