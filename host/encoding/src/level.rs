//! The lowest AV1 level that allows a picture size and rate (AV1 specification, annex A.3).
//!
//! rav1e is told the level rather than asked for it: by itself it writes 31 ("maximum
//! parameters"), which players read as "too much for me". Levels also bound the bit rate and the
//! compression ratio; a constant quantizer cannot promise those, and no player we know checks.

/// A level as the sequence header writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// seq_level_idx: 0 for 2.0, 1 for 2.1, 4 for 3.0, up to 19 for 6.3.
    pub index: u8,
}

/// One row of the table in annex A.3.
struct Limits {
    index: u8,
    picture_samples: u64,
    width_px: u32,
    height_px: u32,
    /// Luma samples a second shown. MaxDecodeRate is higher and we decode as many as we show.
    display_rate: u64,
    /// Frame headers a second, without those that show an existing frame.
    header_rate: u64,
    tiles: u64,
    tile_columns: u64,
}

#[rustfmt::skip]
const LEVELS: [Limits; 14] = [
    row(0, 147_456, 2_048, 1_152, 4_423_680, 150, 8, 4),
    row(1, 278_784, 2_816, 1_584, 8_363_520, 150, 8, 4),
    row(4, 665_856, 4_352, 2_448, 19_975_680, 150, 16, 6),
    row(5, 1_065_024, 5_504, 3_096, 31_950_720, 150, 16, 6),
    row(8, 2_359_296, 6_144, 3_456, 70_778_880, 300, 32, 8),
    row(9, 2_359_296, 6_144, 3_456, 141_557_760, 300, 32, 8),
    row(12, 8_912_896, 8_192, 4_352, 267_386_880, 300, 64, 8),
    row(13, 8_912_896, 8_192, 4_352, 534_773_760, 300, 64, 8),
    row(14, 8_912_896, 8_192, 4_352, 1_069_547_520, 300, 64, 8),
    row(15, 8_912_896, 8_192, 4_352, 1_069_547_520, 300, 64, 8),
    row(16, 35_651_584, 16_384, 8_704, 1_069_547_520, 300, 128, 16),
    row(17, 35_651_584, 16_384, 8_704, 2_139_095_040, 300, 128, 16),
    row(18, 35_651_584, 16_384, 8_704, 4_278_190_080, 300, 128, 16),
    row(19, 35_651_584, 16_384, 8_704, 4_278_190_080, 300, 128, 16),
];

#[allow(clippy::too_many_arguments, reason = "one call is one row of the specification's table")]
const fn row(
    index: u8,
    picture_samples: u64,
    width_px: u32,
    height_px: u32,
    display_rate: u64,
    header_rate: u64,
    tiles: u64,
    tile_columns: u64,
) -> Limits {
    Limits {
        index,
        picture_samples,
        width_px,
        height_px,
        display_rate,
        header_rate,
        tiles,
        tile_columns,
    }
}

/// Widest tile in pixels (MAX_TILE_WIDTH, section 3).
const TILE_WIDTH_PX_MAX: u32 = 4_096;
/// Largest tile in luma samples (MAX_TILE_AREA, section 3).
const TILE_SAMPLES_MAX: u64 = 4_096 * 2_304;

/// The lowest level for pictures of this size at `rate` (numerator, denominator) frames a second,
/// with as few tiles as the specification allows, which is what rav1e is configured to make.
pub(crate) fn lowest(width_px: u32, height_px: u32, rate: (u32, u32)) -> Option<Level> {
    let samples = u64::from(width_px) * u64::from(height_px);
    let (num, den) = (u64::from(rate.0), u64::from(rate.1).max(1));
    let display_rate = (samples * num).div_ceil(den);
    let header_rate = num.div_ceil(den);
    // Tile counts are powers of two (section 5.9.15, uniform spacing).
    let tile_columns = u64::from(width_px.div_ceil(TILE_WIDTH_PX_MAX)).next_power_of_two();
    let tiles = samples.div_ceil(TILE_SAMPLES_MAX).next_power_of_two().max(tile_columns);
    LEVELS
        .iter()
        .find(|level| {
            samples <= level.picture_samples
                && width_px <= level.width_px
                && height_px <= level.height_px
                && display_rate <= level.display_rate
                && header_rate <= level.header_rate
                && tiles <= level.tiles
                && tile_columns <= level.tile_columns
        })
        .map(|level| Level { index: level.index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ladder_has_the_usual_levels() {
        let index = |w, h, fps| lowest(w, h, (fps, 1)).map(|level| level.index);
        assert_eq!(index(640, 360, 25), Some(1));
        assert_eq!(index(426, 240, 30), Some(0));
        assert_eq!(index(640, 360, 60), Some(4), "the rate alone lifts it");
        assert_eq!(index(960, 540, 30), Some(4));
        assert_eq!(index(1_280, 720, 25), Some(5));
        assert_eq!(index(1_280, 720, 60), Some(8));
        assert_eq!(index(1_920, 1_080, 30), Some(8));
        assert_eq!(index(1_920, 1_080, 60), Some(9));
        assert_eq!(index(3_840, 2_160, 30), Some(12));
        assert_eq!(index(3_840, 2_160, 60), Some(13));
        assert_eq!(index(3_840, 2_160, 120), Some(14));
    }

    #[test]
    fn shape_and_headers_count_too() {
        assert_eq!(lowest(64, 64, (150, 1)), Some(Level { index: 0 }));
        assert_eq!(lowest(64, 64, (151, 1)), Some(Level { index: 8 }), "frame headers");
        assert_eq!(lowest(64, 1_154, (25, 1)), Some(Level { index: 1 }), "too high for 2.0");
        assert_eq!(lowest(1_160, 7_680, (25, 1)), Some(Level { index: 16 }), "higher than 5.x");
        assert_eq!(lowest(7_680, 1_160, (30_000, 1_001)), Some(Level { index: 12 }));
        assert_eq!(lowest(4_096, 2_176, (240, 1)), Some(Level { index: 17 }));
        assert_eq!(lowest(16_386, 16, (1, 1)), None);
    }

    #[test]
    fn a_rate_just_over_the_limit_lifts_the_level() {
        // 2.0 allows 4,423,680 samples a second: 384 × 288 at exactly 40.
        assert_eq!(lowest(384, 288, (40, 1)), Some(Level { index: 0 }));
        assert_eq!(lowest(384, 288, (40_001, 1_000)), Some(Level { index: 1 }));
    }
}
