//! Thumbnails over a film's length: one sheet of tiles, and WebVTT cues that point into it.

use std::fmt::Write as _;

use crate::picture::Rgb;

/// Tiles of one film, at most: a sheet of 10 × 10 is read by a player at once.
pub const TILES_MAX: u64 = 100;
/// Longer side of a tile, in pixels.
pub const TILE_SIDE_PX: u32 = 160;
/// Tiles in one row of the sheet.
const COLUMNS: u32 = 10;

/// Where a film's tiles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sheet {
    /// Width of each tile in pixels.
    pub tile_width: u32,
    /// Height of each tile in pixels.
    pub tile_height: u32,
    /// How many tiles.
    pub tiles: u32,
}

/// Size of a tile for a film of this display size: even, the longer side [`TILE_SIDE_PX`].
pub fn tile_size(width: u32, height: u32) -> (u32, u32) {
    let longer = u64::from(width.max(height).max(1));
    let side = |side: u32| {
        let scaled = u64::from(side) * u64::from(TILE_SIDE_PX) / longer;
        u32::try_from(scaled.clamp(2, u64::from(TILE_SIDE_PX))).unwrap_or(TILE_SIDE_PX) & !1
    };
    (side(width), side(height))
}

impl Sheet {
    fn columns(&self) -> u32 {
        self.tiles.clamp(1, COLUMNS)
    }

    fn place(&self, tile: u32) -> (u32, u32) {
        (tile % self.columns() * self.tile_width, tile / self.columns() * self.tile_height)
    }

    /// Put the tiles on the sheet, in their order.
    pub fn compose(&self, tiles: &[Rgb]) -> Rgb {
        let rows = self.tiles.div_ceil(self.columns()).max(1);
        let mut sheet = Rgb::black(self.columns() * self.tile_width, rows * self.tile_height);
        for (number, tile) in (0..self.tiles).zip(tiles) {
            let (left, top) = self.place(number);
            sheet.place(tile, left, top);
        }
        sheet
    }

    /// WebVTT whose cues name the sheet and a tile as a media fragment. `starts` are the tiles'
    /// times in milliseconds; the last one stays to `end`.
    pub fn vtt(&self, uri: &str, starts: &[u64], end: u64) -> String {
        let mut text = String::from("WEBVTT\n");
        for (number, (at, &start)) in (0..self.tiles).zip(starts.iter().enumerate()) {
            let until = starts.get(at + 1).copied().unwrap_or(end).max(start + 1);
            let (left, top) = self.place(number);
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n{} --> {}\n{uri}#xywh={left},{top},{},{}\n",
                timestamp(start),
                timestamp(until),
                self.tile_width,
                self.tile_height
            );
        }
        text
    }
}

fn timestamp(ms: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1_000 % 60,
        ms % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_keep_the_shape() {
        assert_eq!(tile_size(1280, 720), (160, 90));
        assert_eq!(tile_size(1080, 1920), (90, 160));
        assert_eq!(tile_size(7680, 16), (160, 2));
        assert_eq!(tile_size(0, 0), (2, 2));
    }

    #[test]
    fn cues_point_into_the_sheet() {
        let sheet = Sheet { tile_width: 4, tile_height: 2, tiles: 12 };
        let starts: Vec<u64> = (0..12).map(|n| n * 1000).collect();
        let vtt = sheet.vtt("s.jpg", &starts, 3_600_000);
        assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\ns.jpg#xywh=0,0,4,2\n"));
        assert!(vtt.ends_with("\n00:00:11.000 --> 01:00:00.000\ns.jpg#xywh=4,2,4,2\n"));
        let white = Rgb { width: 4, height: 2, data: vec![255; 24] };
        let picture = sheet.compose(&vec![white; 12]);
        assert_eq!((picture.width, picture.height), (40, 4));
        assert_eq!(picture.data.iter().filter(|&&byte| byte == 255).count(), 12 * 24);
    }
}
