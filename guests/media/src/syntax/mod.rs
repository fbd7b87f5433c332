//! The few syntax elements of coded streams that must be known before decoding: picture size,
//! depth, colour, interlacing, and where decoding can start.

pub(crate) mod bits;
pub(crate) mod h264;
pub(crate) mod hevc;
mod hevc_sps;
pub(crate) mod nal;
pub(crate) mod opus;
pub(crate) mod vp9;
pub(crate) mod vui;
