//! The presented sound of a track as PCM: decoder delay, edits and padding taken off, gaps in
//! time filled with silence.

mod aac;
mod opus;

use crate::{
    error::{MediaError, at_most},
    input::Input,
    limits::Limits,
    model::{Codec, Track},
    reader::Reader,
};

/// A packet may come this late before silence is put in front of it: about one packet of AAC, so
/// that sound never leads the picture by more. Time stamps of Matroska jitter by milliseconds.
const LATE_MAX_MS: i64 = 20;
/// Longest gap that is filled with silence: an hour.
const GAP_SECS_MAX: i64 = 3600;
/// Sampling rates that the codecs have: 7,350 to 96,000 Hz, and up to 192,000 by extension.
const RATES: std::ops::RangeInclusive<u32> = 7_350..=192_000;
/// Packets without sound at the start, before the track counts as damaged.
const SILENT_PACKETS_MAX: u32 = 64;

/// Speaker positions of the channels, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelLayout {
    /// One channel.
    Mono,
    /// Left, right.
    Stereo,
    /// Left, right, centre.
    Surround30,
    /// Left, right, centre, back centre.
    Surround40,
    /// Left, right, back left, back right.
    Quad,
    /// Left, right, centre, back left, back right.
    Surround50,
    /// Left, right, centre, low frequency, back left, back right.
    Surround51,
    /// Left, right, centre, low frequency, back centre, side left, side right.
    Surround61,
    /// Left, right, centre, low frequency, back left, back right, side left, side right.
    Surround71,
}

/// A stretch of presented PCM.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioBlock {
    /// Number of its first sample, counted per channel from [`AudioDecoder::start`].
    pub start: u64,
    /// Interleaved samples, mostly within -1 to 1; never empty.
    pub samples: Vec<f32>,
}

/// One decoded packet.
struct Pcm {
    rate: u32,
    channels: u32,
    samples: Vec<f32>,
}

/// What one codec must do.
trait Core {
    /// Decodes a packet; nothing if it holds no sound.
    fn decode(&mut self, packet: &[u8]) -> Result<Option<Pcm>, MediaError>;

    /// Samples of delay that the codec's own configuration states, at its rate.
    fn delay(&self) -> u64 {
        0
    }
}

/// Decodes the presented sound of a track, from its start to its end.
pub struct AudioDecoder<'a> {
    track: &'a Track,
    reader: Reader<'a>,
    core: Box<dyn Core>,
    rate: u32,
    layout: ChannelLayout,
    /// Packet to decode next.
    next: u32,
    /// The first packet, decoded to learn the rate.
    first: Option<Pcm>,
    /// Samples decoded, silence included, from the start of the media.
    position: u64,
    /// Samples of it to drop at the start.
    skip: u64,
    /// Samples to present at most.
    length: Option<u64>,
    presented: u64,
    /// Samples of silence still to be given.
    silence: u64,
    start: u64,
}

impl std::fmt::Debug for AudioDecoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioDecoder")
            .field("track", &self.track.id)
            .field("rate", &self.rate)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl<'a> AudioDecoder<'a> {
    /// Opens a track, and decodes its first packet to know its rate and channels: the container
    /// is often wrong about them.
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] if it cannot be decoded.
    pub fn open(track: &'a Track, input: &'a dyn Input) -> Result<Self, MediaError> {
        let mut core: Box<dyn Core> = match &track.codec {
            Codec::Aac => Box::new(aac::Aac::open(&track.config)?),
            Codec::Opus => Box::new(opus::Opus::open(&track.config)?),
            Codec::Other(name) => return Err(MediaError::unsupported(format!("{name} sound"))),
            _ => return Err(MediaError::request("not a sound track")),
        };
        let end = u32::try_from(track.samples.len()).unwrap_or(u32::MAX);
        let mut reader = Reader::new(track, input, Limits::default(), end);
        let mut next = 0;
        let first = loop {
            if end <= next || SILENT_PACKETS_MAX < next {
                return Err(MediaError::damaged("the sound track has no sound"));
            }
            let packet = reader.read(next)?;
            next += 1;
            if let Some(pcm) = core.decode(&packet).map_err(|e| e.at(reader.offset(next - 1)))? {
                break pcm;
            }
        };
        if !RATES.contains(&first.rate) {
            return Err(MediaError::unsupported(format!("sound with {} hertz", first.rate)));
        }
        let layout = ChannelLayout::of(first.channels)?;
        let ticks = Ticks { rate: first.rate, scale: track.timescale };
        // Without an edit list, the codec's own word on its delay counts.
        let stated = ticks.samples(track.edit.skip);
        let skip = if track.edit.skip == 0 { core.delay() } else { stated };
        let begin = track.samples.first().map_or(0, |sample| sample.pts);
        let start = ticks.samples(begin.saturating_add(track.edit.skip));
        let length = track
            .edit
            .duration
            .map(|length| ticks.samples(i64::try_from(length).unwrap_or(i64::MAX)));
        let rate = first.rate;
        let first = Some(first);
        Ok(Self {
            track,
            reader,
            core,
            rate,
            layout,
            next,
            first,
            position: 0,
            skip,
            length,
            presented: 0,
            silence: 0,
            start,
        })
    }

    /// Samples a second.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.rate
    }

    /// Number of channels, 1 to 8.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.layout.channels()
    }

    /// Where the channels are heard.
    #[must_use]
    pub fn layout(&self) -> ChannelLayout {
        self.layout
    }

    /// Presentation time of the first sample that [`AudioDecoder::next_block`] gives, in samples
    /// after 0: more than 0 where the sound starts later than the film.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The next stretch of sound, of at most a second or a packet; nothing at the end.
    ///
    /// # Errors
    /// [`MediaError::Damaged`] where a packet cannot be decoded.
    pub fn next_block(&mut self) -> Result<Option<AudioBlock>, MediaError> {
        loop {
            if self.length.is_some_and(|length| length <= self.presented) {
                return Ok(None);
            }
            let Some(samples) = self.next_pcm()? else { return Ok(None) };
            let channels = self.channels() as usize;
            let frames = (samples.len() / channels) as u64;
            let begin = self.position;
            self.position += frames;
            let cut = self.skip.saturating_sub(begin).min(frames);
            let room = self.length.map_or(u64::MAX, |length| length - self.presented);
            let keep = (frames - cut).min(room);
            if keep == 0 {
                continue;
            }
            let start = self.presented;
            self.presented += keep;
            let mut samples = samples;
            samples.truncate((cut + keep) as usize * channels);
            samples.drain(..cut as usize * channels);
            return Ok(Some(AudioBlock { start, samples }));
        }
    }

    /// The next PCM of the media, before anything is cut.
    fn next_pcm(&mut self) -> Result<Option<Vec<f32>>, MediaError> {
        let channels = self.channels() as usize;
        loop {
            if 0 < self.silence {
                let frames = self.silence.min(u64::from(self.rate));
                self.silence -= frames;
                return Ok(Some(vec![0.0; frames as usize * channels]));
            }
            if let Some(first) = self.first.take() {
                let last = self.track.samples.len() <= self.next as usize;
                return Ok(Some(self.without_padding(first.samples, last)));
            }
            let Some(sample) = self.track.samples.get(self.next as usize) else {
                return Ok(None);
            };
            if self.set_gap(sample.pts)? {
                continue;
            }
            let packet = self.reader.read(self.next)?;
            self.next += 1;
            let pcm = self.core.decode(&packet).map_err(|error| error.at(sample.offset))?;
            let Some(pcm) = pcm else { continue };
            if (pcm.rate, pcm.channels) != (self.rate, self.channels()) {
                return Err(MediaError::unsupported("sound whose rate or channels change"));
            }
            let last = self.track.samples.len() <= self.next as usize;
            return Ok(Some(self.without_padding(pcm.samples, last)));
        }
    }

    /// Plans silence if a packet comes much later than where the PCM is.
    fn set_gap(&mut self, pts: i64) -> Result<bool, MediaError> {
        let begin = self.track.samples.first().map_or(0, |sample| sample.pts);
        let ticks = Ticks { rate: self.rate, scale: self.track.timescale };
        let late = ticks.samples(pts.saturating_sub(begin)).saturating_sub(self.position);
        let rate = i64::from(self.rate);
        if late <= (rate * LATE_MAX_MS / 1000).unsigned_abs() {
            return Ok(false);
        }
        at_most("samples of silence", late, (rate * GAP_SECS_MAX).unsigned_abs())?;
        self.silence = late;
        Ok(true)
    }

    fn without_padding(&self, mut samples: Vec<f32>, last: bool) -> Vec<f32> {
        if last {
            let ticks = Ticks { rate: self.rate, scale: self.track.timescale };
            let padding = ticks.samples(self.track.edit.padding);
            let padding = usize::try_from(padding).unwrap_or(usize::MAX);
            let cut = padding.saturating_mul(self.channels() as usize);
            samples.truncate(samples.len().saturating_sub(cut));
        }
        samples
    }
}

/// Conversion of a track's ticks to samples.
struct Ticks {
    rate: u32,
    scale: u32,
}

impl Ticks {
    /// Rounded to the nearest; negative times are 0.
    fn samples(&self, ticks: i64) -> u64 {
        let ticks = u128::from(ticks.max(0).unsigned_abs());
        let scale = u128::from(self.scale.max(1));
        let samples = (ticks * u128::from(self.rate) * 2 + scale) / (scale * 2);
        u64::try_from(samples).unwrap_or(u64::MAX)
    }
}

impl ChannelLayout {
    /// The layout that AAC and Opus give this number of channels.
    fn of(channels: u32) -> Result<Self, MediaError> {
        Ok(match channels {
            1 => Self::Mono,
            2 => Self::Stereo,
            3 => Self::Surround30,
            4 => Self::Surround40,
            5 => Self::Surround50,
            6 => Self::Surround51,
            7 => Self::Surround61,
            8 => Self::Surround71,
            other => {
                return Err(MediaError::unsupported(format!("sound with {other} channels")));
            }
        })
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(self) -> u32 {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
            Self::Surround30 => 3,
            Self::Surround40 | Self::Quad => 4,
            Self::Surround50 => 5,
            Self::Surround51 => 6,
            Self::Surround61 => 7,
            Self::Surround71 => 8,
        }
    }
}
