//! Uncompressed planar pictures.

use super::Core;
use crate::{error::MediaError, frame::Frame, model::VideoInfo};

/// Cuts a sample into its three planes.
pub(super) struct Raw {
    info: VideoInfo,
}

impl Raw {
    pub(super) fn new(info: &VideoInfo) -> Self {
        Self { info: info.clone() }
    }
}

impl Core for Raw {
    fn can_start(&self, _: &[u8]) -> Result<bool, MediaError> {
        Ok(true)
    }

    fn decode(&mut self, mut sample: Vec<u8>, wanted: bool) -> Result<Option<Frame>, MediaError> {
        let VideoInfo { width, height, bit_depth, chroma, .. } = self.info;
        if !wanted {
            return Ok(None);
        }
        let bytes = if bit_depth == 8 { 1 } else { 2 };
        let (chroma_width, chroma_height) = chroma.plane(width, height);
        let luma = width as usize * height as usize * bytes;
        let plane = chroma_width as usize * chroma_height as usize * bytes;
        if sample.len() != luma + 2 * plane {
            return Err(MediaError::damaged("a picture has the wrong size"));
        }
        let v = sample.split_off(luma + plane);
        let u = sample.split_off(luma);
        Ok(Some(Frame {
            width,
            height,
            bit_depth,
            chroma,
            y: sample,
            u,
            v,
            colour: None,
            index: 0,
        }))
    }
}
