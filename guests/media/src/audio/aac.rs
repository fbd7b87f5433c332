//! AAC, from low complexity to HE v2.

use rusty_aac::{Error, config, decode::Decoder};

use super::{Core, Pcm};
use crate::error::MediaError;

/// Decodes AAC access units.
pub(super) struct Aac {
    decoder: Decoder,
}

impl Aac {
    /// Opens a stream with this AudioSpecificConfig.
    pub(super) fn open(record: &[u8]) -> Result<Self, MediaError> {
        let stream = config::parse(record).map_err(refusal)?;
        Ok(Self { decoder: Decoder::with_stream_config(stream).map_err(refusal)? })
    }
}

fn refusal(error: Error) -> MediaError {
    match error {
        Error::Unsupported(what) => MediaError::unsupported(what.to_string()),
        other => MediaError::damaged(format!("AAC: {other}")),
    }
}

impl Core for Aac {
    fn decode(&mut self, packet: &[u8]) -> Result<Option<Pcm>, MediaError> {
        if packet.is_empty() {
            return Ok(None);
        }
        match self.decoder.decode(packet, None) {
            Ok(pcm) if pcm.samples.is_empty() => Ok(None),
            Ok(pcm) => Ok(Some(Pcm {
                rate: pcm.sample_rate,
                channels: u32::from(pcm.channels),
                samples: pcm.samples,
            })),
            Err(Error::Again) => Ok(None),
            Err(error) => Err(refusal(error)),
        }
    }
}
