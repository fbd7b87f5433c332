//! Decoded sound to Opus: mixed down to at most two channels, resampled to 48 kHz, encoded.

use backlot_media::ChannelLayout;
use opus_pure::{Application, MAX_PACKET_BYTES, OpusEncoder};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler};

use crate::fault::Fault;

/// The rate at which Opus counts, in hertz.
pub const OPUS_RATE: u32 = 48_000;
/// Samples of a packet for each channel: 20 ms.
pub const PACKET_SAMPLES: u32 = 960;
/// What two channels and one channel are given, in bits a second: transparent to most ears
/// (the recommendations of the Opus project for stereo and mono music).
const STEREO_BITS_PER_SECOND: i32 = 128_000;
const MONO_BITS_PER_SECOND: i32 = 80_000;
/// Samples a channel that go through the resampler at once.
const RESAMPLE_CHUNK: usize = 1_024;
/// Half the power of a channel (ITU-R BS.775, table 2).
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Encodes a stream of blocks.
pub struct OpusStream {
    encoder: OpusEncoder,
    mix: Vec<[f32; 2]>,
    channels: usize,
    resampler: Option<Resample>,
    pending: Vec<f32>,
    /// Samples a channel, at 48 kHz, of sound that came in.
    samples: u64,
    packets: u64,
}

/// Resampling by a fixed ratio, with the filter's delay taken off.
struct Resample {
    fft: Fft<f32>,
    pending: Vec<f32>,
    output: Vec<f32>,
    /// Samples of the filter's delay that are still to be dropped.
    delay: usize,
    rate: u32,
    taken: u64,
    given: u64,
}

impl OpusStream {
    /// A stream of sound of this rate and layout.
    pub fn new(rate: u32, layout: ChannelLayout) -> Result<Self, Fault> {
        let channels = if layout == ChannelLayout::Mono { 1 } else { 2 };
        let rate_of_encoder = i32::try_from(OPUS_RATE).unwrap_or(i32::MAX);
        let mut encoder = OpusEncoder::new(rate_of_encoder, channels, Application::Audio)
            .map_err(|error| Fault::Passing(format!("opus: {error}")))?;
        encoder.bitrate_bps =
            if channels == 1 { MONO_BITS_PER_SECOND } else { STEREO_BITS_PER_SECOND };
        let resampler = match rate {
            OPUS_RATE => None,
            rate => Some(Resample::new(rate, channels)?),
        };
        Ok(Self {
            encoder,
            mix: mix(layout),
            channels,
            resampler,
            pending: Vec::new(),
            samples: 0,
            packets: 0,
        })
    }

    /// Channels that are encoded.
    pub fn channels(&self) -> u8 {
        if self.channels == 1 { 1 } else { 2 }
    }

    /// Samples by which what is decoded comes later than what was encoded.
    pub fn pre_skip(&self) -> u16 {
        u16::try_from(self.encoder.lookahead()).unwrap_or(u16::MAX)
    }

    /// Take interleaved sound; give each packet that it completes.
    pub fn push(
        &mut self,
        sound: &[f32],
        mut packet: impl FnMut(&[u8], u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mixed = self.mixed(sound);
        let resampled = match &mut self.resampler {
            None => mixed,
            Some(resampler) => resampler.push(&mixed, self.channels)?,
        };
        self.samples += (resampled.len() / self.channels) as u64;
        self.pending.extend(resampled);
        self.encode(&mut packet, None)
    }

    /// No more sound will come: give the last packets. The last one is as long as sound is left, so
    /// that all packets together last as long as the sound and the encoder's delay.
    pub fn finish(
        mut self,
        mut packet: impl FnMut(&[u8], u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if let Some(resampler) = &mut self.resampler {
            let rest = resampler.finish(self.channels)?;
            self.samples += (rest.len() / self.channels) as u64;
            self.pending.extend(rest);
        }
        if self.samples == 0 {
            return Ok(());
        }
        let end = self.samples + u64::from(self.pre_skip());
        let packets = end.div_ceil(u64::from(PACKET_SAMPLES));
        let full = packets.saturating_mul(u64::from(PACKET_SAMPLES));
        let silence = full.saturating_sub(self.samples);
        let silence = usize::try_from(silence).unwrap_or(0) * self.channels;
        self.pending.extend(std::iter::repeat_n(0.0, silence));
        self.encode(&mut packet, Some(end))
    }

    fn encode(
        &mut self,
        packet: &mut impl FnMut(&[u8], u32) -> Result<(), Fault>,
        end: Option<u64>,
    ) -> Result<(), Fault> {
        let mut buffer = vec![0; MAX_PACKET_BYTES];
        let block = PACKET_SAMPLES as usize * self.channels;
        let whole = self.pending.len() / block * block;
        let rest = self.pending.split_off(whole);
        for sound in self.pending.chunks_exact(block) {
            let bytes = self
                .encoder
                .encode(sound, PACKET_SAMPLES as usize, &mut buffer)
                .map_err(|error| Fault::Passing(format!("opus: {error}")))?;
            let begin = self.packets * u64::from(PACKET_SAMPLES);
            let left = end.map_or(u64::from(PACKET_SAMPLES), |end| end.saturating_sub(begin));
            let duration = u32::try_from(left).unwrap_or(u32::MAX).min(PACKET_SAMPLES);
            packet(buffer.get(..bytes).unwrap_or_default(), duration)?;
            self.packets += 1;
        }
        self.pending = rest;
        Ok(())
    }

    /// The sound in the channels that are encoded.
    fn mixed(&self, sound: &[f32]) -> Vec<f32> {
        if self.mix.len() <= 2 {
            return sound.to_vec();
        }
        let mut mixed = Vec::with_capacity(sound.len() / self.mix.len() * 2);
        for frame in sound.chunks_exact(self.mix.len()) {
            let (mut left, mut right) = (0.0, 0.0);
            for (sample, [to_left, to_right]) in frame.iter().zip(&self.mix) {
                left += sample * to_left;
                right += sample * to_right;
            }
            mixed.extend([left, right]);
        }
        mixed
    }
}

/// How much of each channel goes to the left and to the right (ITU-R BS.775, table 2), scaled so
/// that no sound is louder than full. Low frequency effects are left out, as there.
fn mix(layout: ChannelLayout) -> Vec<[f32; 2]> {
    use ChannelLayout as L;
    const LEFT: [f32; 2] = [1.0, 0.0];
    const RIGHT: [f32; 2] = [0.0, 1.0];
    const CENTRE: [f32; 2] = [HALF_POWER, HALF_POWER];
    const BEHIND_LEFT: [f32; 2] = [HALF_POWER, 0.0];
    const BEHIND_RIGHT: [f32; 2] = [0.0, HALF_POWER];
    const BEHIND: [f32; 2] = [0.5, 0.5];
    const NONE: [f32; 2] = [0.0, 0.0];
    let channels: &[[f32; 2]] = match layout {
        L::Mono => &[[1.0, 1.0]],
        L::Stereo => &[LEFT, RIGHT],
        L::Surround30 => &[LEFT, RIGHT, CENTRE],
        L::Surround40 => &[LEFT, RIGHT, CENTRE, BEHIND],
        L::Quad => &[LEFT, RIGHT, BEHIND_LEFT, BEHIND_RIGHT],
        L::Surround50 => &[LEFT, RIGHT, CENTRE, BEHIND_LEFT, BEHIND_RIGHT],
        L::Surround51 => &[LEFT, RIGHT, CENTRE, NONE, BEHIND_LEFT, BEHIND_RIGHT],
        L::Surround61 => &[LEFT, RIGHT, CENTRE, NONE, BEHIND, BEHIND_LEFT, BEHIND_RIGHT],
        L::Surround71 => {
            &[LEFT, RIGHT, CENTRE, NONE, BEHIND_LEFT, BEHIND_RIGHT, BEHIND_LEFT, BEHIND_RIGHT]
        }
    };
    let loudest: f32 = channels.iter().map(|[left, _]| left).sum::<f32>().max(1.0);
    channels.iter().map(|[left, right]| [left / loudest, right / loudest]).collect()
}

impl Resample {
    fn new(rate: u32, channels: usize) -> Result<Self, Fault> {
        let fft =
            Fft::new(rate as usize, OPUS_RATE as usize, RESAMPLE_CHUNK, channels, FixedSync::Input)
                .map_err(|_| {
                    Fault::Publisher(format!("sound of {rate} samples a second is not supported"))
                })?;
        let output = vec![0.0; fft.output_frames_max() * channels];
        Ok(Self {
            delay: fft.output_delay(),
            fft,
            pending: Vec::new(),
            output,
            rate,
            taken: 0,
            given: 0,
        })
    }

    fn push(&mut self, sound: &[f32], channels: usize) -> Result<Vec<f32>, Fault> {
        self.taken += (sound.len() / channels) as u64;
        self.pending.extend_from_slice(sound);
        let mut resampled = Vec::new();
        loop {
            let frames = self.fft.input_frames_next();
            if self.pending.len() < frames * channels {
                return Ok(resampled);
            }
            let rest = self.pending.split_off(frames * channels);
            let written = self.convert(frames, channels)?;
            self.pending = rest;
            let drop = self.delay.min(written);
            self.delay -= drop;
            let sound = self.output.get(drop * channels..written * channels).unwrap_or_default();
            resampled.extend_from_slice(sound);
            self.given += (written - drop) as u64;
        }
    }

    fn convert(&mut self, frames: usize, channels: usize) -> Result<usize, Fault> {
        let room = self.output.len() / channels;
        let fault = |what: &str| Fault::Passing(format!("resampling: {what}"));
        let input = InterleavedSlice::new(&self.pending, channels, frames)
            .map_err(|_| fault("too little input"))?;
        let mut output = InterleavedSlice::new_mut(&mut self.output, channels, room)
            .map_err(|_| fault("too little room"))?;
        let (_, written) = self
            .fft
            .process_into_buffer(&input, &mut output, Some(&Indexing::new()))
            .map_err(|error| fault(&error.to_string()))?;
        Ok(written)
    }

    /// The rest of the sound: exactly as much as the ratio of the rates says.
    fn finish(&mut self, channels: usize) -> Result<Vec<f32>, Fault> {
        let taken = self.taken;
        let wanted = (taken * u64::from(OPUS_RATE)).div_ceil(u64::from(self.rate));
        let missing = wanted.saturating_sub(self.given);
        let mut rest = Vec::new();
        while ((rest.len() / channels) as u64) < missing {
            let silence = vec![0.0; self.fft.input_frames_next() * channels];
            rest.extend(self.push(&silence, channels)?);
        }
        rest.truncate(usize::try_from(missing).unwrap_or(0) * channels);
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(rate: u32, layout: ChannelLayout, samples: usize) -> (u64, u64) {
        let channels = layout.channels() as usize;
        let sound: Vec<f32> = (0..samples * channels)
            .map(|n| {
                ((n / channels) as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() / 2.0
            })
            .collect();
        let mut stream = OpusStream::new(rate, layout).unwrap();
        let skip = u64::from(stream.pre_skip());
        let (mut packets, mut duration) = (0, 0);
        let mut count = |packet: &[u8], ticks: u32| {
            assert!(!packet.is_empty());
            packets += 1;
            duration += u64::from(ticks);
            Ok(())
        };
        for block in sound.chunks(1000 * channels) {
            stream.push(block, &mut count).unwrap();
        }
        stream.finish(&mut count).unwrap();
        (packets, duration - skip)
    }

    #[test]
    fn packets_last_as_long_as_the_sound() {
        assert_eq!(encode(48_000, ChannelLayout::Stereo, 48_000), (51, 48_000));
        assert_eq!(encode(48_000, ChannelLayout::Mono, 1), (1, 1));
        assert_eq!(encode(44_100, ChannelLayout::Stereo, 44_100).1, 48_000);
        assert_eq!(encode(96_000, ChannelLayout::Surround51, 9_600).1, 4_800);
        assert_eq!(encode(22_050, ChannelLayout::Mono, 3).1, 7);
    }

    #[test]
    fn a_mix_is_never_louder_than_full() {
        use ChannelLayout as L;
        for layout in [L::Surround30, L::Quad, L::Surround51, L::Surround71] {
            let mix = mix(layout);
            assert_eq!(mix.len(), layout.channels() as usize);
            for side in 0..2 {
                assert!(mix.iter().map(|to| to[side]).sum::<f32>() <= 1.0 + 1e-6);
            }
        }
    }
}
