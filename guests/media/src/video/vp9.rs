//! VP9.

use rusty_vp9::{BitReader, Error, Vp9Decoder, parse_uncompressed_header};

use super::Core;
use crate::{
    error::{MediaError, at_most},
    frame::Frame,
    limits::Limits,
    model::Chroma,
    syntax::vp9,
};

/// Decodes VP9 packet by packet.
pub(super) struct Vp9 {
    decoder: Vp9Decoder,
    picture_samples: u64,
}

impl Vp9 {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { decoder: Vp9Decoder::new(), picture_samples: limits.picture_samples }
    }

    /// Any frame may state a size of its own, and the decoder would allocate it.
    fn check(&self, packet: &[u8]) -> Result<(), MediaError> {
        for frame in vp9::frames(packet) {
            let header = parse_uncompressed_header(&mut BitReader::new(frame), &[(0, 0); 8])
                .map_err(damaged)?;
            let samples = u64::from(header.width) * u64::from(header.height);
            at_most("luma samples of a picture", samples, self.picture_samples)?;
        }
        Ok(())
    }
}

fn damaged(error: Error) -> MediaError {
    match error {
        Error::Unsupported(what) => MediaError::unsupported(what),
        other => MediaError::damaged(format!("VP9: {other}")),
    }
}

impl Core for Vp9 {
    fn can_start(&self, sample: &[u8]) -> Result<bool, MediaError> {
        Ok(vp9::packet(sample)?.1)
    }

    fn decode(&mut self, sample: Vec<u8>, _wanted: bool) -> Result<Option<Frame>, MediaError> {
        self.check(&sample)?;
        self.decoder.push(&sample, None).map_err(damaged)?;
        let mut picture = None;
        for _ in vp9::frames(&sample) {
            match self.decoder.next_frame() {
                Ok(found) => picture = Some(found),
                Err(Error::Again) => {}
                Err(error) => return Err(damaged(error)),
            }
        }
        picture.map(frame).transpose()
    }
}

fn frame(picture: rusty_vp9::DecodedFrame) -> Result<Frame, MediaError> {
    let chroma = match (picture.subsampling_x, picture.subsampling_y) {
        (1, 1) => Chroma::Yuv420,
        (1, 0) => Chroma::Yuv422,
        (0, 0) => Chroma::Yuv444,
        _ => return Err(MediaError::unsupported("VP9 with 4:4:0 chroma")),
    };
    let bit_depth = u8::try_from(picture.bit_depth).unwrap_or(0);
    let Ok([y, u, v]) = <[Vec<u8>; 3]>::try_from(picture.planes) else {
        return Err(MediaError::damaged("VP9: a picture without three planes"));
    };
    Ok(Frame {
        width: picture.width,
        height: picture.height,
        bit_depth,
        chroma,
        y,
        u,
        v,
        colour: None,
        index: 0,
    })
}
