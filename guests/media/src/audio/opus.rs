//! Opus, mono to 7.1.

use opus_pure::{OpusDecoder, OpusMSDecoder};

use super::{Core, Pcm};
use crate::{error::MediaError, syntax::opus};

const RATE: u32 = 48_000;
/// Samples of the longest packet: 120 ms.
const PACKET_SAMPLES_MAX: usize = 5760;

/// Channel order of mapping family 1 (RFC 7845, 5.1.1.2) as the order of [`super::ChannelLayout`]:
/// for each output channel the decoded one. From three channels up.
const ORDERS: [&[usize]; 6] = [
    &[0, 2, 1],
    &[0, 1, 2, 3],
    &[0, 2, 1, 3, 4],
    &[0, 2, 1, 5, 3, 4],
    &[0, 2, 1, 6, 5, 3, 4],
    &[0, 2, 1, 7, 5, 6, 3, 4],
];

enum Decoder {
    Single(Box<OpusDecoder>),
    Multi(OpusMSDecoder),
}

/// Decodes Opus packets.
pub(super) struct Opus {
    decoder: Decoder,
    channels: usize,
    delay: u64,
    gain: f32,
    buffer: Vec<f32>,
}

fn damaged(error: opus_pure::Error) -> MediaError {
    MediaError::damaged(format!("Opus: {error}"))
}

impl Opus {
    /// Opens a stream with this OpusHead.
    pub(super) fn open(record: &[u8]) -> Result<Self, MediaError> {
        let head = opus::head(record)?;
        let channels = usize::from(head.channels);
        let decoder = match (head.family, channels) {
            (0, 1 | 2) => {
                let decoder = OpusDecoder::new(48_000, channels).map_err(damaged)?;
                Decoder::Single(Box::new(decoder))
            }
            (1, 1..=8) => {
                let decoder = OpusMSDecoder::new(48_000, channels, 1).map_err(damaged)?;
                let layout = decoder.layout();
                let (streams, coupled) = (layout.nb_streams, layout.nb_coupled_streams);
                let standard = usize::from(head.streams) == streams
                    && usize::from(head.coupled) == coupled
                    && head.mapping == layout.mapping;
                if !standard {
                    return Err(MediaError::unsupported("Opus with a channel mapping of its own"));
                }
                Decoder::Multi(decoder)
            }
            (family, channels) => {
                let what = format!("Opus with {channels} channels in family {family}");
                return Err(MediaError::unsupported(what));
            }
        };
        let gain = 10_f32.powf(f32::from(head.gain) / (20.0 * 256.0));
        let buffer = vec![0.0; PACKET_SAMPLES_MAX * channels];
        Ok(Self { decoder, channels, delay: u64::from(head.pre_skip), gain, buffer })
    }
}

impl Core for Opus {
    fn decode(&mut self, packet: &[u8]) -> Result<Option<Pcm>, MediaError> {
        if packet.is_empty() {
            return Ok(None);
        }
        let buffer = &mut self.buffer;
        let count = match &mut self.decoder {
            Decoder::Single(decoder) => decoder.decode(packet, PACKET_SAMPLES_MAX, buffer),
            Decoder::Multi(decoder) => decoder.decode(packet, PACKET_SAMPLES_MAX, buffer),
        };
        let count = count.map_err(damaged)?;
        let decoded = buffer.get(..count * self.channels).unwrap_or_default();
        let order = self.channels.checked_sub(3).and_then(|n| ORDERS.get(n)).copied();
        let mut samples = Vec::with_capacity(decoded.len());
        for frame in decoded.chunks_exact(self.channels) {
            match order {
                Some(order) => samples
                    .extend(order.iter().filter_map(|&n| frame.get(n)).map(|s| s * self.gain)),
                None => samples.extend(frame.iter().map(|sample| sample * self.gain)),
            }
        }
        let channels = u32::try_from(self.channels).unwrap_or(0);
        Ok((count != 0).then_some(Pcm { rate: RATE, channels, samples }))
    }

    fn delay(&self) -> u64 {
        self.delay
    }
}
