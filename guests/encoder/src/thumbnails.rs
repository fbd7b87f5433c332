//! Thumbnails for the storyboard, and the poster, out of the frames of one part.

use backlot_media::Frame;
use backlot_packaging::picture::{Planes, Rgb};

use crate::fault::Fault;
use crate::messages::{PartOrder, TilesDone};
use crate::store;

/// Quality of posters and storyboards: artefacts are not seen at their size.
pub const JPEG_QUALITY: u8 = 85;

/// The thumbnails of a part, as they are found.
pub struct Thumbnails<'a> {
    order: &'a PartOrder,
    pictures: Vec<u8>,
    frames: Vec<u64>,
    /// The most interesting frame so far, and how interesting it is.
    poster: Option<(f64, Rgb)>,
}

impl<'a> Thumbnails<'a> {
    /// None yet.
    pub fn new(order: &'a PartOrder) -> Self {
        Self { order, pictures: Vec::new(), frames: Vec::new(), poster: None }
    }

    /// Look at a frame: most are not wanted and cost nothing.
    pub fn look(&mut self, frame: &Frame) -> Result<(), Fault> {
        if self.order.tiles.binary_search(&frame.index).is_err() {
            return Ok(());
        }
        let colour = &self.order.picture.colour;
        let planes = Planes {
            y: &frame.y,
            u: &frame.u,
            v: &frame.v,
            width: frame.width,
            height: frame.height,
            chroma: self.order.picture.chroma,
            bit_depth: frame.bit_depth,
            matrix: colour.matrix,
            full_range: colour.full_range,
        };
        let (width, height) = self.order.tile_size;
        let tile = Rgb::shrink(&planes, width, height);
        let interest = tile.interest();
        self.pictures.extend_from_slice(&tile.data);
        self.frames.push(frame.index);
        // The earlier one wins where they are alike, so that the choice is the same in each run.
        if self.poster.as_ref().is_none_or(|(best, _)| *best < interest) {
            let (width, height) = self.order.poster_size;
            self.poster = Some((interest, Rgb::shrink(&planes, width, height)));
        }
        Ok(())
    }

    /// Store what was found under this name.
    pub fn store(self, name: &str) -> Result<Option<TilesDone>, Fault> {
        let Some((interest, poster)) = self.poster else { return Ok(None) };
        let tiles_key = format!("{}{name}-tiles.rgb", self.order.work);
        let poster_key = format!("{}{name}-poster.jpg", self.order.work);
        store::put(&tiles_key, "application/octet-stream", &self.pictures)?;
        store::put(&poster_key, "image/jpeg", &poster.jpeg(JPEG_QUALITY)?)?;
        Ok(Some(TilesDone { key: tiles_key, frames: self.frames, poster: poster_key, interest }))
    }
}
