//! Matroska and WebM.

use crate::{error::MediaError, input::Input, limits::Limits, model::Index};

pub(crate) fn is_matroska(head: &[u8]) -> bool {
    head.starts_with(&[0x1A, 0x45, 0xDF, 0xA3])
}

pub(crate) fn index(_input: &dyn Input, _limits: &Limits) -> Result<Index, MediaError> {
    Err(MediaError::unsupported("Matroska"))
}
